"""What the tests of what is seen share: a collector of spans and a page of metrics, read as a scraper reads it."""

import gzip
import json
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from flow_cases import ROOT


class Collector:
    """An OTLP/JSON collector: its address for OTEL_EXPORTER_OTLP_ENDPOINT and the spans that it was sent."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.spans: list[dict[str, Any]] = []
        self.resources: list[dict[str, Any]] = []

    def named(self, name: str) -> list[dict[str, Any]]:
        return [span for span in self.spans if span["name"] == name]


@contextmanager
def collector() -> Iterator[Collector]:
    """A real HTTP server that takes spans while the block runs."""

    class Door(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            tree = json.loads(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
            for group in tree["resourceSpans"]:
                found.resources.append(values(group["resource"]))
                found.spans += [span for scope in group["scopeSpans"] for span in scope["spans"]]
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *arguments: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    found = Collector(f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()


def values(span: dict[str, Any]) -> dict[str, Any]:
    """A span's or resource's attributes; whole numbers travel as text."""
    told = {row["key"].removeprefix("dubwright."): row["value"] for row in span.get("attributes", [])}
    return {name: int(value["intValue"]) if "intValue" in value else next(iter(value.values())) for name, value in told.items()}


def read(url: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float] | None:
    """A page of metrics, by name and labels; None while nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            text = answer.read().decode()
    except (urllib.error.URLError, OSError):
        return None
    return parsed(text)


def parsed(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for family in text_string_to_metric_families(text) for sample in family.samples}


def sender(url: str, batch: int) -> None:
    """A process that runs a batch and is gone."""
    code = f"from db import reports; from db.session import Database; reports.begun(Database({url!r}), {batch})"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)
