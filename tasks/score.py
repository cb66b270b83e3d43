"""Score any video: find the face, follow its mouth, compare with the sound. Streams; memory does not grow with length."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from infra.errors import MediaError
from infra.media import OPTIONS, iter_frames, read_audio
from models.corpus import MARGIN, MOUTH_SIZE
from models.faces.crop import Square, cut, mouth_square
from models.faces.mesh import FaceMesh
from models.syncnet.scorer import SHORTEST, SyncScorer, unscorable
from models.types import FRAME_RATE, ROW_RATE, SAMPLE_RATE, SyncScore
from tasks.speech.activity import voice_activity

SIDE = 400  # pixels of the longer side that landmarks are looked for at
REACH = 6  # frames on each side that a mouth square is averaged over
LEAST_LOUD = 0.003  # peak of a sound that counts as silence
LEAST_SPEECH = 0.3  # seconds of voice that can be scored
Place = tuple[float, float, float]  # centre and side of a mouth's square, in pixels


def score_video(path: Path) -> SyncScore:
    """Sync score of a video file at any frame rate. Raises MediaError when it cannot be read; what cannot be scored says so."""
    wave = wave_of(path)
    return wave if isinstance(wave, SyncScore) else score_frames(iter_frames(path, Fraction(FRAME_RATE)), wave)


def wave_of(path: Path) -> np.ndarray | SyncScore:
    """A video's sound float32 [samples] at 16 kHz from its first picture on, or the score that says that it has none."""
    try:
        wave = read_audio(path)
    except MediaError as error:
        if error.code == "media.no_audio":
            return unscorable("there is no sound", SyncScorer.load().version)
        raise
    late = round(sound_delay(path) * SAMPLE_RATE)
    return np.pad(wave, (late, 0)) if late > 0 else wave[-late:]


def sound_delay(path: Path) -> float:
    """Seconds from the first picture to the first sound by the file's time stamps; negative where the sound starts earlier."""
    import av

    first = []
    for kind in ("audio", "video"):
        with av.open(str(path.absolute()), options=OPTIONS) as media:
            stream = next((s for s in media.streams if s.type == kind), None)
            frame: Any = next(media.decode(stream), None) if stream is not None else None
            first.append(float(frame.pts * frame.time_base) if frame is not None and frame.pts is not None else 0.0)
    return first[0] - first[1]


def score_frames(frames: Iterable[np.ndarray], wave: np.ndarray) -> SyncScore:
    """Sync score of frames uint8 RGB [H, W, 3] at 25 a second and a wave float32 [samples] at 16 kHz that starts with them."""
    with FaceMesh(video=True) as mesh:
        return score_seen(lambda present: follow(((frame, mouth_place(frame, mesh)) for frame in frames), present), wave)


def score_seen(mouths: Callable[[list[bool]], Iterable[np.ndarray]], wave: np.ndarray) -> SyncScore:
    """Sync score of a wave and of the grey mouths that `mouths` gives, filling the list that says which frames show one.

    Nothing is looked at where nothing is heard.
    """
    scorer = SyncScorer.load()
    loudest = float(max(wave.max(), -wave.min())) if len(wave) else 0.0
    if loudest < LEAST_LOUD:
        return unscorable("the sound is silent", scorer.version)
    voice = voice_activity(wave, gain=0.7 / loudest)
    if voice.sum() < LEAST_SPEECH * ROW_RATE:
        return unscorable("no speech is heard", scorer.version)
    present: list[bool] = []
    video = scorer.see(mouths(present))
    seen = np.array(present, bool)
    if not seen.any():
        return unscorable("no face is seen", scorer.version)
    if len(seen) < SHORTEST:
        return unscorable("shorter than a second", scorer.version)
    return scorer.score_embeddings(video, wave, present=seen, spoken=spoken_frames(voice, len(seen)))


def spoken_frames(voice: np.ndarray, frames: int) -> np.ndarray:
    """Which frames [T] at 25 a second hold a voice, from its activity [rows] at 100 Hz."""
    rows = np.pad(voice, (0, max(0, frames * 4 - len(voice))))[: frames * 4]
    return np.asarray(rows.reshape(frames, 4).max(axis=1) > 0)


def follow(frames: Iterable[tuple[np.ndarray, Place | None]], present: list[bool]) -> Iterator[np.ndarray]:
    """Grey mouth pictures uint8 [96, 96] of each frame and mouth's place, averaged over 13 frames, ends held; fills `present`.

    A frame without a face takes the last square seen, and is marked. At most seven pictures are held.
    """
    waiting: deque[np.ndarray] = deque()
    squares: deque[Place] = deque(maxlen=2 * REACH + 1)
    here: Place | None = None

    def emit() -> np.ndarray:
        return cut(waiting.popleft(), Square(*np.mean(squares, axis=0)).grown(MARGIN), MOUTH_SIZE)

    for frame, square in frames:
        present.append(square is not None)
        waiting.append(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY))
        if square is not None and here is None:  # the first face: what came before it takes its place
            squares.clear()
        here = square or here or (frame.shape[1] / 2, frame.shape[0] / 2, frame.shape[1] / 4)
        squares.extend([here] * (REACH + 1 if not squares else 1))
        if len(waiting) > REACH:
            yield emit()
    while waiting:
        squares.append(squares[-1])
        yield emit()


def mouth_place(frame: np.ndarray, mesh: FaceMesh) -> Place | None:
    """Centre and side of the mouth square in a frame, or None; the mesh sees at most SIDE pixels."""
    zoom = min(1.0, SIDE / max(frame.shape[:2]))
    small = cv2.resize(frame, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA) if zoom < 1 else frame
    found = mesh(small)
    if not found:
        return None
    square = mouth_square(found[0] / zoom)
    return square.x, square.y, square.side
