"""Set the gate's thresholds from held-out real clips: in sync, with the sound shifted, and with another clip's sound; and limits of features.

For videos of one, two, three and six seconds apart, since a short video says less; six seconds are two clips joined. Rates
count every clip once however many trials it gave, and so do their intervals (Clopper and Pearson, 95 %): trials on one clip
are not independent. Half of the held-out clips set thresholds; `dubwright evaluate gate` measures them on the other half.
"""

import functools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from infra.errors import InputError
from models.quality import coherence
from models.quality.catalogue import FEATURES
from models.syncnet.evaluate import Pair, pairs_of
from models.syncnet.network import FRAMES
from models.syncnet.protocol import REACH, Curve, curve_of
from models.syncnet.scorer import SyncScorer, score_of
from models.types import FRAME_RATE
from tasks.gate import Level, Thresholds, stretch_prominences
from tasks.gating.clips import halves, split_of
from tasks.gating.good import Faces, faces_of, limits_of
from tasks.gating.rates import rate_of
from tasks.gating.reliability import reliability

LENGTHS = (1.0, 2.0, 3.0, 6.0)  # seconds
CLIP = 3.0  # seconds of a clip; longer lengths join two
SHIFTS = (-13, -9, -6, -4, -3, 3, 4, 6, 9, 13)  # frames; two are as often the corpus's own lag
OTHERS = 6  # clips that lend their sound to each clip
WRONGLY_FAILED = 0.01  # part of the clips in sync that may lie under `fails`
NOT_PASSED = 0.02  # and under `passes`, where the stated rate asks for less
Trials = list[list[float]]  # per clip, the prominence of each trial; minus infinity where the offset is not within one frame


@dataclass(frozen=True)
class Embedded:
    """A clip in sync as the scorer sees it: embeddings [windows, E] of its picture and its sound."""

    split: str
    speaker: str
    name: str
    video: np.ndarray
    audio: np.ndarray


def embed(scorer: SyncScorer, clips: Iterable[Pair]) -> list[Embedded]:
    """The embeddings of clips, one clip's pictures in memory at a time."""
    found = []
    for clip in clips:
        video = scorer.see(clip.mouths)
        found.append(Embedded(clip.split, clip.speaker, clip.name, video, scorer.hear(clip.wave, len(video) + FRAMES - 1)))
    return found


def setting(folder: Path) -> Iterator[Pair]:
    """The clips of a folder that set thresholds, by split."""
    paths = halves(folder)["set"]
    for split in sorted({split_of(path) for path in paths}):
        yield from pairs_of([path for path in paths if split_of(path) == split], split)


def fewest_clips(false_pass_rate: float) -> int:
    """How many clips can show a rate at all: without one false pass among them, the interval's upper end is at the rate."""
    return math.ceil(math.log(0.05) / math.log(1 - false_pass_rate))


def calibrate(
    folder: Path,
    *,
    false_pass_rate: float = 0.05,
    scorer: SyncScorer | None = None,
    clips: list[Embedded] | None = None,
    faces: Faces | None = None,
) -> Thresholds:
    """Thresholds of a scorer (the shipped one by default) from a GRID folder or one of other clips, or from embedded clips, and faces that
    were looked at: without such there are no limits of features.

    `passes` is the least prominence at which, by each kind of wrong sound, no more than the stated part passes, or what one clip in
    fifty in sync does not reach where that is more; `fails` is the prominence that one in a hundred clips in sync does not reach.
    Raises InputError, code calibrate.too_little, when the clips cannot show the stated rate, and ValueError for a rate that is none.
    """
    if not 0 < false_pass_rate < 1:
        raise ValueError(f"a false-pass rate lies between 0 and 1, not at {false_pass_rate}")
    scorer = scorer or SyncScorer.load()
    needed = fewest_clips(false_pass_rate)
    if clips is None:
        _enough(len(halves(folder)["set"]), needed, false_pass_rate)  # before minutes are spent
        clips, faces = embed(scorer, setting(folder)), faces or faces_of(folder)
    _enough(len(clips), needed, false_pass_rate)
    levels, measured, trials = [], {}, {}
    for seconds in LENGTHS:
        units = clips if seconds <= CLIP else joined(clips)
        if len(units) < needed:
            continue
        level, rates, trials[f"{seconds:.0f}s"] = _level(units, seconds, false_pass_rate)
        levels.append(level)
        measured[f"{seconds:.0f}s"] = rates
    limits, measured["features"] = limits_of(faces) if faces else ({}, {})
    stretch, measured["stretch"] = _stretch(clips, scorer)
    made_from = {
        "clips": len(clips),
        "speakers": sorted({clip.speaker for clip in clips}),
        "shifts": list(SHIFTS),
        "other_sounds_per_clip": OTHERS,
        "clips_of_limits": len(faces.real) if faces else 0,
        "rendered": {name: len(takes) for name, takes in faces.rendered.items()} if faces else {},
        "second_opinion": coherence.version(),
        "interval": "Clopper-Pearson, 95 %, a clip counted once",
    }
    told = reliability(trials)
    return Thresholds(scorer.version, tuple(levels), false_pass_rate, 1, stretch, measured, made_from, limits=limits, reliability=told)


