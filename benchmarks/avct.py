"""How good AVCT's compact preset is, on clips and faces that it never saw: the figures of `dubwright evaluate avct`.

Speed and memory are in benchmarks/engine.py (`dubwright bench avct`).

Everything goes through the product's own chain: a recording with its transcript is aligned, the engine moves the portrait, frames
are scored. Clips are GRID's (a folder that the product does not need); sampled evenly, so that two cores are done in minutes.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from infra.media import write_wav
from models.avct import keypoints as kp
from models.avct import pose as poses
from models.avct.engine import AvctEngine
from models.avct.train_renderer import gains
from models.avct.transcripts import read_words
from models.corpus import Corpus, clips_of, prepare, read_clip, smooth
from models.faces.crop import Square, cut, face_square
from models.faces.mesh import FaceMesh
from models.types import FRAME_RATE, SAMPLE_RATE, Motion, Portrait, Speech
from tasks.score import score_frames
from tasks.speech import from_recording

LIPS = (61, 291, 0, 17, 40, 270, 91, 321, 13, 14, 78, 308, 82, 312, 87, 317)


def evaluate(grid: Path, portraits: list[Path], *, clips: int = 16, one_shot: int = 1) -> dict[str, Any]:
    """Every figure, and the rows behind them.

    portraits: pictures of people other than the training speaker; the first frame of every other speaker of the corpus joins them.
    """
    chosen = spread(clips_of(grid)["validation"], clips)
    rows = [own_portrait(path) for path in chosen]
    real = float(np.mean([row["real_confidence"] for row in rows]))
    faces = others(grid) | {path.stem: portrait_of(path) for path in portraits}
    step = max(1, len(chosen) // one_shot)
    shots = [one_shot_row(name, face, path) for i, (name, face) in enumerate(faces.items()) for path in chosen[i % step :: step][:one_shot]]
    silent = [silence_row(path) for path in chosen[:: max(1, len(chosen) // 4)][:4]]
    figures = {
        "mouth_psnr_gain_db": _mean(rows, "mouth_psnr_gain_db"),
        "lmd_ratio": _mean(rows, "lmd") / _mean(rows, "held_lmd"),
        "offset_within_1": float(np.mean([abs(row["offset"]) <= 1 for row in rows])),
        "confidence_ratio": _mean(rows, "confidence") / real,
        **unseen_gains(grid),
        "identity_psnr_db": min(row["identity_psnr_db"] for row in shots),
        "oneshot_confidence_ratio": _mean(shots, "confidence") / real,
        "silence_motion_ratio": _mean(silent, "in_silence") / _mean(silent, "in_speech"),
    }
    return {"figures": {k: round(v, 4) for k, v in figures.items()}, "clips": rows, "one_shot": shots, "silence": silent}


def spread(paths: list[Path], count: int) -> list[Path]:
    """So many of the paths, evenly."""
    return paths[:: max(1, len(paths) // count)][:count]


def _mean(rows: list[dict[str, Any]], name: str) -> float:
    return float(np.mean([row[name] for row in rows]))


def track(frames: np.ndarray) -> np.ndarray:
    """Landmarks [T, 478, 3] in pixels of every frame; a frame without a face takes the last one's."""
    found: list[np.ndarray] = []
    with FaceMesh(video=True) as mesh:
        for frame in frames:
            seen = mesh(frame)
            found.append(seen[0] if seen else found[-1])
    return np.stack(found)


def heard(path: Path, wave: np.ndarray, words: str) -> Speech:
    """The clip's speech as a job with recording and transcript would have it."""
    with tempfile.TemporaryDirectory() as folder:
        sound = Path(folder) / f"{path.stem}.wav"
        write_wav(sound, wave, SAMPLE_RATE)
        return from_recording(sound, words, "en-GB").speech


def read(path: Path) -> tuple[np.ndarray, np.ndarray, str]:
    """A clip's frames, its wave float32 at 16 kHz, and its words."""
    frames, wave = read_clip(path)
    words = " ".join(w for w, _, _ in read_words(path.with_suffix(".align")) if w not in ("sil", "sp"))
    return frames, wave.astype(np.float32) / 32768, words


