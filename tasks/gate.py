"""The gate: a score and thresholds in, a verdict with its reasons out. Pure; the thresholds come from tasks/calibrate.py.

pass: in sync as far as the scorer can tell, and no feature beyond its limit. flag: a person should look. fail: not in sync. unscorable:
nothing is known, and what is unknown never passes.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import models.syncnet
from infra.errors import DubwrightError
from infra.levels import STRETCH, in_confidence, level_for, widened
from models.quality.catalogue import FEATURES
from models.types import SyncScore

Kind = Literal["pass", "flag", "fail", "unscorable"]


@dataclass(frozen=True)
class Level:
    """Prominences (protocol.Curve.prominence) for videos of `seconds` and more: pass from `passes`, fail under `fails`."""

    seconds: float
    passes: float
    fails: float


@dataclass(frozen=True)
class Thresholds:
    """What a verdict rests on: thresholds of one scorer version for a stated false-pass rate, and how they were found.

    scorer: SHA-256 of the scorer's weights. stretch: prominence under which STRETCH seconds of a longer video are flagged.
    measured: rates with 95 % intervals at these thresholds. made_from: the data. limits: of features, by name, beyond which a take is
    flagged. reliability: how often lips and sound agree by what is predicted (tasks/gating/reliability.py).
    """

    scorer: str
    levels: tuple[Level, ...]
    false_pass_rate: float
    largest_offset: int = 1
    stretch: float = 0.0
    measured: dict[str, Any] = field(default_factory=dict)
    made_from: dict[str, Any] = field(default_factory=dict)
    measure: str = "prominence"  # what the levels are levels of
    limits: dict[str, float] = field(default_factory=dict)
    reliability: dict[str, Any] = field(default_factory=dict)

    def level(self, seconds: float) -> Level:
        """The level for a video that is scored for so many seconds: the longest that it reaches, else the shortest there is."""
        return Level(**level_for([asdict(level) for level in self.levels], seconds))

    def in_confidence(self, confidence: float, extra: Mapping[str, float]) -> tuple[Level, float]:
        """What a video is asked for in units of its own confidence, to be shown: its level, and the least of STRETCH seconds.

        extra: as in its score. Raises DubwrightError, code gate.thresholds, where the score has no prominence.
        """
        told = in_confidence(asdict(self), confidence, extra)
        if told is None:
            raise _bad("the score says nothing about how far its offset stands out")
        return Level(told["seconds"], told["passes"], told["fails"]), told["stretch"]

    def to_dict(self) -> dict[str, Any]:
        """As stored in the database and in the shipped file."""
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Thresholds":
        """Thresholds from `to_dict`'s form. Raises DubwrightError, code gate.thresholds, where they are not such."""
        try:
            levels = tuple(Level(**row) for row in values["levels"])
            made = cls(**(values | {"levels": levels}))
        except (KeyError, TypeError) as error:
            raise _bad(f"thresholds are malformed ({error})") from error
        numbers = [value for level in levels for value in (level.seconds, level.passes, level.fails)]
        numbers += made.limits.values() if isinstance(made.limits, dict) else [math.nan]
        if not levels or not all(isinstance(n, int | float) and math.isfinite(n) for n in numbers):
            raise _bad("thresholds hold no levels, or values that are not numbers")
        if unknown := made.limits.keys() - FEATURES.keys():
            raise _bad(f"thresholds have limits of unknown features: {', '.join(sorted(unknown))}")
        return made


@dataclass(frozen=True)
class Verdict:
    """The gate's decision on a score, with reasons in words and the thresholds it used."""

    verdict: Kind
    reasons: tuple[str, ...]
    thresholds: Thresholds

    @property
    def passed(self) -> bool:
        """Whether the video may be delivered."""
        return self.verdict == "pass"


def thresholds_path(preset: str = "compact") -> Path:
    """Where a scorer preset's shipped thresholds lie."""
    return Path(models.syncnet.__file__).parent / "thresholds" / f"{preset}.json"


