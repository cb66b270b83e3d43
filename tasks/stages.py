"""What every stage of a job shares: the job at hand, and results that are kept under the hash of what they were made from."""

import contextvars
import functools
import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from db import ledger, reviews
from db.session import Database
from infra.artifacts import Artifact, Artifacts
from infra.errors import ObjectMissing, StaleToken
from infra.settings import Settings
from infra.tracing import Span
from models.types import Motion, Portrait, SyncScore
from tasks import progress, together
from tasks.dubbing.tracks import TrackFile
from tasks.ladder import Kind, Rung
from tasks.speech import SpeechTrack

FRESH = 5.0  # seconds that a renewal is good for
WORDS = ("voice", "text")  # of a job's spec, that a reviewer may change


@dataclass(frozen=True)
class Made:
    """What a stage made, now or before: hash, local path, seconds it took when it was made, and whether that was now."""

    sha256: str
    path: Path
    seconds: float
    fresh: bool


@dataclass
class Take:
    """One attempt at the job, filled by motion, render, score and gate; or one that the ledger holds, as it was recorded.

    why: what it was tried for. made_with: hash of the code and weights that rendered it. weights, code: of a recorded take. alone: seconds
    of a recorded take's own stages. opinion: what a person who looked at it asks for, where that is not its delivery.
    """

    number: int
    rung: Rung
    seed: int
    why: str = ""
    made_with: str = ""
    weights: tuple[dict[str, str], ...] = ()
    code: str = ""
    alone: float = 0.0
    opinion: str = ""
    review: dict[str, Any] | None = None  # the approval that it is delivered by
    motion: Motion | None = None
    parameters: dict[str, Any] = field(default_factory=dict)  # what it was rendered with, frames and fps among it
    notes: tuple[str, ...] = ()
    windows: tuple[tuple[int, int, float], ...] = ()
    rendered: int = 0  # of its windows, now; the others were there
    score: SyncScore | None = None
    verdict: Any = None
    take_id: int = 0
    made: dict[str, Made] = field(default_factory=dict)


class Work:
    """A leased job under way: where its inputs and results are. Stages read what the ones before them left here."""

    def __init__(self, database: Database, artifacts: Artifacts, settings: Settings, lease: ledger.Lease, folder: Path) -> None:
        self.database, self.artifacts, self.settings, self.lease, self.folder = database, artifacts, settings, lease, folder
        self.name = f"{lease.title}/{lease.locale}"
        self.inputs: dict[str, Path] = {}
        self.made: dict[str, Made] = {}
        self.speech: SpeechTrack | None = None
        self.sound: dict[str, Any] | None = None  # how the delivered sound was made of it (tasks/sound.py)
        self.portrait: Portrait | None = None
        self.tracks: TrackFile | None = None
        self.cast: dict[str, Any] | None = None
        self.takes: list[Take] = []
        self.engines: tuple[str, ...] = ()  # that the job may be rendered by, in the order they are tried
        self.numbered = 0  # takes that the ledger held when the work began
        self.granted = 0  # takes that a reviewer allows, whatever the limits
        self.spent = ""  # why no further take is made
        self.span = Span()  # that stages' spans are under (flows/observed.py)
        self._renewed = 0.0  # when the lease was renewed last, on this process's clock

    def hold(self) -> None:
        """Renew the lease, unless that was just done: some stages take milliseconds. Raises StaleToken when the job is lost or cancelled."""
        now = time.monotonic()
        if now - self._renewed > min(FRESH, self.settings.lease_seconds / 6):
            ledger.renew(self.database, self.lease, self.settings.lease_seconds)
            self._renewed = now

    @functools.cached_property
    def wish(self) -> dict[str, Any]:
        """What a reviewer wants another take rendered with (db/reviews.py, CHANGES)."""
        return reviews.asked_of(self.database, self.lease.job_id)

    @property
    def kind(self) -> Kind:
        """What the job is made from."""
        return "video" if "video" in self.spec["inputs"] else "portrait"

    @property
    def spec(self) -> dict[str, Any]:
        """What the manifest asks of the job, with its inputs' hashes; voice and text as a reviewer changed them."""
        return {**self.lease.spec, **{name: self.wish[name] for name in WORDS if name in self.wish}}

    @property
    def reworded(self) -> bool:
        """Whether a reviewer changed what is said, or by which voice: takes that say something else are no tries of it."""
        return any(name in self.wish for name in (*WORDS, *reviews.SAID))

    def sources(self, *roles: str) -> tuple[tuple[str, str], ...]:
        """(hash, role) of inputs and results, for lineage."""
        hashes = {**{role: facts["sha256"] for role, facts in self.spec["inputs"].items()}, **{name: made.sha256 for name, made in self.made.items()}}
        return tuple((hashes[role], role) for role in roles if role in hashes)

    def seconds(self, take: Take) -> dict[str, float]:
        """Seconds that each stage of a take took when it was really run."""
        return {name: round(made.seconds, 4) for name, made in {**self.made, **take.made}.items()}


