"""A stranger's network (ONNX) is run by a process of its own: `python -m infra.guard.network FD`, which shuts itself in before it reads a byte of it.

It opens no file, so that a network whose weights are said to lie elsewhere has none; it has so much memory and processor time, and what it answers
is so long at most. What it crashes or hangs is itself.
"""

import json
import os
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from infra.guard import sandbox

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {"PATH": os.defpath, "LANG": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
SECONDS, PATIENCE = 300, 900  # of processor time; until it is ended on a machine that is busy with much else
WELL, FAULT = b"W", b"F"  # what an answer begins with
SIZE = struct.Struct("<Q")


class NetworkFault(Exception):
    """A network that cannot be run, in words."""


def run(path: Path, feeds: Sequence[Mapping[str, np.ndarray]], seed: int, most: int, memory: int, seconds: int = SECONDS) -> list[np.ndarray]:
    """The first output, float32 [values], of a network for each of some inputs, loaded anew with the same seed. Raises NetworkFault.

    most: values that all of it may be. memory: MiB beyond what the process has. seconds: of processor time.
    """
    asked = {"feeds": [{name: [value.dtype.name, value.shape, value.ravel().tolist()] for name, value in feed.items()} for feed in feeds], "seed": seed, "most": most, "memory": memory, "seconds": seconds}
    with path.open("rb") as file:
        words = [sys.executable, "-m", "infra.guard.network", str(file.fileno())]
        process = subprocess.Popen(words, cwd=ROOT, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, pass_fds=[file.fileno()])
    end = threading.Timer(PATIENCE, process.kill)
    end.daemon = True
    end.start()
    assert process.stdin is not None and process.stdout is not None
    try:
        with suppress(BrokenPipeError):
            process.stdin.write(json.dumps(asked).encode())
            process.stdin.close()
        said = process.stdout.read(1 + 4 * most + SIZE.size * len(feeds) + 1)
    finally:
        end.cancel()
        process.stdout.close()
        if process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(5)
        process.kill()
        process.wait()
    return _answer(said, len(feeds), process.returncode, seconds)


def _answer(said: bytes, count: int, code: int, seconds: int) -> list[np.ndarray]:
    """What came of it, which is a stranger's word. Raises NetworkFault."""
    if said[:1] == FAULT:
        raise NetworkFault(" ".join("".join(c if c.isprintable() else " " for c in said[1:].decode(errors="replace")).split())[:200])
    found: list[np.ndarray] = []
    at = 1
    while said[:1] == WELL and len(found) < count and at + SIZE.size <= len(said):
        size = SIZE.unpack_from(said, at)[0]
        at += SIZE.size
        if at + 4 * size > len(said):
            break
        found.append(np.frombuffer(said, "<f4", size, at).astype(np.float32))
        at += 4 * size
    if len(found) < count:
        slow = code in (-signal.SIGXCPU, -signal.SIGKILL)
        raise NetworkFault(f"it takes more than {seconds} s" if slow else f"it ends its process ({signal.Signals(-code).name if code < 0 else code})")
    return found


def main(number: int) -> None:
    """The process: read what is asked, shut in, run, answer."""
    import onnxruntime

    asked = json.loads(sys.stdin.buffer.read())
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    sandbox.limit(asked["memory"] << 20, asked["seconds"], 0)
    sandbox.shut()
    try:
        answer = _run(onnxruntime, os.fdopen(number, "rb").read(), asked)
    except BaseException as error:
        answer = FAULT + (str(error) or type(error).__name__).encode(errors="replace")[:2000]
    at = 0
    while at < len(answer):
        at += out.write(answer[at : at + (1 << 20)]) or 0
    os._exit(0)


def _run(library: Any, model: bytes, asked: dict[str, Any]) -> bytes:
    options = library.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    library.set_seed(asked["seed"])  # of networks that are loaded from here on
    session = library.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    parts, left = [WELL], asked["most"]
    for feed in asked["feeds"]:
        given = {name: np.array(values, kind).reshape(shape) for name, (kind, shape, values) in feed.items()}
        made = np.asarray(session.run(None, given)[0], "<f4").ravel()
        left -= made.size
        if left < 0:
            raise ValueError("it makes no end of sound")
        parts += [SIZE.pack(made.size), made.tobytes()]
    return b"".join(parts)


if __name__ == "__main__":
    main(int(sys.argv[1]))
