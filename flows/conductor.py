"""Prefect as this project uses it: quiet, its own things under the home folder, and a server of its own when none is configured.

Call `configure` before the first import of prefect; it reads its settings from the environment then.
"""

import os
import signal
import threading
from pathlib import Path

from db.workers import is_dead, me
from infra.errors import ConductorUnavailable
from infra.settings import Settings

DEEP = 12  # causes of an error that are looked at

QUIET = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_LOGGING_TO_API_ENABLED": "false",
    # Nine tenths of its database would be events, 25 a job; automations and the recorder of task runs take them as they come (docs/scale.md).
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "flow_runs",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(14 * 86400),  # seconds that runs which have ended stay
    "PREFECT_CLI_PROMPT": "false",
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",  # the least; who has not beaten for some of them is dead (flows/watches.py)
    "DO_NOT_TRACK": "1",
}


def configure(settings: Settings) -> None:
    """Set what the user's environment leaves open."""
    loud = settings.log.lower() == "debug"
    given = {**QUIET, "PREFECT_HOME": str(settings.home / "prefect"), "PREFECT_LOGGING_LEVEL": "DEBUG" if loud else "CRITICAL"}
    if settings.log_format == "json":
        given["PREFECT_LOGGING_HANDLERS_CONSOLE_FORMATTER"] = "json"  # of its workers; in our own processes its records go the way of ours
    for name, value in given.items():
        os.environ.setdefault(name, value)


def away(error: BaseException) -> ConductorUnavailable | None:
    """What an error says of a Prefect server that does not answer; None where it says something else."""
    import httpx
    from prefect.exceptions import PrefectHTTPStatusError

    told: BaseException | None = error
    for _ in range(DEEP):
        if isinstance(told, ConductorUnavailable):
            return told
        if isinstance(told, httpx.TransportError) or (isinstance(told, PrefectHTTPStatusError) and told.response.status_code >= 500):
            return ConductorUnavailable(f"the Prefect server does not answer ({type(told).__name__}: {told})")
        if told is None:
            break
        told = told.__cause__ or told.__context__
    return None


class OwnServer:
    """The server that a process without PREFECT_API_URL runs for itself, started in the background while other things get ready.

    A server whose process was killed outright is stopped by the next start.
    """

    def __init__(self, settings: Settings) -> None:
        self.notes = settings.home / "prefect" / "servers"
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="prefect server", daemon=True)

    def start(self) -> "OwnServer":
        """Begin to start it; nothing to do where a server is configured."""
        if not os.environ.get("PREFECT_API_URL"):
            self._thread.start()
        return self

    def wait(self) -> None:
        """Until it answers. Raises what kept it from starting."""
        if self._thread.ident:
            self._thread.join()
        if self.error:
            raise self.error

    def _run(self) -> None:
        try:
            from prefect.server.api.server import SubprocessASGIServer

            self.notes.mkdir(parents=True, exist_ok=True)
            sweep(self.notes)
            server = SubprocessASGIServer()
            server.start()
            if server.server_process is not None:
                (self.notes / str(server.server_process.pid)).write_text(me())
        except BaseException as error:  # raised again where it is waited for
            self.error = error


def sweep(notes: Path) -> int:
    """Stop the servers whose owners were killed; returns how many."""
    stopped = 0
    for note in notes.glob("[0-9]*"):
        if not is_dead(note.read_text()):
            continue
        try:
            if b"prefect" in Path(f"/proc/{note.name}/cmdline").read_bytes():
                os.kill(int(note.name), signal.SIGTERM)
                stopped += 1
        except OSError:
            pass  # it is gone already
        note.unlink(missing_ok=True)
    return stopped
