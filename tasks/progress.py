"""Progress of a running process: stages tell, whoever listens shows. Nothing depends on being listened to."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """A job's stage at work: `done` of `total` in the stage's own unit (frames, inputs); `state` is set when the job ends."""

    job: str
    stage: str
    done: int = 0
    total: int = 0
    state: str = ""


Listener = Callable[[Step], None]
_LISTENERS: list[Listener] = []


def tell(job: str, stage: str, done: int = 0, total: int = 0, state: str = "") -> None:
    """Let every listener know."""
    for listener in _LISTENERS:
        listener(Step(job, stage, done, total, state))


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Call `listener` at every step while the block runs."""
    _LISTENERS.append(listener)
    try:
        yield
    finally:
        _LISTENERS.remove(listener)
