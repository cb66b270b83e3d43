"""Spans of OpenTelemetry, sent as OTLP in JSON over HTTP where OTEL_EXPORTER_OTLP_ENDPOINT is set. Without it nothing is imported and nothing is done.

The tracer is this project's own, not the process's: Prefect's spans, where somebody wants them, neither mix with these nor hide them.
"""

import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from infra import context
from infra.version import VERSION

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PATIENCE = 5.0  # seconds for one attempt to send; a collector that is away holds up no worker


class Span:
    """A span under way. This one stands for none: tracing is off."""

    trace_id = span_id = ""

    def set(self, **attributes: Any) -> None:
        """Add attributes; None is left out, what is no number, word or truth value is written as text."""

    def fail(self, why: str) -> None:
        """Mark it as failed."""

    def end(self) -> None:
        """It has ended: it is sent."""


class _Span(Span):
    def __init__(self, real: Any) -> None:
        self.real = real
        found = real.get_span_context()
        self.trace_id, self.span_id = f"{found.trace_id:032x}", f"{found.span_id:016x}"

    def set(self, **attributes: Any) -> None:
        for name, value in attributes.items():
            if value is not None:
                self.real.set_attribute(f"dubwright.{name}", value if isinstance(value, str | bool | int | float) else str(value))

    def fail(self, why: str) -> None:
        from opentelemetry.trace import Status, StatusCode

        self.real.set_status(Status(StatusCode.ERROR, why))

    def end(self) -> None:
        self.real.end()


def wanted() -> bool:
    """Whether spans are sent."""
    return os.environ.get("OTEL_SDK_DISABLED", "").lower() != "true" and any(os.environ.get(name) for name in ENDPOINTS)


@functools.cache
def _provider() -> Any:
    import socket

    from opentelemetry.exporter.otlp.json.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    who: dict[str, str | int] = {"service.name": os.environ.get("OTEL_SERVICE_NAME") or "dubwright", "service.version": VERSION, "host.name": socket.gethostname(), "process.pid": os.getpid()}
    provider = TracerProvider(resource=Resource.create(dict(who)))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(timeout=PATIENCE)))
    return provider


def start(name: str, above: Span | None = None, at: tuple[str, str] | None = None) -> Span:
    """A span that has begun and whose end is the caller's affair; one that never ends is never sent.

    above: its parent in this process; at: its parent elsewhere, as (trace id, span id) in hex; neither: a new trace.
    """
    if not wanted():
        return Span()
    from opentelemetry import trace
    from opentelemetry.context import Context

    parent = Context()  # empty: whoever set a span for the process is not its parent
    if isinstance(above, _Span):
        parent = trace.set_span_in_context(above.real, parent)
    elif at is not None:
        far = trace.SpanContext(int(at[0], 16), int(at[1], 16), is_remote=True, trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED))
        parent = trace.set_span_in_context(trace.NonRecordingSpan(far), parent)
    return _Span(_provider().get_tracer("dubwright", VERSION).start_span(name, context=parent))


@contextmanager
def within(span: Span) -> Iterator[None]:
    """The block's records carry the span's ids."""
    if not span.trace_id:
        yield
        return
    with context.at(trace_id=span.trace_id, span_id=span.span_id):
        yield


@contextmanager
def ending(span: Span) -> Iterator[Span]:
    """The block's end is the span's, in whatever thread; what it raises marks it as failed."""
    try:
        yield span
    except BaseException as error:
        span.fail(f"{type(error).__name__}: {error}")
        raise
    finally:
        span.end()


@contextmanager
def inside(span: Span) -> Iterator[Span]:
    """The block is the span's: `within` and `ending` at once."""
    with within(span), ending(span):
        yield span


def flush(seconds: float = 2 * PATIENCE) -> None:
    """Send what has ended; for processes that may be killed next."""
    if wanted():
        _provider().force_flush(int(seconds * 1000))
