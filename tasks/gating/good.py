"""What good takes are like, and those with one fault: features of held-out clips, as they were delivered and as engines render them.

Good: real clips, alone and two joined, and takes that engines render of them. Each feature's fault is made on the same real clips.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from models.quality.catalogue import FEATURES
from models.quality.features import compared, features_of, likeness
from models.types import SyncScore
from tasks.gating.clips import FAULTS, Clip, first_of, halves, looked_at
from tasks.gating.limits import FEWEST, Values, limit_of, measured
from tasks.gating.rendered import rendered
from tasks.gating.seen import join, join_heard

ENGINES = ("lipmemory", "avct")
RENDERED = 4  # s1's clips that each engine renders, and every other speaker's
FAULT_OF = {
    "silent_motion": "chattering in silence", "spoken_motion": "frozen mouth", "sharpness": "blurred mouth", "sharpness_kept": "blurred mouth",
    "flicker": "flickering", "flicker_added": "flickering", "seam": "hard edge", "seam_added": "hard edge", "likeness": "another face",
    "confidence_kept": "other speech", "coherence": "other speech",
}  # fmt: skip


@dataclass(frozen=True)
class Faces:
    """Clips that set limits: real ones, and by engine the takes that were rendered of some of them."""

    real: list[Clip]
    rendered: dict[str, list[Clip]]


def faces_of(grid: Path, engines: Sequence[str] = ENGINES, workers: int = 2) -> Faces:
    """Look at clips of the half of the held-out ones that sets limits, some of each speaker, and render some of those."""
    paths = first_of(halves(grid)["set"])
    main = [path for path in paths if sum(other.parent == path.parent for other in paths) > RENDERED]
    few = [*main[:: max(1, len(main) // RENDERED)][:RENDERED], *(path for path in paths if path not in main)]
    few = [path for path in few if path.with_suffix(".align").is_file()]
    return Faces(list(looked_at(paths, workers=workers)), {name: [rendered(path, name) for path in few] for name in engines})


def pairs_of(clips: Sequence[Clip], count: int = 2) -> Iterator[Clip]:
    """Neighbouring clips of one speaker joined by so many, with the faults that were made of all of them."""
    for first in range(0, len(clips) - count + 1, count):
        few = clips[first : first + count]
        if len({clip.speaker for clip in few}) == 1:
            yield joined(few)


def joined(few: Sequence[Clip]) -> Clip:
    """Clips of one speaker one after another, against the source of the first; its confidence is the mean of theirs."""
    heard = join_heard([clip.heard for clip in few], sum(clip.seen.frames for clip in few))
    source = replace(few[0].source, confidence=float(np.mean([clip.source.confidence for clip in few])))
    spoilt = {fault: join([clip.spoilt[fault] for clip in few]) for fault in few[0].spoilt if all(fault in clip.spoilt for clip in few)}
    name = " ".join(clip.name for clip in few)
    return Clip(few[0].split, few[0].speaker, name, heard, join([clip.seen for clip in few]), source, spoilt)


def limits_of(faces: Faces) -> tuple[dict[str, float], dict[str, Any]]:
    """Limits by feature, and how often each flags good takes and catches its fault. Features without FEWEST good takes get none."""
    good, faulty = good_values(faces), faulty_values(faces)
    limits, rates = {}, {}
    for name, feature in FEATURES.items():
        enough = {kind: values for kind, values in good[name].items() if values}
        if not feature.limited or max(map(len, enough.values()), default=0) < FEWEST:
            continue
        limit = limit_of(name, enough, faulty[name])
        if limit is not None:
            limits[name] = limit
            rates[name] = measured(name, limit, enough, faulty[name])
    return limits, rates


def good_values(faces: Faces) -> dict[str, dict[str, list[float]]]:
    """By feature and kind of good take, the values."""
    takes = {"real": faces.real, **faces.rendered}
    scores = {kind: [clip.seen.score(clip.heard, clip.source) for clip in clips] for kind, clips in takes.items()}
    scores["real joined"] = [clip.seen.score(clip.heard, clip.source) for clip in pairs_of(faces.real)]
    return {name: {kind: _known(scored, name) for kind, scored in scores.items()} for name in FEATURES}


def faulty_values(faces: Faces) -> dict[str, Values]:
    """By feature, the values of takes with its fault."""
    real = faces.real
    made: dict[str, Callable[[Clip, int], dict[str, float]]] = {
        "another face": lambda clip, at: _unlike(clip, _another(real, at)),
        "other speech": lambda clip, at: clip.seen.score(join_heard([_other(real, at).heard], clip.seen.frames), clip.source).features,
        "flickering": lambda clip, _: _watched(clip, "flickering"),
        "hard edge": lambda clip, _: _watched(clip, "hard edge"),
        **{fault: functools.partial(_spoilt, fault) for fault in FAULTS},
    }
    told = {fault: [make(clip, at) for at, clip in enumerate(real) if clip.spoilt] for fault, make in made.items()}
    return {name: {fault: [row[name] for row in told[fault] if name in row]} for name, fault in FAULT_OF.items()}


def _known(scores: Sequence[SyncScore], name: str) -> list[float]:
    return [score.features[name] for score in scores if np.isfinite(score.features.get(name, np.nan))]


def _spoilt(fault: str, clip: Clip, _: int) -> dict[str, float]:
    return clip.spoilt[fault].score(clip.heard, clip.source).features


def _watched(clip: Clip, fault: str) -> dict[str, float]:
    found = features_of(clip.rows[fault], None)
    return found | compared(found, clip.source.features)


def _unlike(clip: Clip, other: Clip | None) -> dict[str, float]:
    return {} if other is None else likeness(other.seen.likeness, clip.source.look)


def _another(clips: Sequence[Clip], at: int) -> Clip | None:
    """A clip of another speaker."""
    others = [clip for clip in clips if clip.speaker != clips[at].speaker]
    return others[at % len(others)] if others else None


def _other(clips: Sequence[Clip], at: int) -> Clip:
    """A clip of another sentence."""
    return clips[(at + 1) % len(clips)]
