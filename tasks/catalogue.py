"""Versions of a title: the jobs of one title and locale in order, what differs between two of them, and what a changed script costs.

Nothing is rendered here, nor spoken: which windows a change touches is told by the cues' times in the version before, with half a second
about them (docs/ledger.md). Where speech runs over its slot, and pushes what follows, more windows are rendered than this says.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from db import listing, queries, shown
from db.session import Database
from infra.artifacts import Artifacts
from infra.differences import changes
from infra.errors import LedgerError, ObjectMissing
from models.types import Cue
from tasks.values import load_speech

ABOUT = 0.5  # seconds about a cue in which lips and head move with it
MOST = 200  # versions that are looked at


@dataclass(frozen=True)
class Version:
    """One job of a title: its newest take with cues, as they are heard and as they were wanted, and the seconds that each window shows and took."""

    job: int
    batch: int
    state: str
    cues: tuple[Cue, ...]
    wanted: tuple[Cue, ...]
    take: dict[str, Any]
    windows: tuple[tuple[float, float], ...]
    seconds: float

    def told(self) -> dict[str, Any]:
        """Plain values for a list."""
        take = self.take
        made, of = take["parameters"].get("windows") or (len(self.windows), len(self.windows))
        told = {"take": take["take"], "number": take["number"], "engine": take["engine"], "verdict": take.get("verdict"), "confidence": take.get("confidence"), "video": take["video"]}
        return {"job": self.job, "batch": self.batch, "state": self.state, "cues": len(self.cues), **told, "windows": of, "windows_rendered": made}


def versions(database: Database, artifacts: Artifacts, title: str, locale: str) -> list[Version]:
    """The versions of a title in a locale that have a take, the oldest first."""
    found = []
    for job in listing.jobs(database, None, MOST, title=title, locale=locale):
        takes = [take for take in queries.takes_of(database, job["job"]) if take["speech"]]
        if not takes:
            continue
        try:
            take, track = takes[-1], load_speech(artifacts.path(takes[-1]["speech"]))
        except ObjectMissing:
            continue  # cleaned up: nothing of it is there to begin from
        fps = float(take["parameters"].get("fps") or 25)
        slots = track.wanted or tuple(Cue(fit["start"], fit["end"], fit["text"]) for fit in track.fits if fit["end"])
        windows = tuple((first / fps, last / fps) for first, last in shown.windows(database, take["take"]))
        found.append(Version(job["job"], job["batch"], job["state"], track.speech.cues, slots, take, windows, float(take["seconds"].get("render", 0.0))))
    return found


def cost(version: Version, after: Sequence[Cue]) -> dict[str, Any]:
    """What a changed script costs beside a version: `windows` to render, `of` how many, and about how many `seconds` of work that is."""
    rows = changes(version.wanted or version.cues, after)
    spans = [(row[side]["start"], row[side]["end"]) for row in rows for side in ("before", "after") if side in row]
    timed = bool(version.wanted) and all(cue.end > 0 for cue in after)
    touched = [
        number for number, (first, last) in enumerate(version.windows)
        if any(start - ABOUT < last and end + ABOUT > first for start, end in spans) or (rows and not timed)
    ]  # fmt: skip
    count = len(version.windows)
    return {"cues": len(rows), "windows": len(touched), "of": count, "seconds": round(version.seconds * len(touched) / count, 1) if count else 0.0}


def compared(found: Sequence[Version], first: int, second: int) -> dict[str, Any]:
    """What differs between the versions that jobs `first` and `second` are. Raises LedgerError for a job that is none of them."""
    by = {version.job: version for version in found}
    if missing := [job for job in (first, second) if job not in by]:
        raise LedgerError(f"job {missing[0]} is no version of this title", code="versions.unknown", next_step=f"Its versions are jobs {', '.join(map(str, by)) or 'of none'}.")
    one, other = by[first], by[second]
    return {"before": one.told(), "after": other.told(), "cues": changes(one.wanted or one.cues, other.wanted or other.cues)}
