"""How good lipmemory's compact preset is, on clips and faces that it never saw: the figures of `dubwright evaluate lipmemory`.

Each clip is re-dubbed through the engine: tracked, its lower face redrawn from its first frame as reference, composed back at its
own size, scored. Confidence is this project's scorer's, over that of the real clips.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.avct import LIPS, mouth_pixels, psnr, spread, track
from models.corpus import clips_of, read_clip
from models.faces.crop import Square, cut, face_square
from models.lipmemory.engine import LipEngine, LipMemoryEngine, tracked
from models.types import Speech
from tasks.score import score_frames
from tasks.speech.activity import voice_activity

SIZE = 128  # pixels a side of the face that pictures are compared at
Also = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], dict[str, float]]  # more figures of made and real frames, landmarks, sound


def run(grid: Path, *, clips: int = 16, ablate: bool = False, slots: Path | None = None, cache: Path | None = None) -> dict[str, Any]:
    """What `dubwright evaluate lipmemory` prints: the figures, or the ablation's, or those of a picture of the memory."""
    if slots is not None:
        from benchmarks.slots import picture

        return picture(grid, slots, clips=clips)
    if ablate:
        from benchmarks.ablation import ablation

        return ablation(grid, cache=cache)
    return evaluate(grid, clips=clips)


def evaluate(grid: Path, *, clips: int = 16, others: int | None = None, engine: LipEngine | None = None, also: Also | None = None) -> dict[str, Any]:
    """Every figure, and the rows behind them; `clips` validation clips, and `others`, or all, of the other speakers'.

    also: gives each row more figures.
    """
    engine = engine or LipMemoryEngine.load()
    chosen = spread(clips_of(grid)["validation"], clips)
    own = [redub(path, engine, also=also) for path in chosen]
    cross = [redub(path, engine, other, also) for path, other in zip(chosen, chosen[1:] + chosen[:1], strict=True)]
    unseen = [redub(path, engine, also=also) for path in clips_of(grid)["unseen"][:others]]
    real = mean(own, "real_confidence")
    figures = {
        **{name: mean(own, name) for name in ("psnr_gain_db", "mouth_psnr_gain_db", "ssim", "lmd")},
        "offset_within_1": within(own),
        "confidence_ratio": mean(own, "confidence") / real,
        "cross_offset_within_1": within(cross),
        "cross_confidence_ratio": mean(cross, "confidence") / real,
        "unseen_confidence_ratio": mean(unseen, "confidence") / mean(unseen, "real_confidence"),
        "unseen_offset_within_1": within(unseen),
    }
    return {"figures": {k: round(v, 4) for k, v in figures.items()}, "clips": own, "cross": cross, "unseen": unseen}


def mean(rows: list[dict[str, Any]], name: str) -> float:
    """Mean of a column."""
    return float(np.mean([row[name] for row in rows]))


def within(rows: list[dict[str, Any]]) -> float:
    """Part of the rows whose offset is within a frame."""
    return float(np.mean([abs(row["offset"]) <= 1 for row in rows]))


def heard(wave: np.ndarray) -> Speech:
    """Sound float32 at 16 kHz with where a voice speaks in it; this engine needs no phones."""
    return Speech(wave, (), voice_activity(wave, gain=0.7 / max(float(np.abs(wave).max()), 1e-6)))


def redub(path: Path, engine: LipEngine, sound: Path | None = None, also: Also | None = None) -> dict[str, Any]:
    """A clip with lips redrawn for its own sound, or for another clip's."""
    frames, wave = read_clip(path)
    if sound is not None:
        wave = np.resize(read_clip(sound)[1], len(wave))
    voice = wave.astype(np.float32) / 32768
    marks = track(frames)
    made = list(engine.frames(tracked(frames, marks), engine.reference(frames[0], marks[0], list(marks[1:7])), heard(voice), len(frames)))
    score = score_frames(made, voice)
    row = {"speaker": path.parent.name, "clip": path.stem, "sound": (sound or path).stem, "offset": score.offset, "confidence": score.confidence}
    row |= also(np.stack(made), frames, marks, voice) if also else {}
    return row if sound is not None else row | compared(np.stack(made), frames, marks) | {"real_confidence": score_frames(frames, voice).confidence}


def compared(made: np.ndarray, real: np.ndarray, marks: np.ndarray) -> dict[str, float]:
    """How much nearer made frames [T, H, W, 3] are to the real ones than the first of them held, at a face of 128 pixels.

    The first frame itself is left out of both: held, it is compared with itself.
    """
    from skimage.metrics import structural_similarity

    square = face_square(marks[0])
    shown, target = (np.stack([cut(frame, square, SIZE) for frame in video]) for video in (made, real))
    first = np.repeat(target[:1], len(target), 0)
    lips = _lips(marks, square)
    place = (square.to_unit(marks[0]) + 1) * SIZE / 2
    mouth, held, wanted = (mouth_pixels(video, place) for video in (shown, first, target))
    return {
        "psnr_gain_db": psnr(shown[1:], target[1:]) - psnr(first[1:], target[1:]),
        "mouth_psnr_gain_db": psnr(mouth[1:], wanted[1:]) - psnr(held[1:], wanted[1:]),
        "ssim": float(np.mean([structural_similarity(a, b, channel_axis=2) for a, b in zip(shown, target, strict=True)])),
        "lmd": float(np.linalg.norm(_lips(track(made), square) - lips, axis=-1).mean()),
        "held_lmd": float(np.linalg.norm(lips[:1] - lips, axis=-1).mean()),
    }


def _lips(marks: np.ndarray, square: Square) -> np.ndarray:
    """Lip landmarks [T, 16, 2] in pixels of the 128-pixel face."""
    return (square.to_unit(marks[:, list(LIPS)]) + 1) * SIZE / 2
