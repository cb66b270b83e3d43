"""Real S3 servers for tests: moto over HTTP (conditional writes), rclone (signatures)."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

KEYS = {"AWS_ACCESS_KEY_ID": "dubwright-test-key", "AWS_SECRET_ACCESS_KEY": "dubwright-test-secret-0123456789"}


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


@contextmanager
def served(arguments: list[str], port: int) -> Iterator[str]:
    """Run a server until the block ends; ready when its port answers."""
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | KEYS)
    try:
        deadline = time.monotonic() + 60
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{arguments[0]} did not start")
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


@contextmanager
def moto() -> Iterator[str]:
    """moto's S3 server."""
    port = free_port()
    with served([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], port) as url:
        yield url


@contextmanager
def rclone(folder: Path) -> Iterator[str]:
    """rclone's S3 server over a folder, which checks signatures."""
    port = free_port()
    binary = Path(sys.executable).parent / "rclone"
    arguments = [str(binary), "serve", "s3", str(folder), "--addr", f"127.0.0.1:{port}", "--auth-key", ",".join(KEYS.values())]
    with served(arguments, port) as url:
        yield url
