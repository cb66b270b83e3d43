"""What the tests of the API share: a server on a free port, clients with tokens, and receivers of webhooks that behave as they are told."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import uvicorn

from api.app import create_api
from db import tokens
from db.session import Database
from infra.settings import Settings
from servers import free_port

ALL = ["read", "submit", "operate", "review", "admin"]


@contextmanager
def serving(database: Database, settings: Settings, app: Any = None) -> Iterator[str]:
    """The API under uvicorn in a thread, while the block runs; its address."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app or create_api(database, settings), host="127.0.0.1", port=port, log_level="critical", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started:
        assert thread.is_alive() and time.monotonic() < deadline
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(20)


def client(address: str, database: Database, *scopes: str, owner: str = "ana", **rest: Any) -> httpx.Client:
    """A client with a token of its own."""
    secret, _ = tokens.create(database, "test", owner, list(scopes or ALL))
    return httpx.Client(base_url=address, headers={"Authorization": f"Bearer {secret}"}, timeout=120, verify=False, **rest)


class Receiver:
    """An HTTP server that keeps what it was sent. `answer(request number)` gives a status and headers, or does as it likes before."""

    def __init__(self, answer: Callable[[int], tuple[int, dict[str, str]]] = lambda number: (204, {})) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
                status, headers = answer(len(outer.got))
                try:
                    self.send_response(status)
                    for name, value in {"Content-Length": "0", **headers}.items():
                        self.send_header(name, value)
                    self.end_headers()
                except OSError:  # the sender has gone
                    pass

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"

    def __enter__(self) -> "Receiver":
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
