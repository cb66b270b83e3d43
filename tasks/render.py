"""Render: a take's motion to frames and, with the speech, to the MP4 that is scored and may be delivered. Streams."""

import time
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from infra.media import VideoWriter
from infra.version import source_hash
from models.types import FRAME_RATE, Motion, Portrait
from tasks import marking, progress
from tasks.engines import LIPS, engine, mover, weights_of
from tasks.stages import Take, Work, keep

WINDOW = 250  # frames that the ledger counts as one window


def render(work: Work, take: Take) -> None:
    """Fill the take's video."""
    assert work.portrait is not None and take.motion is not None
    settings = work.settings
    asks = {
        "code": source_hash("models/avct", "models/lipmemory", "models/coherence", "models/faces", "kernels", "infra/media.py", "tasks/render.py"),
        "weights": list(weights_of(take.rung.engine, work.lease.preset, video=False)),
        "emphasis": take.rung.emphasis,
        "motion": take.made["motion"].sha256,
        "portrait": work.spec["inputs"]["portrait"]["sha256"],
        "speech": work.made["speech"].sha256,
        "encode": [settings.video_crf, settings.video_preset],
        "marks": marking.asks_of(work),
    }
    payload = marking.payload_of(asks)
    sources = (*work.sources("portrait", "speech", "faces"), (take.made["motion"].sha256, "motion"))
    take.windows = ((0, take.motion.frames, 0.0),)
    take.made["render"] = keep(work, "render", "render.mp4", asks, sources, lambda path: _write(work, take, path, payload))
    take.parameters |= {"watermark": f"{payload:016x}"}
    progress.tell(work.name, "render", take.motion.frames, take.motion.frames)


def _write(work: Work, take: Take, path: Path, payload: int) -> None:
    assert work.portrait is not None and take.motion is not None and work.speech is not None
    settings, total = work.settings, take.motion.frames
    sound = work.folder / "sound.wav"
    work.speech.write(sound)
    height, width = work.portrait.picture.shape[:2]
    windows: list[tuple[int, int, float]] = []
    started = time.perf_counter()
    rate = Fraction(FRAME_RATE)
    marked = marking.on_frames(payload, work.spec.get("label", ""), height, width)
    with VideoWriter(path, width, height, rate, sound, crf=settings.video_crf, preset=settings.video_preset, threads=settings.threads) as out:
        for number, frame in enumerate(_frames(work, take, work.portrait, take.motion), 1):
            out.write(marked(frame, (number - 1) / rate))
            if number % 10 == 0:
                progress.tell(work.name, "render", number, total)
            if number % WINDOW == 0 or number == total:
                now = time.perf_counter()
                windows.append((windows[-1][1] if windows else 0, number, round(now - started, 4)))
                started = now
    take.windows = tuple(windows)


def _frames(work: Work, take: Take, portrait: Portrait, motion: Motion) -> Iterator[np.ndarray]:
    """The take's pictures: the portrait moved, and where the engine draws lips alone these drawn over."""
    from models.lipmemory.engine import EMPHASIS

    moved = mover(take.rung.engine, work.lease.preset).render(portrait, motion)
    if take.rung.engine not in LIPS:
        yield from moved
        return
    assert work.speech is not None
    drawer = engine(take.rung.engine, work.lease.preset)
    reference = drawer.reference(portrait.picture, portrait.landmarks)
    yield from drawer.frames(faced(moved), reference, work.speech.speech, motion.frames, EMPHASIS * take.rung.emphasis)


def faced(frames: Iterable[np.ndarray]) -> Iterator[Any]:
    """Pictures of one face, each with its landmarks where they are found."""
    from models.faces.mesh import FaceMesh
    from models.lipmemory.engine import streamed

    with FaceMesh(video=True) as mesh:
        yield from streamed((frame, next(iter(mesh(frame)), None)) for frame in frames)
