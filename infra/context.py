"""What a thread works on right now: batch, job, take, stage, worker, and the span that it is in. flows/observed.py says it, logs take it from here."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

FIELDS = ("batch", "job", "take", "stage", "worker", "trace_id", "span_id")
_NOW: ContextVar[Mapping[str, Any]] = ContextVar("dubwright", default=MappingProxyType({}))


@contextmanager
def at(**facts: Any) -> Iterator[None]:
    """Add facts, named as FIELDS, while the block runs. A thread that is started inside has them only by `contextvars.copy_context`."""
    token = _NOW.set({**_NOW.get(), **facts})
    try:
        yield
    finally:
        _NOW.reset(token)


def now() -> Mapping[str, Any]:
    """The facts that hold here."""
    return _NOW.get()
