"""What tells that something was reached which must not be: a folder whose files are watched, and a server that counts who calls."""

import contextlib
import ctypes
import os
import socket
import threading
from pathlib import Path
from typing import Self

IN_ACCESS, IN_OPEN, IN_NONBLOCK = 0x1, 0x20, 0o4000


class Canary:
    """A folder of secrets and a server at 127.0.0.1. `reads`: how often a file of the folder was opened or read; `requests`: who called."""

    def __init__(self, folder: Path, files: dict[str, bytes]) -> None:
        folder.mkdir()
        for name, data in files.items():
            (folder / name).write_bytes(data)
        self.folder, self.reads, self.requests = folder, 0, 0
        libc = ctypes.CDLL(None, use_errno=True)
        self._watch = libc.inotify_init1(IN_NONBLOCK)
        if self._watch < 0 or libc.inotify_add_watch(self._watch, os.fsencode(folder), IN_ACCESS | IN_OPEN) < 0:
            raise OSError(ctypes.get_errno(), "the folder cannot be watched")
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                line, _ = self._server.accept()
            except OSError:
                return
            self.requests += 1
            with contextlib.suppress(OSError), line:
                line.settimeout(1)
                line.recv(4096)
                line.sendall(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:%d/again\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % self.port)

    def count(self) -> tuple[int, int]:
        """(reads, requests) until now."""
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._watch, 1 << 16):
                self.reads += len(data) // 16
        return self.reads, self.requests

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *rest: object) -> None:
        self._server.close()
        os.close(self._watch)
