"""All engines on the same held-out clips, between holding the first frame and the real video: `dubwright evaluate --all`.

avct moves each clip's first frame by the clip's sound, words and head pose; lipmemory and coherence draw lips into the clip itself, the
first frame as reference. So the second kind has the real upper face, and their PSNR and SSIM are no comparison with avct's. Pictures are
compared at a face of 128 pixels, CPBD is that of the face at its own size, offset and confidence are this project's scorer's.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.avct import LIPS, psnr, spread
from benchmarks.cpbd import cpbd
from models import checkpoints
from models.avct import pose as poses
from models.corpus import clips_of, read_clip, smooth
from models.faces.crop import Square, cut, face_square
from models.types import Portrait
from tasks.engines import engine
from tasks.gating.rendered import redrawn, spoken
from tasks.gating.seen import Heard, Seen, hear, see

SIZE = 128  # pixels a side of the face that pictures are compared at
COLUMNS = ("psnr", "ssim", "lmd", "cpbd", "offset_within_1", "offset", "confidence", "coherence", "fps")
SHOWN, LABEL = 9, 78  # frames of a row of a contact sheet; pixels for its name
EVERY = 5  # frames from one that CPBD is taken of to the next
BOUNDS = ("first frame held", "real video")
Draw = Callable[[Path, np.ndarray, np.ndarray, np.ndarray], Iterator[np.ndarray]]  # path, frames, landmarks, wave: frames


def run(grid: Path, out: Path, *, clips: int = 8, unseen: int | None = None) -> dict[str, Any]:
    """The table and its contact sheets, written to the folder `out`: `clips` of validation and `unseen`, by
    default half as many, of other speakers.

    figures: `<engine>_<column>`. rows: the table. sheets: the files.
    """
    out.mkdir(parents=True, exist_ok=True)
    held_out = clips_of(grid)
    others = held_out["unseen"][:: max(1, len(held_out["unseen"]) // max(1, clips // 2 if unseen is None else unseen))]
    paths = [*spread(held_out["validation"], clips), *others[: clips // 2 if unseen is None else unseen]]
    found: dict[str, list[dict[str, float]]] = {}
    sheets = []
    for path in paths:
        frames, sound = read_clip(path)
        wave, real = sound.astype(np.float32) / 32768, see(frames)
        heard = hear(wave, len(frames))
        if not real.present.all():
            continue
        shown = {"real video": frames}
        for name, draw in {"first frame held": held, **engines()}.items():
            started = time.perf_counter()
            shown[name] = np.stack(list(draw(path, frames, np.stack([mark for mark in real.marks if mark is not None]), wave)))
            spent = time.perf_counter() - started
            fps = float("nan") if name in BOUNDS else len(frames) / spent
            found.setdefault(name, []).append(row_of(shown[name], frames, see(shown[name]), real, heard) | {"fps": fps})
        found.setdefault("real video", []).append(row_of(frames, frames, real, real, heard) | {"fps": float("nan")})
        sheets.append(sheet(shown, face_square(_marks(real)[0]), out / f"{path.parent.name}-{path.stem}.png"))
    order = [BOUNDS[0], *(name for name in found if name not in BOUNDS), BOUNDS[1]]
    rows = {name: {column: _middle(found[name], column) for column in COLUMNS} for name in order}
    figures = {f"{name.replace(' ', '_')}_{column}": value for name, row in rows.items() for column, value in row.items() if value is not None}
    table = {"title": f"{len(sheets)} clips", "columns": ["", *COLUMNS], "rows": [[name, *("" if v is None else f"{v:.3g}" for v in row.values())] for name, row in rows.items()]}
    return {"figures": figures, "rows": rows, "clips": len(sheets), "sheets": [str(path) for path in sheets], "tables": [table]}


def engines() -> dict[str, Draw]:
    """The engines whose weights are here, by name."""
    found: dict[str, Draw] = {"avct": posed, "lipmemory": lambda path, frames, marks, wave: redrawn(frames, marks, wave, "lipmemory")}
    if checkpoints.place("coherence", "compact").exists():
        found["coherence"] = lambda path, frames, marks, wave: redrawn(frames, marks, wave, "coherence")
    return found


def held(path: Path, frames: np.ndarray, marks: np.ndarray, wave: np.ndarray) -> Iterator[np.ndarray]:
    """The first frame, again and again."""
    yield from (frames[0] for _ in frames)


def posed(path: Path, frames: np.ndarray, marks: np.ndarray, wave: np.ndarray) -> Iterator[np.ndarray]:
    """avct's frames: the first one says what the clip says, with the clip's head pose."""
    mover, portrait = engine("avct", "compact"), Portrait(frames[0], marks[0])
    pose = smooth(poses.pose_of(face_square(marks[0]).to_unit(marks)), 1)
    yield from mover.render(portrait, mover.motion(portrait, spoken(path, wave), pose=pose, anchor=0, emphasis=1.0))


def row_of(made: np.ndarray, real: np.ndarray, seen: Seen, target: Seen, heard: Heard) -> dict[str, float]:
    """One clip's numbers: frames uint8 RGB [T, H, W, 3] against the real ones; the first, which engines are given, is left out."""
    from skimage.metrics import structural_similarity

    square = face_square(_marks(target)[0])
    shown, wanted = (np.stack([cut(frame, square, SIZE) for frame in video]) for video in (made[1:], real[1:]))
    score = seen.score(heard)
    lips = _lips(seen, square) - _lips(target, square)
    return {
        "psnr": psnr(shown, wanted) if made is not real else float("nan"),
        "ssim": float(np.mean([structural_similarity(a, b, channel_axis=2) for a, b in zip(shown, wanted, strict=True)])),
        "lmd": float(np.linalg.norm(lips, axis=-1).mean()),
        "cpbd": float(np.nanmean([cpbd(_face(frame, square)) for frame in made[1::EVERY]])),
        "offset_within_1": float(score.scorable and abs(score.offset) <= 1),
        "offset": float(score.offset),
        "confidence": score.confidence,
        "coherence": score.features.get("coherence", float("nan")),
    }


