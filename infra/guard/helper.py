"""The helper: `python -m infra.guard.helper SOCKET`, a process that forks for each file it is asked to look at, and watches what it forked.

It is given descriptors, never names: the file, and where a picture's pixels go. What it forks shuts itself in (sandbox) before it
reads a byte. It holds no secret: its environment is empty, and nothing of the project's but this package is loaded.
"""

import json
import os
import select
import signal
import socket
import sys
import time
from typing import Any

from infra.guard import checks, sandbox, stills

LARGEST = 1 << 14  # bytes that a look may answer
BEAT = b"\n"
OPENED = 2  # descriptors of a request: the file, and what is written


def main(number: int) -> None:
    """Attend to requests until the other end is closed."""
    checks.ready()
    stills.ready()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's interrupt is the caller's to act on
    with socket.socket(fileno=number) as line:
        line.send(b'{"ready": true}')
        while True:
            data, fds, _, _ = socket.recv_fds(line, 1 << 14, OPENED)
            if not data:
                return
            try:
                answer = attend(json.loads(data), fds, line)
            finally:
                for fd in fds:
                    os.close(fd)
            line.send(json.dumps(answer).encode())


def attend(asked: dict[str, Any], fds: list[int], line: socket.socket) -> dict[str, Any]:
    """Fork, wait, and say what came of it: the look's own answer, or how it ended; with its processor time and memory."""
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(out)
        line.close()
        _look(asked, fds, into)
    os.close(into)
    said, why = _listen(out, child, line, asked["patience"])
    os.close(out)
    status, used = _ended(child)
    ended = {"cpu": round(used.ru_utime + used.ru_stime, 3), "memory": used.ru_maxrss >> 10}
    if why:
        return ended | {"ended": why}
    if os.WIFSIGNALED(status):
        return ended | {"ended": "slow" if os.WTERMSIG(status) == signal.SIGXCPU else signal.Signals(os.WTERMSIG(status)).name}
    try:
        return ended | {"said": json.loads(said)}
    except ValueError:
        return ended | {"ended": f"status {os.WEXITSTATUS(status)}"}


def _listen(out: int, child: int, line: socket.socket, patience: float) -> tuple[bytes, str]:
    """What a fork says until it ends; "slow" or "loud" where it was ended for that. A caller that goes away ends it too."""
    said = b""
    heard = time.monotonic()
    while True:
        ready, _, _ = select.select([out, line.fileno()], [], [], max(0.0, heard + patience - time.monotonic()))
        if out in ready:
            data = os.read(out, LARGEST)
            if not data:
                return said.strip(BEAT), ""
            heard, said = time.monotonic(), (said + data).lstrip(BEAT)
        why = "loud" if len(said) > LARGEST else "gone" if line.fileno() in ready else "slow" if not ready else ""
        if why:
            os.kill(child, signal.SIGKILL)
            return b"", why


def _ended(child: int) -> tuple[int, Any]:
    """Status and use of a fork that has said all; one that goes on all the same is killed."""
    for _ in range(100):
        pid, status, used = os.wait4(child, os.WNOHANG)
        if pid:
            return status, used
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    return os.wait4(child, 0)[1:]


def _look(asked: dict[str, Any], fds: list[int], into: int) -> None:
    """The fork: shut in, look, say what was found, end. Never returns."""
    code = 1
    try:
        limits = checks.Limits(**asked["limits"])
        with open(fds[0], "rb", buffering=1 << 16, closefd=False) as file, open(os.devnull, "wb") as silence:
            os.dup2(silence.fileno(), 2)
            longest = limits.seconds if asked["kind"] == "picture" else limits.seconds + checks.WORK_RATE * limits.hours * 3600
            sandbox.limit(limits.memory << 20, int(longest) + 5, 3 * limits.pixels)
            shut = sandbox.shut()
            answer = _tried(asked, file, fds, limits, into)
        os.write(into, json.dumps(answer | {"shut": shut}).encode()[:LARGEST])
        code = 0
    finally:
        os._exit(code)


def _tried(asked: dict[str, Any], file: Any, fds: list[int], limits: checks.Limits, into: int) -> dict[str, Any]:
    try:
        if asked["kind"] == "picture":
            return _picture(file, fds[1], limits)
        return checks.look(file, limits, asked["kind"] == "whole", lambda: _beat(into))
    except stills.NoPicture as error:
        return {"refused": ["input.bad_picture", str(error)[:300], ""]}
    except checks.Refused as error:
        return {"refused": [error.code, error.text, error.step]}
    except MemoryError:
        return {"refused": ["memory", "", ""]}


def _beat(into: int) -> None:
    os.write(into, BEAT)


def _picture(file: Any, out: int, limits: checks.Limits) -> dict[str, Any]:
    pixels = stills.plain(file, limits.pixels)
    view, at = pixels.data.cast("B"), 0
    while at < len(view):
        at += os.pwrite(out, view[at : at + (1 << 24)], at)
    return {"height": pixels.shape[0], "width": pixels.shape[1]}


if __name__ == "__main__":
    main(int(sys.argv[1]))
