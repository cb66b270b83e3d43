"""AVCT's engine: speed against the published order, frames a second, memory of long speech, the fast F0. `dubwright bench avct`.

How good the frames are is another question: `dubwright evaluate avct` (benchmarks/avct.py). The preset paper comes without weights, so
its figures are taken with deterministic ones (benchmarks/deterministic.py): times and memory do not hang on their values. All
figures are a processor's; on a machine with a GPU, hide it (CUDA_VISIBLE_DEVICES=).
"""

import copy
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks import engine_memory, pipeline, published, rows
from benchmarks.deterministic import Filled, networks
from infra.settings import get_settings
from models.avct.compose import Canvas
from models.avct.engine import AvctEngine, source_keypoints
from models.avct.features import ROWS_PER_FRAME, WIDTH, audio_rows, harvest, phone_rows, pitch, pitch_method
from models.avct.paper.engine import PaperEngine, relative
from models.avct.paper.pose import reference_pose
from models.faces.crop import cut, face_square, published_square
from models.types import ROW_RATE, Motion, Portrait, Speech

ROUNDS, FRAMES = 5, 16  # rounds of each measurement; frames of a round of the preset paper
COMPACT_FRAMES = 150
LIPS = 10  # keypoints of the compact preset that lie on the lips
Rows = dict[str, tuple[str, Sequence[float]]]


def run(
    *, rounds: int = ROUNDS, frames: int = FRAMES, short: float = engine_memory.SHORT, long: float = engine_memory.LONG, sample: int = engine_memory.SAMPLE
) -> dict[str, Any]:
    """Every figure. Fewer rounds and frames, shorter speech and a smaller sample of rendered frames are quicker and less exact."""
    threads = torch.get_num_threads()
    face, speech, filled = pipeline.portrait(), pipeline.speech_of(short).speech, networks()
    try:
        fast, found = compact_speed(face, speech, rounds)
        ratio, more = paper_ratio(filled, face, speech, frames, rounds)
        heard, rest = pitches(filled, face, speech, rounds)
    finally:
        torch.set_num_threads(threads)
    peaks = engine_memory.peaks(filled, face, short, long, sample)
    rows.add(found | more | rest | {f"paper_{name}": ("ratio" if "ratio" in name else "MiB", [value]) for name, value in peaks.items()})
    figures = fast | ratio | heard | peaks
    return {"figures": {name: float(f"{value:.5g}") for name, value in figures.items()}, "rounds": rounds, "frames_rendered_for_memory": sample}