def mouth_pixels(frames: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """The mouth region [T, h, w, 3] as float, by one frame's landmarks: 1.6 mouth widths wide, as tall."""
    x, y = landmarks[list(LIPS), :2].mean(0)
    half = 0.8 * float(np.linalg.norm(landmarks[61, :2] - landmarks[291, :2]))
    return frames[:, int(y - 0.8 * half) : int(y + 1.2 * half), int(x - half) : int(x + half)].astype(np.float64)


def psnr(made: np.ndarray, real: np.ndarray) -> float:
    """Mean over frames of the peak signal to noise in dB."""
    errors = ((made.astype(np.float64) - real) ** 2).mean(axis=(1, 2, 3))
    return float(np.mean(10 * np.log10(255**2 / np.maximum(errors, 1e-3))))


def own_portrait(path: Path) -> dict[str, Any]:
    """A held-out clip of the training speaker from its own first frame, its true head pose given."""
    frames, wave, words = read(path)
    real = track(frames)
    portrait = Portrait(frames[0], real[0])
    square = face_square(real[0])
    pose = smooth(poses.pose_of(square.to_unit(real)), 1)
    speech = heard(path, wave, words)
    motion = AvctEngine.load().motion(portrait, speech, pose=pose, anchor=0, emphasis=1.0)
    made = np.stack(list(AvctEngine.load().render(portrait, motion)))
    shown = track(made)
    score, true = score_frames(made, wave), score_frames(frames, wave)
    mouth, held, target = (mouth_pixels(x, real[0]) for x in (made, np.repeat(frames[:1], len(frames), 0), frames))
    return {
        "clip": path.stem,
        "mouth_psnr_gain_db": psnr(mouth, target) - psnr(held, target),
        "lmd": float(np.linalg.norm((shown - real)[:, list(LIPS), :2], axis=-1).mean()),
        "held_lmd": float(np.linalg.norm((real[:1] - real)[:, list(LIPS), :2], axis=-1).mean()),
        "offset": score.offset,
        "confidence": score.confidence,
        "real_confidence": true.confidence,
    }


def unseen_gains(grid: Path) -> dict[str, float]:
    """The renderer alone on people it never saw, driven by true keypoints, over holding the first frame."""
    with tempfile.TemporaryDirectory() as folder:
        prepare(grid, Path(folder), splits=("unseen",))
        found = gains(AvctEngine.load().generator, Corpus(Path(folder), "unseen"), every=6, limit=100)
    return {f"unseen_{name}": value for name, value in found.items()}


def others(grid: Path) -> dict[str, Portrait]:
    """The first frame of a clip of every speaker but the training one, by speaker."""
    clips = {path.parent.name: path for path in reversed(clips_of(grid)["unseen"])}
    found = {}
    for speaker, path in sorted(clips.items()):
        first = read_clip(path)[0][:1]
        found[speaker] = Portrait(first[0], track(first)[0])
    return found


def one_shot_row(name: str, portrait: Portrait, path: Path) -> dict[str, Any]:
    """Another person's portrait speaking a held-out clip's sound."""
    _, wave, words = read(path)
    engine = AvctEngine.load()
    motion = engine.motion(portrait, heard(path, wave, words), seed=1)
    score = score_frames(engine.render(portrait, motion), wave)
    values, jacobians = kp.from_landmarks(face_square(portrait.landmarks).to_unit(portrait.landmarks))
    still = next(iter(engine.render(portrait, Motion(values[None].astype(np.float32), jacobians[None].astype(np.float32), 0))))
    square = face_square(portrait.landmarks)
    return {
        "portrait": name,
        "clip": path.stem,
        "offset": score.offset,
        "confidence": score.confidence,
        "identity_psnr_db": psnr(_inside(still, square)[None], _inside(portrait.picture, square)[None]),
    }


def portrait_of(path: Path) -> Portrait:
    """A picture with the landmarks of its face."""
    from PIL import Image

    with Image.open(path) as opened, FaceMesh() as mesh:
        picture = np.asarray(opened.convert("RGB")).copy()
        return Portrait(picture, mesh(picture)[0])


def _inside(picture: np.ndarray, square: Square) -> np.ndarray:
    return cut(picture, square, 256)


def silence_row(path: Path) -> dict[str, Any]:
    """A second of silence put between two words: how much the mouth opens and closes in it, against the speech around."""
    frames, wave, words = read(path)
    timed = [w for w in read_words(path.with_suffix(".align")) if w[0] not in ("sil", "sp")]
    middle = timed[2][2]
    at = round(middle * SAMPLE_RATE)
    speech = heard(path, np.concatenate([wave[:at], np.zeros(SAMPLE_RATE, np.float32), wave[at:]]), words)
    portrait = Portrait(frames[0], track(frames[:1])[0])
    engine = AvctEngine.load()
    made = np.stack(list(engine.render(portrait, engine.motion(portrait, speech, seed=1))))
    landmarks = track(made)
    opening = kp.mouth_opening(kp.from_landmarks(landmarks)[0])
    start = round(middle * FRAME_RATE)
    settle = 5  # frames in which the mouth may still close, or begin to open
    quiet = opening[start + settle : start + FRAME_RATE - settle]
    spoken = np.concatenate([opening[round(timed[0][1] * FRAME_RATE) : start], opening[start + FRAME_RATE : round((timed[-1][2] + 1) * FRAME_RATE)]])
    return {"clip": path.stem, "in_silence": float(quiet.std()), "in_speech": float(spoken.std())}