def sheet(shown: dict[str, np.ndarray], square: Square, path: Path) -> Path:
    """A contact sheet: a row of faces for each engine, the real video last, evenly spaced frames side by side; written as PNG."""
    rows = []
    for name in [*(name for name in shown if name != "real video"), "real video"]:
        video = shown[name]
        cells = [cut(video[at], square, SIZE) for at in np.linspace(0, len(video) - 1, SHOWN).astype(int)]
        label = np.full((SIZE, LABEL, 3), 255, np.uint8)
        for line, word in enumerate(name.split()):
            cv2.putText(label, word, (4, 58 + 16 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (30, 30, 30), 1, cv2.LINE_AA)
        rows.append(np.hstack([label, *cells]))
    cv2.imwrite(str(path), np.vstack(rows)[..., ::-1])
    return path


def _marks(seen: Seen) -> np.ndarray:
    """Landmarks [T, 478, 3]; a frame without a face takes the last one's."""
    found: list[np.ndarray] = []
    for mark in seen.marks:
        found.append(mark if mark is not None else found[-1])
    return np.stack(found)


def _lips(seen: Seen, square: Square) -> np.ndarray:
    """Lip landmarks [T - 1, 16, 2] in pixels of the 128-pixel face, the first frame left out."""
    return (square.to_unit(_marks(seen)[1:, list(LIPS)]) + 1) * SIZE / 2


def _face(frame: np.ndarray, square: Square) -> np.ndarray:
    """The face square of a frame at its own size, grey."""
    left, top = (max(0, round(middle - square.side / 2)) for middle in (square.x, square.y))
    return cv2.cvtColor(frame[top : top + round(square.side), left : left + round(square.side)], cv2.COLOR_RGB2GRAY)


def _middle(rows: Sequence[dict[str, float]], column: str) -> float | None:
    """The mean of a column, of the frame rate the median; None where nothing is known."""
    values = [row[column] for row in rows if np.isfinite(row[column])]
    if not values:
        return None
    return round(float(np.median(values) if column == "fps" else np.mean(values)), 4)
