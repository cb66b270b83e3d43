"""Prefect as this project uses it: quiet, its own things under the home folder, and a server of its own when none is configured.

Call `configure` before the first import of prefect; it reads its settings from the environment then.
"""

import os
import signal
import threading
from pathlib import Path

from db.workers import is_dead, me
from infra.settings import Settings

QUIET = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_LOGGING_TO_API_ENABLED": "false",
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
