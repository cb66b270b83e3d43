"""Measure the scorer on real clips that are in sync: speakers it never saw (`unseen`), and its own on held-back clips.

Clean, and as catalogues hold them (models/syncnet/conditions.py).
"""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from models.corpus import Corpus, prepare_clip
from models.syncnet.conditions import CONDITIONS, VOICES, Condition, each_again, heard
from models.syncnet.protocol import figures_of
from models.syncnet.scorer import SyncScorer

SPLITS = ("unseen", "validation")
SUFFIXES = (".mpg", ".mkv", ".mp4", ".mov", ".avi")


@dataclass(frozen=True)
class Pair:
    """A clip's mouths uint8 [T, 96, 96] and wave float32 [samples] at 16 kHz, in sync."""

    split: str
    speaker: str
    name: str
    mouths: np.ndarray
    wave: np.ndarray


def pairs(folder: Path, splits: tuple[str, ...] = SPLITS, workers: int = 2) -> Iterator[Pair]:
    """The clips of some splits, from a cache that models/corpus.py made or from a GRID folder (a folder for each speaker).

    workers: processes that read the clips of a GRID folder; 1 is this one. In a GRID folder `unseen` is every speaker but s1,
    `validation` what s1/validation.txt names. A clip in which a frame shows no face is left out.
    """
    for split in splits:
        if (folder / split / "index.json").is_file():
            corpus = Corpus(folder, split)
            for clip in corpus.clips:
                wave = corpus.wave_of(clip).astype(np.float32) / 32768
                yield Pair(split, clip.speaker, clip.name, corpus.mouth[corpus.frames_of(clip)], wave)
            continue
        yield from pairs_of(_clips(folder, split), split, workers)


def pairs_of(paths: list[Path], split: str, workers: int = 2) -> Iterator[Pair]:
    """Clips as files, of one split; one in which a frame shows no face is left out."""
    for path, arrays in _prepared(paths, workers):
        if arrays is not None:
            yield Pair(split, path.parent.name, path.stem, arrays["mouth"], arrays["wave"].astype(np.float32) / 32768)


def _prepared(paths: list[Path], workers: int) -> Iterator[tuple[Path, dict[str, np.ndarray] | None]]:
    if workers < 2 or len(paths) < 2:
        yield from ((path, prepare_clip(path)) for path in paths)
        return
    fresh = get_context("spawn")  # a fork would copy the locks of the face mesh's threads
    with ProcessPoolExecutor(workers, mp_context=fresh) as pool:
        yield from zip(paths, pool.map(prepare_clip, paths), strict=True)


def _clips(grid: Path, split: str) -> list[Path]:
    found = sorted(path for path in grid.glob("s*/*") if path.suffix in SUFFIXES)
    if split == "unseen":
        return [path for path in found if path.parent.name != "s1"]
    named = grid / "s1" / "validation.txt"
    listed = set(named.read_text().split()) if named.is_file() else set()
    return [path for path in found if path.parent.name == "s1" and path.stem in listed]


def evaluate(folder: Path, *, scorer: SyncScorer | None = None, workers: int = 2, conditions: tuple[Condition, ...] = CONDITIONS) -> dict[str, Any]:
    """Figures of the scorer (the shipped one by default) on a prepared cache or on a folder of GRID clips.

    figures: `offset_within_1`, `auc_1s`, `auc_1s_margin` of the unseen speakers' clips, and with `_s1` those of s1's validation
    list, each as in protocol.figures_of; `clips`, how many; of the unseen speakers' also under each condition, by its name, and
    `offset_within_1_worst`, `auc_1s_worst` over the counted ones. A cache holds no pictures to encode again: such conditions are
    left out of it. Raises ValueError where there are no clips of unseen speakers.
    """
    scorer = scorer or SyncScorer.load()
    temperature = scorer.network.temperature
    clips: list[dict[str, Any]] = []
    figures: dict[str, float] = {}
    for split, suffix in zip(SPLITS, ("", "_s1"), strict=True):
        kept = [] if split == "validation" else list(pairs(folder, (split,), workers))
        curves = []
        for pair in kept or pairs(folder, (split,), workers):
            curves.append(scorer.curve(pair.mouths, pair.wave))
            row = {"offset": curves[-1].offset, "distance": curves[-1].distance, "confidence": curves[-1].confidence}
            clips.append({"speaker": pair.speaker, "clip": pair.name} | row)
        if curves:
            figures |= {name + suffix: value for name, value in figures_of(curves, temperature).items()} | {"clips" + suffix: len(curves)}
        elif split == "unseen":
            raise ValueError(f"{folder} holds no clips of speakers other than s1 to evaluate on")
        if split == "unseen":
            figures |= under_conditions(kept, _files(folder, kept), scorer, conditions, workers)
    return {"scorer": scorer.version, "figures": figures, "clips": clips}


def under_conditions(
    clips: list[Pair], files: list[Path], scorer: SyncScorer, conditions: tuple[Condition, ...], workers: int
) -> dict[str, float]:
    """Figures of clips under each condition, and the worst of the counted ones; files: theirs, or none.

    A clip whose face is not found any more counts as one whose offset was not, and gives no seconds to the AUC.
    """
    found: dict[str, float] = {}
    worst: dict[str, list[float]] = {"offset_within_1": [], "auc_1s": []}
    for condition in conditions:
        if condition.pictured and not files:
            continue
        seen = each_again(files, condition, workers) if condition.pictured else iter([clip.mouths for clip in clips])
        curves = []
        for number, (clip, mouths) in enumerate(zip(clips, seen, strict=True)):
            others = [clips[(number + step) % len(clips)].wave for step in range(1, VOICES + 1)]
            if mouths is not None:
                curves.append(scorer.curve(mouths, heard(clip.wave, condition, others, seed=number)))
        values = figures_of(curves, scorer.network.temperature)
        values["offset_within_1"] *= len(curves) / len(clips)
        found |= {f"{name}_{condition.name}": value for name, value in values.items() if name in worst}
        if condition.counted:
            for name, rows in worst.items():
                rows.append(values[name])
    return found | {f"{name}_worst": min(rows) for name, rows in worst.items() if rows}


def _files(folder: Path, clips: list[Pair]) -> list[Path]:
    """The files of clips that come from a folder of GRID clips; none of those of a cache."""
    named = {(path.parent.name, path.stem): path for path in _clips(folder, "unseen")}
    return [named[clip.speaker, clip.name] for clip in clips if (clip.speaker, clip.name) in named]
