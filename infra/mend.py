"""What can be wrong with the folders and the embedded Postgres of a machine, and how it is mended. Looking changes nothing; see flows/repair.py."""

import contextlib
import json
import os
import socket
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

OWNER_BITS = stat.S_IRWXU
PATIENCE = 10.0  # seconds that a process is given to end


@dataclass(frozen=True)
class Finding:
    """Something that is wrong: what, why it matters, what the fix does or, where nothing here can mend it, what to do.

    harmful: something does not work while it is so; else it only takes room or time. mend: does it, and says what it did.
    """

    name: str
    what: str
    why: str
    fix: str
    harmful: bool = True
    mend: Callable[[], str] | None = None

    def to_dict(self) -> dict[str, str | bool]:
        """As --json shows it."""
        return {"name": self.name, "what": self.what, "why": self.why, "fix": self.fix, "harmful": self.harmful, "mendable": self.mend is not None}


def folders(home: Path) -> Iterator[Finding]:
    """Folders of the home that their owner may not write. Whose they are is not changed."""
    for path in [home, *(home / name for name in ("cache", "cache/work", "artifacts", "logs", "prefect", "reports", "weights"))]:
        try:
            facts = path.stat()
        except FileNotFoundError:
            continue
        except OSError as error:
            yield Finding(f"folder {path}", f"it cannot be looked at ({error.strerror})", "Runs end when they write there.", f"Give {_me()} the right to enter it.")
            continue
        if facts.st_uid not in (os.geteuid(), 0) or (facts.st_uid != os.geteuid() and not os.access(path, os.W_OK)):
            if not os.access(path, os.W_OK | os.X_OK):
                yield Finding(f"folder {path}", f"it belongs to user {facts.st_uid}, and {_me()} may not write it", "Runs end when they write there.", f"As its owner or root: chown -R {os.geteuid()} {path}")
        elif facts.st_mode & OWNER_BITS != OWNER_BITS:
            yield Finding(f"folder {path}", f"its mode is {stat.S_IMODE(facts.st_mode):o}: its owner may not write it", "Runs end when they write there.", "Gives its owner the right to read, write and enter it.", mend=_chmod(path, stat.S_IMODE(facts.st_mode) | OWNER_BITS))


def _me() -> str:
    return f"user {os.geteuid()}"


def _chmod(path: Path, mode: int) -> Callable[[], str]:
    def mend() -> str:
        path.chmod(mode)
        return f"{path} has mode {mode:o}"

    return mend


def postgres(home: Path) -> Iterator[Finding]:
    """Why the embedded Postgres would not start or is not what it seems, and a server that nobody uses any more."""
    place = (home / "postgres").absolute()
    if not (place / "PG_VERSION").exists():
        return  # it is made on first use
    mode = stat.S_IMODE(place.stat().st_mode)
    if mode & 0o027 or mode & OWNER_BITS != OWNER_BITS:
        yield Finding("embedded Postgres", f"its data folder has mode {mode:o}", "Postgres refuses to start on a folder that others can write or read.", "Sets the mode to 700.", mend=_chmod(place, 0o700))
    pid, alive = _noted(place), _processes(place)
    masters = [process for process in alive if _parent(process) not in {other.pid for other in alive}]
    lock = place / "postmaster.pid"
    if lock.exists() and pid not in {process.pid for process in alive} and not _answers(place):
        if alive:
            what = f"its server (process {pid}) was killed, and {len(alive)} of its processes go on without it"
            yield Finding("embedded Postgres", what, "It does not start while they hold its memory.", "Ends these processes and removes the lock; the next start replays its log, no committed row is lost.", mend=lambda: _end(place, alive))
        elif pid is None or psutil.pid_exists(pid):
            what = f"its lock names process {pid}, which is no Postgres" if pid is not None else "its lock was written half"
            yield Finding("embedded Postgres", what, "It is taken to be running, and nobody can connect.", "Removes the lock; the next start replays its log, no committed row is lost.", mend=lambda: _end(place, []))
        else:
            yield Finding("embedded Postgres", f"its server (process {pid}) was killed", "Nothing: it replays its log at its next start.", "Removes the lock.", harmful=False, mend=lambda: _end(place, []))
    elif masters and not _users(place):
        yield Finding("embedded Postgres", f"its server (process {masters[0].pid}) runs, and all that used it are dead", "It takes memory for nobody.", "Stops it; the next command starts it.", harmful=False, mend=lambda: _stop(place, masters[0]))


def _noted(place: Path) -> int | None:
    """The process that the lock names; None where there is none or it is not whole."""
    try:
        lines = (place / "postmaster.pid").read_text().splitlines()
        return int(lines[0]) if len(lines) >= 8 else None
    except (OSError, ValueError, IndexError):
        return None


def _socket(place: Path) -> Path:
    """Where the server listens, or listened: in its data folder, or elsewhere where that name is too long."""
    try:
        return Path((place / "postmaster.pid").read_text().splitlines()[4]) / ".s.PGSQL.5432"
    except (OSError, IndexError):
        return place / ".s.PGSQL.5432"


def _answers(place: Path) -> bool:
    """Whether somebody listens there: a server in another container on this folder is no process of this one."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
        try:
            door.connect(str(_socket(place)))
        except OSError:
            return False
    return True


def _processes(place: Path) -> list[psutil.Process]:
    """Postgres processes that work in a data folder."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.name().startswith("postgres") and Path(process.cwd()) == place.resolve() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def _parent(process: psutil.Process) -> int:
    try:
        return process.ppid()
    except psutil.Error:
        return 0


def _users(place: Path) -> list[int]:
    """Live processes that joined the server, as the wheel notes them."""
    try:
        noted = json.loads((place / ".handle_pids.json").read_text() or "[]")
    except (OSError, ValueError):
        return []
    return [pid for pid in noted if psutil.pid_exists(pid)]


def _end(place: Path, processes: list[psutil.Process]) -> str:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=PATIENCE)
    door = _socket(place)
    for path in (door, door.with_name(f"{door.name}.lock"), place / ".handle_pids.json", place / "postmaster.pid"):
        path.unlink(missing_ok=True)
    return "the lock is removed" + (f", {len(processes)} processes ended" if processes else "")


def _stop(place: Path, master: psutil.Process) -> str:
    with contextlib.suppress(psutil.NoSuchProcess):
        master.terminate()  # to Postgres: end when nobody is connected, write everything
        master.wait(PATIENCE)
    (place / ".handle_pids.json").unlink(missing_ok=True)
    return f"process {master.pid} is stopped"
