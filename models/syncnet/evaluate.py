"""Measure the scorer on real clips that are in sync: speakers it never saw (`unseen`), and its own on held-back clips."""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from models.corpus import Corpus, prepare_clip
from models.syncnet.protocol import Curve, figures_of
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


def evaluate(folder: Path, *, scorer: SyncScorer | None = None, workers: int = 2) -> dict[str, Any]:
    """Figures of the scorer (the shipped one by default) on a prepared cache or on a folder of GRID clips.

    figures: `offset_within_1`, `auc_1s`, `auc_1s_margin` of the unseen speakers' clips, and with `_s1` those of s1's validation
    list, each as in protocol.figures_of; `clips`, how many. Raises ValueError where there are no clips of unseen speakers.
    """
    scorer = scorer or SyncScorer.load()
    curves: dict[str, list[Curve]] = {split: [] for split in SPLITS}
    clips = []
    for pair in pairs(folder, workers=workers):
        curve = scorer.curve(pair.mouths, pair.wave)
        curves[pair.split].append(curve)
        row = {"offset": curve.offset, "distance": curve.distance, "confidence": curve.confidence}
        clips.append({"speaker": pair.speaker, "clip": pair.name} | row)
    if not curves["unseen"]:
        raise ValueError(f"{folder} holds no clips of speakers other than s1 to evaluate on")
    figures: dict[str, float] = {}
    for split, suffix in zip(SPLITS, ("", "_s1"), strict=True):
        if curves[split]:
            figures |= {name + suffix: value for name, value in figures_of(curves[split], scorer.network.temperature).items()}
            figures["clips" + suffix] = len(curves[split])
    return {"scorer": scorer.version, "figures": figures, "clips": clips}