def _enough(count: int, needed: int, rate: float) -> None:
    if count < needed:
        raise InputError(
            f"{count} clips cannot show a false-pass rate of {rate:.1%}: at least {needed} are needed",
            code="calibrate.too_little",
            next_step="Add held-out clips in sync, or state a higher rate.",
        )


def joined(clips: list[Embedded], count: int = 2) -> list[Embedded]:
    """Neighbouring clips of a split joined by so many; no window straddles the joint."""
    found = []
    for split in sorted({clip.split for clip in clips}):
        part = [clip for clip in clips if clip.split == split]
        for first in range(0, len(part) - count + 1, count):
            few = part[first : first + count]
            video, audio = (np.concatenate([getattr(clip, name) for clip in few]) for name in ("video", "audio"))
            found.append(Embedded(split, few[0].speaker, " ".join(clip.name for clip in few), video, audio))
    return found


def _stretch(clips: list[Embedded], scorer: SyncScorer) -> tuple[float, dict[str, Any]]:
    """The prominence that a stretch of a dozen seconds in sync falls under in one video of twenty, and how often it catches.

    Caught should be videos whose second half has its sound moved by half a second or taken from the first half.
    """
    right, moved, swapped = [], [], []
    for clip in joined(clips, 4):
        half = len(clip.audio) // 2
        right.append(_weakest(clip.video, clip.audio, scorer))
        moved.append(_weakest(clip.video, np.concatenate([clip.audio[:half], np.roll(clip.audio[half:], 12, axis=0)]), scorer))
        swapped.append(_weakest(clip.video, np.concatenate([clip.audio[:half], clip.audio[: len(clip.audio) - half]]), scorer))
    least = round(float(np.quantile(right, 0.05, method="lower")), 4)
    names = ("flagged_in_sync", "flagged_half_moved", "flagged_half_swapped")
    parts = [[[float(value < least)] for value in values] for values in (right, moved, swapped)]
    return least, {name: _rate(part, 1.0) for name, part in zip(names, parts, strict=True)}


def _weakest(video: np.ndarray, audio: np.ndarray, scorer: SyncScorer) -> float:
    values = stretch_prominences(score_of(curve_of(video, audio), scorer.version, 1.0))
    return min(values, default=0.0)


def _level(clips: list[Embedded], seconds: float, rate: float) -> tuple[Level, dict[str, Any], tuple[Trials, Trials]]:
    right = [_trials(clip, clip.audio, seconds, (0,)) for clip in clips]
    wrong = {
        "shifted": [_trials(clip, clip.audio, seconds, SHIFTS) for clip in clips],
        "mismatched": [
            [value for other in _others(clips, number) for value in _trials(clip, other.audio, seconds, (0,))]
            for number, clip in enumerate(clips)
        ],
    }
    known = [value for clip in right for value in clip if np.isfinite(value)]
    passes = max(*(_least(trials, rate) for trials in wrong.values()), float(np.quantile(known, NOT_PASSED)))
    fails = min(passes, float(np.quantile(known, WRONGLY_FAILED)))
    level = Level(seconds, round(passes, 4), round(fails, 4))
    rates: dict[str, Any] = {f"false_pass_{kind}": _rate(trials, level.passes) for kind, trials in wrong.items()}
    rates["in_sync_pass"] = _rate(right, level.passes)
    for split in sorted({clip.split for clip in clips}):
        part = [trials for trials, clip in zip(right, clips, strict=True) if clip.split == split]
        rates[f"in_sync_pass_{split}"] = _rate(part, level.passes)
    return level, rates, (right, wrong["mismatched"])


def _others(clips: list[Embedded], number: int) -> list[Embedded]:
    """Clips that lend clip `number` their sound: of another sentence, spread over the list, the same ones every time."""
    steps = np.random.default_rng(number).permutation(len(clips))
    return [clips[i] for i in steps if clips[i].name != clips[number].name and i != number][:OTHERS]


