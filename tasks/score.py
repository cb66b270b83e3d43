"""Score any video: find the face, follow its mouth, compare with the sound. Streams; memory does not grow with length."""

from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from infra.errors import MediaError
from infra.media import iter_frames, read_audio
from models.corpus import MARGIN, MOUTH_SIZE
from models.faces.crop import Square, cut, mouth_square
from models.faces.mesh import FaceMesh
from models.syncnet.scorer import SHORTEST, SyncScorer, unscorable
from models.types import FRAME_RATE, SyncScore

SIDE = 400  # pixels of the longer side that landmarks are looked for at
REACH = 6  # frames on each side that a mouth square is averaged over
LEAST_LOUD = 0.003  # peak of a sound that counts as silence


def score_video(path: Path) -> SyncScore:
    """Sync score of a video file at any frame rate. Raises MediaError when it cannot be read; what cannot be scored says so."""
    scorer = SyncScorer.load()
    try:
        wave = read_audio(path)
    except MediaError as error:
        if error.code == "media.no_audio":
            return unscorable("there is no sound", scorer.version)
        raise
    return score_frames(iter_frames(path, Fraction(FRAME_RATE)), wave)


def score_frames(frames: Iterable[np.ndarray], wave: np.ndarray) -> SyncScore:
    """Sync score of frames uint8 RGB [H, W, 3] at 25 a second and a wave float32 [samples] at 16 kHz."""
    scorer = SyncScorer.load()
    if len(wave) == 0 or float(np.abs(wave).max()) < LEAST_LOUD:
        return unscorable("the sound is silent", scorer.version)
    present: list[bool] = []
    with FaceMesh(video=True) as mesh:
        mouths = follow(frames, mesh, present)
        video = scorer.see(mouths)
    seen = np.array(present, bool)
    if len(seen) == 0 or not seen.any():
        return unscorable("no face is seen", scorer.version)
    if len(seen) < SHORTEST:
        return unscorable("shorter than a second", scorer.version)
    return scorer.score_embeddings(video, wave, seen)


def follow(frames: Iterable[np.ndarray], mesh: FaceMesh, present: list[bool]) -> Iterator[np.ndarray]:
    """Grey mouth pictures uint8 [96, 96] of each frame, their squares averaged over 13 frames; `present` is filled as frames pass.

    A frame without a face takes the last square seen, and is marked.
    """
    waiting: deque[np.ndarray] = deque()
    squares: deque[tuple[float, float, float]] = deque(maxlen=2 * REACH + 1)
    last: tuple[float, float, float] | None = None

    def emit() -> np.ndarray:
        grey = waiting.popleft()
        return cut(grey, Square(*np.mean(squares, axis=0)).grown(MARGIN), MOUTH_SIZE)

    for frame in frames:
        zoom = min(1.0, SIDE / max(frame.shape[:2]))
        small = cv2.resize(frame, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA) if zoom < 1 else frame
        found = mesh(small)
        present.append(bool(found))
        if found:
            square = mouth_square(found[0] / zoom)
            last = (square.x, square.y, square.side)
        here = last or (frame.shape[1] / 2, frame.shape[0] / 2, frame.shape[1] / 4)
        if not squares:
            squares.extend([here] * (REACH + 1))
        else:
            squares.append(here)
        waiting.append(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY))
        if len(waiting) > REACH:
            yield emit()
    while waiting:
        squares.append(squares[-1])
        yield emit()
