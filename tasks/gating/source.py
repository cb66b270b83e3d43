"""A take against what it was made from: a portrait's picture, or the face of a source video with its own sound."""

import math
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from infra.samples import Wave
from models.quality.coherence import Opinion
from models.quality.features import compared, features_of, likeness
from models.quality.watch import Watcher
from models.types import Portrait, SyncScore

IN_SYNC = 0.45  # probability of being in sync from which a source's own sound is one to be compared with


class Watched(Protocol):
    """A face that was watched: a Watcher, or what is kept of one."""

    @property
    def rows(self) -> np.ndarray:
        """Numbers of every picture, float32 [T, 7] (models/quality/watch.py)."""

    @property
    def likeness(self) -> np.ndarray | None:
        """What the face looks like, [2, 4096]."""

    @property
    def opinion(self) -> Opinion | None:
        """The second opinion, where there is one."""


@dataclass(frozen=True)
class Source:
    """What a take was made from, as the gate compares them: features, what the face looks like (never written to disk), and the
    scorer's confidence in its own sound, NaN where that is none to compare with.
    """

    features: dict[str, float]
    look: np.ndarray | None = None
    confidence: float = math.nan

    @classmethod
    def of(cls, score: SyncScore, watcher: Watched) -> "Source":
        """A source that was scored and watched itself."""
        sure = score.scorable and abs(score.offset) <= 1 and score.extra.get("in_sync", 0.0) >= IN_SYNC
        return cls(features_of(watcher.rows, None), watcher.likeness, score.confidence if sure else math.nan)

    @classmethod
    def still(cls, portrait: Portrait) -> "Source":
        """A portrait, which a take of it should be as sharp and as smooth as, and look like."""
        watcher = Watcher(second_opinion=False)
        watcher.add(portrait.picture, portrait.landmarks)
        return cls(features_of(watcher.rows, None), watcher.likeness)


def with_features(score: SyncScore, watcher: Watched, wave: Wave, spoken: np.ndarray | None, source: Source | None = None) -> SyncScore:
    """A score with the features of the face that was watched, against its source too where there is one. spoken: bool [T]."""
    found = features_of(watcher.rows, spoken)
    if watcher.opinion is not None:
        found |= {"coherence": float(np.nanmean(watcher.opinion.nats(wave)))}
    if source is not None:
        found |= compared(found, source.features) | likeness(watcher.likeness, source.look)
        if source.confidence > 0 and math.isfinite(score.confidence):
            found["confidence_kept"] = score.confidence / source.confidence
    return replace(score, features=found)