def _trials(clip: Embedded, audio: np.ndarray, seconds: float, shifts: tuple[int, ...]) -> list[float]:
    """What the gate would see of each stretch of `seconds` (one every half second) with the sound shifted by so many frames."""
    count = min(len(clip.video), len(audio))
    length = round(seconds * FRAME_RATE) - FRAMES + 1
    length = count if count < length <= count + 2 * FRAMES else length  # a clip a frame or two under three seconds counts as such
    band = _band(clip.video[:count], audio[:count])
    found = []
    for shift in shifts:
        first, last = max(0, -shift), min(count, count - shift)
        for start in range(first, max(last - length, first) + 1, 12):
            stop = min(start + length, last)
            if stop - start >= length - max(map(abs, shifts)):
                middle = band.shape[1] // 2 + shift
                cut = band[start:stop, middle - REACH : middle + REACH + 1]
                found.append(_value(Curve(np.where(_inside(stop - start), cut, np.nan))))
    return found


def _band(video: np.ndarray, audio: np.ndarray) -> np.ndarray:
    """Distances [windows, offsets] of unit vectors at every offset that a trial may look at; NaN outside the clip."""
    reach, count = REACH + max(map(abs, SHIFTS)), len(video)
    distances = np.sqrt(np.maximum(2 - 2 * video @ audio.T, 0))
    partner = np.arange(count)[:, None] + np.arange(-reach, reach + 1)
    inside = (partner >= 0) & (partner < count)
    return np.where(inside, distances[np.arange(count)[:, None], partner.clip(0, count - 1)], np.nan)


@functools.cache
def _inside(count: int) -> np.ndarray:
    """Which windows of a stretch [count] have a partner within it at each offset [31]."""
    partner = np.arange(count)[:, None] + np.arange(-REACH, REACH + 1)
    return (partner >= 0) & (partner < count)


def _value(curve: Curve) -> float:
    return curve.prominence if abs(curve.offset) <= 1 else -math.inf


def _least(trials: Trials, rate: float) -> float:
    """The least prominence at which no more than `rate` passes, every clip counted once."""
    values = np.array([value for clip in trials for value in clip])
    weights = np.array([1 / len(clip) for clip in trials for _ in clip]) / sum(map(bool, trials))
    order = np.argsort(-values, kind="stable")
    allowed = int(np.searchsorted(np.cumsum(weights[order]), rate + 1e-12, "right"))  # trials that may pass
    highest = float(values[order[allowed]]) if allowed < len(values) else 0.0
    return max(0.0, highest) + 1e-4


def _rate(trials: Trials, level: float) -> dict[str, float]:
    """The part of the clips' trials that reaches a prominence, and its 95 % interval with every clip counted once."""
    return rate_of([float(np.mean(np.array(clip) >= level)) for clip in trials if clip])


def describe(thresholds: Thresholds) -> list[str]:
    """Lines that tell a person what was set and how sure it is."""
    lines = [
        f"scorer {thresholds.scorer[:12]}, {thresholds.made_from.get('clips')} clips, "
        f"stated false-pass rate {thresholds.false_pass_rate:.1%}, offset within {thresholds.largest_offset} frame",
    ]
    for level in thresholds.levels:
        lines.append(f"{level.seconds:.0f} s: pass from prominence {level.passes:.2f}, fail under {level.fails:.2f}")
        lines += _lines(thresholds.measured.get(f"{level.seconds:.0f}s", {}))
    lines.append(f"3 s within a longer video: flag under prominence {thresholds.stretch:.2f}")
    lines += _lines(thresholds.measured.get("stretch", {}))
    for name, limit in thresholds.limits.items():
        feature = FEATURES[name]
        lines.append(f"{name}: flag {'over' if feature.good == 'below' else 'under'} {limit:.4g} {feature.unit} ({feature.what})")
        lines += _lines(thresholds.measured.get("features", {}).get(name, {}))
    if thresholds.reliability:
        lines.append(f"predicted and seen to be in sync, apart by {thresholds.reliability['error']:.1%} in the mean:")
        lines += [
            f"    {row['low']:.0%} to {row['high']:.0%} predicted ({row['predicted']:.0%}): {row['share']:.0%} are "
            f"(95 %: {row['share_low']:.0%} to {row['share_high']:.0%}; {row['clips']} clips)"
            for row in thresholds.reliability["bins"]
        ]
    return lines


def _lines(rates: dict[str, Any]) -> list[str]:
    return [
        f"    {name.replace('_', ' ')}: {v['rate']:.1%} (95 %: {v['low']:.1%} to {v['high']:.1%}; {v['clips']:.0f} clips)"
        for name, v in rates.items()
    ]