def load_thresholds(preset: str = "compact") -> Thresholds:
    """The shipped thresholds of a scorer preset.

    Raises DubwrightError, code gate.thresholds, where they are missing, malformed or another scorer's.
    """
    path = thresholds_path(preset)
    try:
        found = Thresholds.from_dict(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise _bad(f"thresholds of the scorer {preset!r} cannot be read ({error})") from error
    from models import checkpoints

    version = checkpoints.sha256("syncnet", preset)
    if found.scorer != version:
        raise _bad(f"thresholds at {path.name} are of scorer {found.scorer[:12]}, the weights are {version[:12]}")
    return found


def save_thresholds(thresholds: Thresholds, path: Path) -> None:
    """Write thresholds as the shipped file holds them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(thresholds.to_dict(), indent=2) + "\n")


def decide(score: SyncScore, thresholds: Thresholds) -> Verdict:
    """The verdict on a score. Raises DubwrightError, code gate.thresholds, when the thresholds are another scorer's."""
    if score.scorer != thresholds.scorer:
        raise _bad(f"the score is by scorer {score.scorer[:12]}, the thresholds are of {thresholds.scorer[:12]}")
    clear, seconds = (score.extra.get(name, math.nan) for name in ("prominence", "seconds"))
    if not score.scorable or not all(map(math.isfinite, (score.confidence, score.distance, clear, seconds))):
        return Verdict("unscorable", (score.reason or "the score is not a number",), thresholds)
    verdict, reasons = _of_whole(score, clear, thresholds.level(seconds), thresholds.largest_offset)
    apart = weak_stretches(score, thresholds.stretch)
    if apart and verdict != "fail":
        verdict = "flag"
        reasons += [f"lips and speech disagree from second {first} to {last}" for first, last in apart]
    faults = faults_of(score.features, thresholds.limits)
    return Verdict("flag" if faults and verdict == "pass" else verdict, (*reasons, *faults), thresholds)


def faults_of(features: Mapping[str, float], limits: Mapping[str, float]) -> list[str]:
    """What features say against a take, in words with figure and limit; those that it has no value of say nothing, nor those that
    another one, against the take's source, speaks for.
    """
    found = []
    for name, limit in limits.items():
        value, feature = features.get(name, math.nan), FEATURES[name]
        if feature.instead in limits and math.isfinite(features.get(feature.instead, math.nan)):
            continue
        if value > limit if feature.good == "below" else value < limit:
            side = "more" if feature.good == "below" else "less"
            found.append(f"{feature.fault}: {feature.what} is {value:.3g} {feature.unit}, {side} than {limit:.3g}")
    return found


def _of_whole(score: SyncScore, clear: float, level: Level, largest: int) -> tuple[Kind, list[str]]:
    sure = f"the best offset stands out by {clear:.1f} spreads, confidence {score.confidence:.2f}"
    if abs(score.offset) > largest:
        ahead = "the sound leads the lips" if score.offset > 0 else "the lips lead the sound"
        certain = clear >= level.passes or clear < level.fails
        return ("fail" if certain else "flag"), [f"{ahead} by {abs(score.offset)} frames ({sure})"]
    if clear >= level.passes:
        return "pass", [f"in sync within {largest} frame: {sure}; {level.passes:.1f} is asked"]
    if clear >= level.fails:
        return "flag", [f"in sync within {largest} frame, but {sure}, under the {level.passes:.1f} that passes"]
    return "fail", [f"lips and speech do not agree: {sure}, under {level.fails:.1f}"]


def weak_stretches(score: SyncScore, least: float, length: int = STRETCH) -> list[tuple[int, int]]:
    """Stretches (first, last second) of so many scored seconds in a row less prominent than `least` as played, joined."""
    values = stretch_prominences(score, length)
    found: list[tuple[int, int]] = []
    for first, value in enumerate(values):
        if math.isnan(value) or value >= least:
            continue
        if found and first <= found[-1][1]:
            found[-1] = (found[-1][0], first + length)
        else:
            found.append((first, first + length))
    return found


def stretch_prominences(score: SyncScore, length: int = STRETCH) -> list[float]:
    """The prominence, at offset 0, of every stretch of so many seconds in a row; NaN where a second of it is not scored.

    A stretch's mean confidence over the whole curve's spread, widened as the spread of a mean of fewer windows is. A video of no
    more seconds than `length` is no stretch of itself.
    """
    clear, scored = score.extra["prominence"], score.extra["seconds"]
    values = [value for _, value in score.seconds]
    if len(values) <= length or clear <= 0:
        return []
    spread = score.confidence / clear * widened(scored, length)
    return [sum(values[first : first + length]) / length / spread for first in range(len(values) - length + 1)]


def _bad(message: str) -> DubwrightError:
    return DubwrightError(
        message, code="gate.thresholds", next_step="Run `dubwright calibrate` for this scorer, or restore the shipped files."
    )
