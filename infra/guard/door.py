"""Files handed to the helper (infra/guard/helper.py), and what it says of them.

`admit` has sound and video looked at; `picture` has a still decoded and takes its pixels, so that no picture of a stranger's is decoded
in the process that works. A helper for each thread that asks at the same time is kept.
"""

import atexit
import contextlib
import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from infra.errors import InputError, MediaError, SetupError
from infra.guard.checks import Limits
from infra.settings import Settings, get_settings

ROOT = Path(__file__).parents[2]
START_SECONDS = 120
KEPT = 4  # helpers that stay for the next file
REMEMBERED = 4096  # files that were admitted and have not changed since
ENVIRONMENT = {"PATH": os.defpath, "LANG": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}

_idle: list["_Helper"] = []
_admitted: OrderedDict[tuple[int, ...], bool] = OrderedDict()
_lock = threading.Lock()


class _Helper:
    """A helper process and the line to it."""

    def __init__(self) -> None:
        self.line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        words = [sys.executable, "-m", "infra.guard.helper", str(theirs.fileno())]
        with theirs:
            self.process = subprocess.Popen(words, cwd=ROOT, env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=[theirs.fileno()])
        self.line.settimeout(START_SECONDS)
        try:
            started = self.line.recv(100)
        except OSError:
            started = b""
        if not started:
            self.close()
            raise SetupError("the process that looks at media files does not start", code="setup.guard", next_step="Run `dubwright doctor`; free memory if there is little.")

    def ask(self, asked: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        """Have a file looked at. Raises OSError where the helper is gone."""
        self.line.settimeout(None)  # the helper ends what takes too long
        socket.send_fds(self.line, [json.dumps(asked).encode()], fds)
        data = self.line.recv(1 << 16)
        if not data:
            raise ConnectionResetError("the helper is gone")
        return dict(json.loads(data))

    def close(self) -> None:
        """End it."""
        self.line.close()
        self.process.kill()
        self.process.wait()


@contextmanager
def _helper() -> Iterator[_Helper]:
    with _lock:
        found = _idle.pop() if _idle else None
    made = found or _Helper()
    try:
        yield made
    except BaseException:
        made.close()
        raise
    with _lock:
        if len(_idle) < KEPT:
            _idle.append(made)
            return
    made.close()


def _end() -> None:
    """Let go of every helper; they end when their line does."""
    with _lock:
        ending, _idle[:] = list(_idle), []
    for helper in ending:
        helper.close()


def _forked() -> None:
    """A fork of this process starts helpers of its own."""
    global _lock
    _lock = threading.Lock()
    for helper in _idle:
        helper.line.close()
    _idle.clear()


atexit.register(_end)
os.register_at_fork(after_in_child=_forked)


def limits_of(settings: Settings) -> Limits:
    """The limits that the settings name."""
    return Limits(
        hours=settings.input_hours, side=settings.input_side, pixels=settings.input_megapixels * 1_000_000, streams=settings.input_streams, seconds=settings.guard_seconds,
        memory=settings.guard_memory_mib,
    )  # fmt: skip


def _asked(kind: str, path: Path, out: int | None = None) -> dict[str, Any]:
    """What the helper says of a file. Raises OSError where it cannot be opened or is none; tries once more where the helper is gone."""
    settings = get_settings()
    asked = {"kind": kind, "limits": asdict(limits_of(settings)), "patience": settings.guard_seconds}
    for last in (False, True):
        with opened(path) as file:
            try:
                with _helper() as helper:
                    return helper.ask(asked, [file] if out is None else [file, out])
            except ConnectionError:
                if last:
                    raise
    raise AssertionError


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """A descriptor of a regular file. Raises OSError for what is none: a folder, a device, a pipe, at which a reader could wait for ever."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise IsADirectoryError(21, "it is no file")
        yield fd
    finally:
        os.close(fd)


def admit(path: Path, *, whole: bool = False) -> dict[str, Any]:
    """Have a sound or video file opened and decoded by the helper, its beginning or all of it; nothing is said of damage.

    A file that was admitted and has not changed is not looked at again. Raises MediaError: media.unreadable, media.codec, media.streams,
    media.too_large, media.too_long, media.memory, media.slow, media.crash.
    """
    try:
        mark = _mark(path)
        if _admitted.get(mark, False) >= whole and mark in _admitted:
            return {}
        told = _asked("whole" if whole else "head", path)
    except OSError as error:
        raise MediaError(f"{path.name} cannot be opened as sound or video ({error.strerror or error})") from error
    said = _said(told)
    if "ended" in told or "refused" in said or "format" not in said:
        code, text, step = _fault(told)
        raise MediaError(f"{path.name} {text}", code=code, next_step=step)
    with _lock:
        _admitted[mark] = whole or _admitted.get(mark, False)
        while len(_admitted) > REMEMBERED:
            _admitted.popitem(last=False)
    return {**said, "cpu": told["cpu"], "memory": told["memory"]}


def shut_in() -> bool:
    """Whether the kernel takes system calls from the helper's forks; without it the limits alone hold. Raises SetupError where there is no helper."""
    with tempfile.NamedTemporaryFile(prefix="dubwright-") as nothing:
        return bool(_said(_asked("head", Path(nothing.name))).get("shut"))


def _mark(path: Path) -> tuple[int, ...]:
    """What changes when a file does."""
    told = path.stat()
    return told.st_dev, told.st_ino, told.st_size, told.st_mtime_ns, told.st_ctime_ns


def _said(told: dict[str, Any]) -> dict[str, Any]:
    """What a fork said, which is a stranger's word: it read the file."""
    said = told.get("said")
    return said if isinstance(said, dict) else {}


def _fault(told: dict[str, Any]) -> tuple[str, str, str]:
    """(code, words that follow the file's name, next step) of a look that did not end well."""
    settings = get_settings()
    refused = _said(told).get("refused")
    code, text, step = (_printable(word) for word in (*(refused if isinstance(refused, list) else []), "", "", "")[:3])
    ended = str(told.get("ended", ""))
    if code == "memory":
        return "media.memory", f"needs more than {settings.guard_memory_mib} MiB to decode", "Export it again in a usual size; DUBWRIGHT_GUARD_MEMORY_MIB is the limit."
    if ended == "slow":
        return "media.slow", f"keeps its decoder busy for more than {settings.guard_seconds:g} s", "Export it again; DUBWRIGHT_GUARD_SECONDS is the limit."
    if code:
        return code, text, step
    return "media.crash", f"makes its decoder fail ({_printable(ended) or 'it said nothing'})", "Export it again; the file may be damaged, or made to do harm."


def _printable(text: object) -> str:
    return "".join(c if c.isprintable() else " " for c in str(text))[:300]


def picture(path: Path) -> np.ndarray:
    """A still as uint8 RGB [H, W, 3], decoded by the helper (infra/guard/stills.py). Raises InputError with words that follow the file's name."""
    try:
        with _pixels() as out:
            told = _asked("picture", path, out)
            said = _said(told)
            shape = (*(side if isinstance(side := said.get(name), int) and 0 < side < 1 << 20 else 0 for name in ("height", "width")), 3)
            if "ended" in told or "refused" in said or os.fstat(out).st_size != int(np.prod(shape)) or 0 in shape:
                raise _no_picture(_fault(told)[1])
            pixels = np.empty(shape, np.uint8)
            with open(out, "rb", buffering=0, closefd=False) as file:
                file.seek(0)
                view, at = pixels.data.cast("B"), 0
                while at < len(view):
                    at += file.readinto(view[at:]) or len(view)
            return pixels
    except OSError as error:
        raise _no_picture(f"cannot be opened ({error.strerror or error})") from error


def _no_picture(text: str) -> InputError:
    return InputError(text, code="input.bad_picture", next_step="Export the picture anew and try again.")


@contextmanager
def _pixels() -> Iterator[int]:
    """An unnamed file for a picture's pixels."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("dubwright-picture")
        try:
            yield fd
        finally:
            with contextlib.suppress(OSError):
                os.close(fd)
        return
    with tempfile.TemporaryFile(prefix="dubwright-") as file:
        yield file.fileno()