def key_of(stage: str, asks: dict[str, Any]) -> str:
    """The name of a stage's result: hash of the stage and all that it depends on."""
    return hashlib.sha256(json.dumps([stage, asks], sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def keep(
    work: Work, stage: str, kind: str, asks: dict[str, Any], sources: tuple[tuple[str, str], ...], make: Callable[[Path], float | None], spent: Sequence[str] = (),
    also: Mapping[str, float] = MappingProxyType({}),
) -> Made:  # fmt: skip
    """The stage's result: what is kept under its key, or what `make` writes to the path it is given, kept from now on.

    `make` may tell seconds of work on it that were spent before. spent: hashes of what served to make it alone and is not needed any more,
    as `make` left them. also: further keys that it is found under, with their seconds, likewise.
    """
    progress.tell(work.name, stage)
    key = key_of(stage, asks)
    found = ledger.find_stage(work.database, key) or (together.awaited(work.database, work.lease, key) if stage in together.STAGES else None)
    if found:
        try:
            return Made(found[0], work.artifacts.path(found[0]), found[1], False)
        except ObjectMissing:
            pass  # somebody removed it: it is made again
    path = work.folder / f"{stage}-{key[:12]}.{kind.rpartition('.')[2]}"
    started = time.perf_counter()
    earlier = make(path) or 0.0
    return keep_file(work, stage, key, path, kind, sources, time.perf_counter() - started + earlier, spent, also)


def keep_file(
    work: Work, stage: str, key: str, path: Path, kind: str, sources: tuple[tuple[str, str], ...], seconds: float, spent: Sequence[str] = (),
    also: Mapping[str, float] = MappingProxyType({}),
) -> Made:  # fmt: skip
    """Keep what a stage wrote, under its key. Raises StaleToken and StoreError."""
    artifact = work.artifacts.put(path, kind)
    made_from = tuple((sha, role) for sha, role in sources if sha != artifact.sha256)
    if ledger.record_stage(work.database, work.lease, key, stage, row_of(artifact, made_from), seconds, spent, also):
        work.artifacts.put(path, kind)  # it was being removed for want of use; from the record on it stays
    return Made(artifact.sha256, path, seconds, True)


def row_of(artifact: Artifact, made_from: tuple[tuple[str, str], ...] = ()) -> ledger.ArtifactRow:
    """An artifact as the ledger takes it."""
    return ledger.ArtifactRow(artifact.sha256, artifact.kind, artifact.size, artifact.key, made_from)


@contextmanager
def renewed(database: Database, lease: ledger.Lease, seconds: int) -> Iterator[threading.Event]:
    """Renew a lease every third of its time while the block runs. The event is set once the lease is lost."""
    done, lost = threading.Event(), threading.Event()

    def renew() -> None:
        while not done.wait(seconds / 3):
            try:
                ledger.renew(database, lease, seconds)
            except StaleToken:
                lost.set()
                return
            except Exception:  # noqa: S112 (an outage: the next renewal may succeed, and a lost lease is noticed at the next write)
                continue

    thread = threading.Thread(target=contextvars.copy_context().run, args=(renew,), name=f"lease {lease.job_id}", daemon=True)
    thread.start()
    try:
        yield lost
    finally:
        done.set()
        thread.join()