def compact_speed(face: Portrait, speech: Speech, rounds: int) -> tuple[dict[str, float], Rows]:
    """Frames a second of the compact preset's render stage, with the settings' threads; its loss against float32 as trained."""
    torch.set_num_threads(get_settings().threads)
    engine = AvctEngine.load()
    motion = engine.motion(face, speech, seed=1)
    count = min(motion.frames, COMPACT_FRAMES)
    list(engine.render(face, motion, 0, 8))
    rates, spent = [], []
    for _ in range(rounds):
        worked, started = time.process_time(), time.perf_counter()
        for _ in engine.render(face, motion, 0, count):
            pass
        rates.append(count / (time.perf_counter() - started))
        spent.append((time.process_time() - worked) / count * 1000)
    some = [motion.frames * part // 9 for part in range(1, 9)]
    made = np.stack([next(iter(engine.render(face, motion, at, at + 1))) for at in some])
    apart = _apart(made, _as_trained(engine, face, motion, some))
    figures = {"render_fps": statistics.median(rates), "render_cpu_ms": min(spent), "render_apart": apart}
    return figures, {"render_fps": ("frames/s", rates), "render_cpu": ("ms/frame", spent)}


@torch.inference_mode()
def _as_trained(engine: AvctEngine, face: Portrait, motion: Motion, frames: list[int]) -> np.ndarray:
    square = face_square(face.landmarks)
    canvas = Canvas(face.picture, square, engine.generator.config.size)
    driving = torch.from_numpy(motion.values[frames]), torch.from_numpy(motion.jacobians[frames])
    picture = torch.from_numpy(canvas.small).permute(2, 0, 1)[None].expand(len(frames), -1, -1, -1)
    source = tuple(own.expand_as(theirs) for own, theirs in zip(source_keypoints(face, square), driving, strict=True))
    made = engine.generator(picture, engine.generator.encode(picture), source, driving)  # type: ignore[arg-type]
    paint = torch.cat([made.painted, made.alpha], 1).permute(0, 2, 3, 1).numpy()
    return np.stack([canvas.compose(*pair) for pair in zip(made.flow.numpy(), paint, strict=True)])


def _apart(found: np.ndarray, expected: np.ndarray) -> float:
    """Part of the values that are more than one level apart."""
    return float((np.abs(found.astype(int) - expected.astype(int)) > 1).mean())


def paper_ratio(filled: Filled, face: Portrait, speech: Speech, frames: int, rounds: int) -> tuple[dict[str, float], Rows]:
    """Seconds of one core for the preset paper's frames, over those of the published order; the same weights, round by round.

    Raises RuntimeError where the frames are not the same within a level.
    """
    torch.set_num_threads(1)
    detector, transformer, generator, _ = filled
    engine = _engine(filled)
    picture, phones, heard, poses = _clip(engine, face, speech, frames)

    def before() -> np.ndarray:
        return np.stack(list(published.frames(detector, transformer, generator, picture, phones, heard, poses)))

    @torch.inference_mode()
    def after() -> np.ndarray:
        motion = relative(*engine.keypoints(picture, phones, heard, poses), 0)
        return np.stack([(frame[0].permute(1, 2, 0) * 255).to(torch.uint8).numpy() for frame, _ in engine.square_frames(picture, motion)])

    ratios, old, new = [], [], []
    for _ in range(rounds):
        expected, old_seconds = _worked(before)
        found, new_seconds = _worked(after)
        if _apart(found, expected) > 1e-3:
            raise RuntimeError("the frames are not those of the published order, so nothing is measured")
        old.append(old_seconds / frames)
        new.append(new_seconds / frames)
        ratios.append(new_seconds / old_seconds)
    figures = {"cpu_seconds_ratio": statistics.median(ratios), "paper_frame_seconds": min(new), "published_frame_seconds": min(old)}
    return figures, {"cpu_seconds_ratio": ("ratio", ratios), "paper_frame": ("s/frame", new), "published_frame": ("s/frame", old)}


def _engine(filled: Filled) -> PaperEngine:
    """An engine of its own: it rearranges the networks that it is given."""
    detector, transformer, generator, audio2pose = copy.deepcopy(filled)
    return PaperEngine(detector, generator, transformer, lambda: audio2pose, exact_pitch=False)


def _worked(call: Callable[[], np.ndarray]) -> tuple[np.ndarray, float]:
    """What a call gives, and the seconds that the process worked for it: other processes' share of the cores is not in them."""
    started = time.process_time()
    return call(), time.process_time() - started


def _clip(engine: PaperEngine, face: Portrait, speech: Speech, frames: int) -> tuple[Tensor, np.ndarray, np.ndarray, np.ndarray]:
    """Picture, phones, feature rows and poses of the first frames of a speech."""
    square = published_square(face.landmarks, face.picture.shape[:2])
    picture = torch.from_numpy(cut(face.picture, square, 256)).permute(2, 0, 1)[None].float() / 255
    heard = audio_rows(speech.wave, frames).reshape(frames, ROWS_PER_FRAME, WIDTH)
    with torch.inference_mode():
        poses = engine.poses(reference_pose((square.to_unit(face.landmarks) + 1) * 128), heard)
    return picture, phone_rows(speech.phones, frames)[::ROWS_PER_FRAME], heard, poses


def pitches(filled: Filled, face: Portrait, speech: Speech, rounds: int) -> tuple[dict[str, float], Rows]:
    """WORLD's harvest against the fast F0: seconds for a second of speech, and what the choice does to keypoints and lips.

    Keypoints are the preset paper's with deterministic weights, in pixels of 256 (head poses from the same sound included); lips
    are the compact preset's with its own. Empty where WORLD is not installed.
    """
    if pitch_method() != "harvest":
        return {}, {}
    torch.set_num_threads(1)
    rows_of_speech = speech.frames * ROWS_PER_FRAME
    spent: dict[str, list[float]] = {"exact": [], "fast": []}
    for _ in range(rounds):
        for name, method in (("exact", harvest), ("fast", pitch)):
            started = time.process_time()
            method(np.asarray(speech.wave), rows_of_speech)
            spent[name].append((time.process_time() - started) / speech.seconds)
    engine, compact = _engine(filled), AvctEngine.load()
    paper_motions, compact_motions = [], []
    for engine.exact_pitch in (True, False):
        paper_motions.append(engine.motion(face, speech, anchor=0).values)
        compact_motions.append(compact.motion(face, speech, seed=1, anchor=0, exact_pitch=engine.exact_pitch).values[:, :LIPS])
    moved, lips = (np.linalg.norm(exact - fast, axis=-1) * 128 for exact, fast in (paper_motions, compact_motions))
    exact, fast = (audio_rows(speech.wave, speech.frames, exact_pitch=choice) for choice in (True, False))
    ratios = [b / a for a, b in zip(spent["exact"], spent["fast"], strict=True)]
    figures = {
        "f0_seconds_ratio": statistics.median(ratios),
        "f0_exact_seconds": statistics.median(spent["exact"]),
        "f0_fast_seconds": statistics.median(spent["fast"]),
        "f0_hertz_apart": float(np.median(np.abs(exact[:, 39] - fast[:, 39])[_loud(speech, len(exact))])),
        "f0_keypoint_shift_px": float(moved.mean()),
        "f0_keypoint_shift_most_px": float(moved.max()),
        "f0_lip_shift_px": float(lips.mean()),
        "f0_lip_shift_most_px": float(lips.max()),
    }
    return figures, {"f0_seconds_ratio": ("ratio", ratios), "f0_exact": ("s/s", spent["exact"]), "f0_fast": ("s/s", spent["fast"])}


def _loud(speech: Speech, count: int) -> np.ndarray:
    """Rows at 100 Hz in which somebody speaks [count]."""
    assert ROW_RATE == 100
    return np.pad(speech.activity, (0, max(0, count - len(speech.activity))))[:count] > 0.5
