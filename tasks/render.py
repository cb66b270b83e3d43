"""Render: a take's motion to frames and, with the speech, to the MP4 that is scored and may be delivered. Streams, window by window."""

import hashlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from fractions import Fraction
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from infra.version import source_hash
from infra.video import FilmWriter, Picture, facts_of
from models.types import FRAME_RATE, Motion, Portrait
from tasks import marking, progress, sound
from tasks.engines import LIPS, engine, mover, weights_of
from tasks.stages import Take, Work
from tasks.windows import Windows, pictures_of, rendered

LEAD = 12  # frames before a window that its lips are steadied by: six that a square is averaged over, three that points are, three to settle
AFTER = 6  # frames behind a window that its last squares are averaged over
GROUP = 16  # frames that networks see at once, at most: a part of a window that begins at a multiple of them is made as it was in the whole


def render(work: Work, take: Take) -> None:
    """Fill the take's video."""
    assert work.portrait is not None and take.motion is not None
    settings = work.settings
    asks = {
        "code": source_hash("models/avct", "models/lipmemory", "models/coherence", "models/faces", "kernels", "infra/media.py", "infra/video", "tasks/render.py", "tasks/windows.py"),
        "weights": list(weights_of(take.rung.engine, work.lease.preset, video=False)),
        "emphasis": take.rung.emphasis,
        "motion": take.made["motion"].sha256,
        "portrait": work.spec["inputs"]["portrait"]["sha256"],
        "speech": work.made["speech"].sha256,
        "sound": work.made["sound"].sha256 if "sound" in work.made else None,
        "encode": [settings.video_crf, settings.video_preset, pictures_of(work)],
        "marks": marking.asks_of(work),
        "watermark": (payload := marking.payload_of(work, take)),
    }
    sources = (*work.sources("portrait", "speech", "sound", "faces"), (take.made["motion"].sha256, "motion"))
    take.windows = ((0, take.motion.frames, 0.0),)
    shared = {name: asks[name] for name in asks if name not in ("motion", "speech", "sound")} | {"engine": take.rung.engine}
    windows = Windows(work, shared, partial(_own, work, take, _heard(work, take)), take.motion.frames, sources)
    take.made["render"] = rendered(work, take, asks, sources, windows, lambda path: _write(work, take, windows, path, payload))
    take.parameters |= {"watermark": f"{payload:016x}", **sound.shown(work)}
    take.notes = sound.notes(work)


def _heard(work: Work, take: Take) -> Callable[[int, int], str]:
    """What hashes that which frames first..last-1 are drawn from of the sound: nothing, where the engine's motion holds all of it."""
    if take.rung.engine not in LIPS:
        return lambda first, last: ""
    from models.lipmemory.engine import heard

    assert work.speech is not None and take.motion is not None
    return heard(work.speech.speech, np.arange(take.motion.frames) / FRAME_RATE)


def _own(work: Work, take: Take, heard: Callable[[int, int], str], first: int, last: int) -> list[Any]:
    """What frames first..last-1 are made from and others may not be: their motion, and that which their lips are steadied by; what is heard."""
    assert take.motion is not None
    low, high = (max(0, first - LEAD), last + AFTER) if take.rung.engine in LIPS else (first, last)
    made = hashlib.sha256()
    for track in (take.motion.values, take.motion.jacobians):
        made.update(np.ascontiguousarray(track[low:high]).tobytes())
    return [low, min(high, take.motion.frames), made.hexdigest(), heard(first, last)]


def _write(work: Work, take: Take, windows: Windows, path: Path, payload: int) -> None:
    assert work.portrait is not None and take.motion is not None and work.speech is not None
    settings, total = work.settings, take.motion.frames
    spoken = sound.file_of(work, work.folder / "sound.wav")
    height, width = work.portrait.picture.shape[:2]
    facts = facts_of(width, height, Fraction(FRAME_RATE))
    writer = FilmWriter(
        path, facts, spoken, language=work.lease.locale, crf=settings.video_crf, preset=settings.video_preset, window=windows.size, keep=windows.keep,
    )  # fmt: skip
    marked = marking.on_frames(payload, work.spec.get("label", ""), height, width)
    with writer as out:
        for first, last in windows.missing(out):
            with closing(_frames(work, take, work.portrait, take.motion, first, windows.size)) as frames:
                for number, frame in enumerate(islice(frames, (last or total) - first), first):
                    time = Fraction(number, FRAME_RATE)
                    out.write(Picture.of_rgb(number, time, marked(frame, time), facts.colour))
                    if (number + 1) % 10 == 0 or number % windows.size == 0:
                        progress.tell(work.name, "render", number + 1, total)
    windows.end(total)


def _frames(work: Work, take: Take, portrait: Portrait, motion: Motion, first: int, size: int) -> Generator[np.ndarray]:
    """The take's pictures from `first` on, where a window begins: the portrait moved, and where the engine draws lips alone these drawn over."""
    from models.lipmemory.engine import EMPHASIS

    if take.rung.engine not in LIPS:
        yield from moved(work, take, portrait, motion, first, size)
        return
    assert work.speech is not None
    drawer = engine(take.rung.engine, work.lease.preset)
    reference = drawer.reference(portrait.picture, portrait.landmarks)
    begin = max(0, first - size + max(0, (size - LEAD) // GROUP * GROUP)) if first else 0
    for start, frames in overlapping(moved(work, take, portrait, motion, begin, size), begin, first, size, motion.frames):
        stop = min(start + size, motion.frames)
        near = max(0, start - LEAD)
        drawn = drawer.frames(faced(frames), reference, work.speech.speech, min(stop + AFTER, motion.frames) - near, EMPHASIS * take.rung.emphasis, near)
        yield from islice(drawn, start - near, stop - near)


def moved(work: Work, take: Take, portrait: Portrait, motion: Motion, first: int, size: int) -> Iterator[np.ndarray]:
    """The portrait's pictures from `first` on, window by window: what networks see at once never spans two, wherever the work began."""
    made = mover(take.rung.engine, work.lease.preset)
    while first < motion.frames:
        stop = min((first // size + 1) * size, motion.frames)
        yield from made.render(portrait, motion, first, stop)
        first = stop


def overlapping(frames: Iterator[np.ndarray], begin: int, first: int, size: int, total: int) -> Iterator[tuple[int, Iterator[np.ndarray]]]:
    """(where it begins, its frames with LEAD before and AFTER more) of every window from `first` on; `frames` are those from number `begin` on.

    A window's frames must be taken before the next window's; LEAD + AFTER frames are held.
    """
    held: deque[tuple[int, np.ndarray]] = deque(maxlen=LEAD + AFTER)
    numbered = enumerate(frames, begin)

    def window(start: int) -> Iterator[np.ndarray]:
        low, high = max(0, start - LEAD), min(start + size + AFTER, total)
        yield from [frame for number, frame in held if number >= low]
        at = held[-1][0] + 1 if held else begin
        for number, frame in islice(numbered, high - at):
            held.append((number, frame))
            if number >= low:
                yield frame

    for start in range(first, total, size):
        yield start, window(start)


def faced(frames: Iterable[np.ndarray]) -> Iterator[Any]:
    """Pictures of one face, each with its landmarks where they are found."""
    from models.faces.mesh import FaceMesh
    from models.lipmemory.engine import streamed

    with FaceMesh(video=True) as mesh:
        yield from streamed((frame, next(iter(mesh(frame)), None)) for frame in frames)
