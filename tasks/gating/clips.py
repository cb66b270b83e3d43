"""Held-out clips in two halves, one that sets the gate's limits and one that measures it, each clip looked at once with each fault.

The halves share no clip, and but for GRID's one speaker with many clips no person: of the speakers that nobody trained on, every other one.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import numpy as np

from infra.media import VideoWriter, iter_frames
from infra.settings import get_settings
from models.corpus import clips_of, read_clip
from models.quality.watch import Watcher
from models.types import FRAME_RATE
from tasks.gating.seen import Heard, Seen, hear, see
from tasks.gating.source import Source
from tasks.gating.spoilt import blurred, chattering, edged, flickering, frozen

Half = Literal["set", "measure"]
FAULTY = 13  # clips of each speaker that are looked at with faults, too
FAULTS = ("frozen mouth", "chattering in silence", "blurred mouth")  # those that need other pictures


@dataclass(frozen=True)
class Clip:
    """A clip in sync: its sound, its face as delivered, and what it was made from.

    split: as in models/corpus.py. spoilt: the face with each fault. rows: watch.py's numbers [T, 7] of it with faults of the picture that
    the tracker need not see.
    """

    split: str
    speaker: str
    name: str
    heard: Heard
    seen: Seen
    source: Source
    spoilt: dict[str, Seen] = field(default_factory=dict)
    rows: dict[str, np.ndarray] = field(default_factory=dict)


def halves(grid: Path) -> dict[Half, list[Path]]:
    """The held-out clips of a GRID folder in two halves (models/corpus.py says which are held out); of another folder, on which the shipped
    weights were not trained, all clips.
    """
    found = clips_of(grid)
    if not (grid / "s1" / "validation.txt").exists():
        every = sorted(path for paths in found.values() for path in paths)
        return {"set": every[::2], "measure": every[1::2]}
    speakers = sorted({path.parent.name for path in found["unseen"]})
    mine = set(speakers[1::2])
    setting = [*found["validation"][::2], *(path for path in found["unseen"] if path.parent.name in mine)]
    measuring = [*found["validation"][1::2], *(path for path in found["unseen"] if path.parent.name not in mine)]
    return {"set": setting, "measure": measuring}


def first_of(paths: Sequence[Path], count: int = FAULTY) -> list[Path]:
    """The first clips of each speaker, so many."""
    return [path for at, path in enumerate(paths) if sum(other.parent == path.parent for other in paths[:at]) < count]


def looked_at(paths: Sequence[Path], faults: Sequence[str] = FAULTS, workers: int = 2) -> Iterator[Clip]:
    """Each clip, `first_of` each speaker with faults, too. One in which a frame shows no face, or nobody speaks, is left out."""
    faulty = set(first_of(paths))
    wanted = [tuple(faults) if path in faulty else () for path in paths]
    if workers < 2 or len(paths) < 2:
        yield from (clip for clip in map(look_at, paths, wanted) if clip is not None)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:  # a fork would copy the locks of the mesh's threads
        yield from (clip for clip in pool.map(look_at, paths, wanted) if clip is not None)


def look_at(path: Path, faults: Sequence[str] = FAULTS) -> Clip | None:
    """One clip, or None where it is of no use."""
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    frames, sound = read_clip(path)
    wave = sound.astype(np.float32) / 32768
    heard, seen = hear(wave, len(frames)), see(delivered(iter(frames)))
    if not heard.spoken.any() or not seen.present.all():
        return None
    marks, spoken = seen.marks, heard.spoken
    made: dict[str, Callable[[], Iterator[np.ndarray]]] = {
        "frozen mouth": lambda: frozen(frames, marks),
        "chattering in silence": lambda: chattering(frames, marks, spoken),
        "blurred mouth": lambda: blurred(frames, marks),
    }
    spoilt = {fault: see(delivered(made[fault]())) for fault in faults}
    rows = {"flickering": rows_of(flickering(frames, marks), marks), "hard edge": rows_of(edged(frames, marks), marks)} if faults else {}
    return Clip(split_of(path), path.parent.name, path.stem, heard, seen, source_of(frames, marks, heard), spoilt, rows)


def source_of(frames: np.ndarray, marks: Sequence[np.ndarray | None], heard: Heard) -> Source:
    """A clip as the source of takes, by landmarks that are known."""
    original = see(iter(frames), marks)
    return Source.of(original.score(heard), original)


def split_of(path: Path) -> str:
    """Whose a held-out clip is: `validation` of a speaker that was trained on, `unseen` of others."""
    return "validation" if path.parent.name == "s1" or not (path.parent.parent / "s1" / "validation.txt").exists() else "unseen"


def rows_of(frames: Iterator[np.ndarray], marks: Sequence[np.ndarray | None]) -> np.ndarray:
    """What is taken of frames [T, H, W, 3] whose landmarks are known, [T, 7]."""
    watcher = Watcher(second_opinion=False)
    for frame, here in zip(delivered(frames), marks, strict=True):
        watcher.add(frame, here)
    return watcher.rows


def delivered(frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Frames uint8 RGB [H, W, 3] at 25 a second as a delivery's encode leaves them."""
    settings = get_settings()
    with tempfile.TemporaryDirectory(prefix="dubwright-") as folder:
        path = Path(folder) / "take.mp4"
        first = next(frames)
        height, width = first.shape[:2]
        with VideoWriter(path, width, height, Fraction(FRAME_RATE), None, crf=settings.video_crf, preset=settings.video_preset, threads=1) as out:
            out.write(first)
            for frame in frames:
                out.write(frame)
        yield from iter_frames(path)
