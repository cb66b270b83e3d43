"""The second opinion on sync: nats of information between lips and sound, by the engine coherence's estimator where its weights are.

Independent of the scorer: another network, another loss, other ears. It teaches the engine `coherence`, whose takes it likes better than
they deserve, so the gate asks it for a least value alone.
"""

from collections import deque

import numpy as np

from infra.samples import Wave
from models import checkpoints
from models.faces.crop import Square, cut, face_square

WEIGHTS = ("coherence", "compact-estimator")
SMOOTHED = 13  # pictures, the newest the last, that a face's square is the mean of
SIZE = 128  # pixels a side of the face


class Opinion:
    """One face's second opinion, picture by picture."""

    def __init__(self) -> None:
        from models.coherence.estimator import Estimator, Look

        self.look, self.rows = Look(Estimator.load()), deque[tuple[float, float, float]](maxlen=SMOOTHED)

    def add(self, picture: np.ndarray, landmarks: np.ndarray | None) -> None:
        """The next picture uint8 RGB [H, W, 3] and its face's landmarks [478, 2+] in its pixels, None where no face is seen."""
        if landmarks is None:
            self.rows.clear()
            self.look.add(None)
            return
        square = face_square(landmarks)
        self.rows.append((square.x, square.y, square.side))
        self.look.add(cut(picture, Square(*np.mean(self.rows, axis=0)), SIZE))

    def nats(self, wave: Wave) -> np.ndarray:
        """Nats of each window [windows] with a sound float32 [samples] at 16 kHz that begins with the first picture; NaN where unknown."""
        return self.look.nats(wave)


def installed() -> bool:
    """Whether there is an estimator with weights."""
    return checkpoints.place(*WEIGHTS).exists()


def version() -> str:
    """SHA-256 of the estimator's weights, "" where there is none."""
    return checkpoints.sha256(*WEIGHTS) if installed() else ""


def opinion() -> Opinion | None:
    """A fresh second opinion, or None where there is no estimator. Raises WeightsError for weights that are damaged."""
    return Opinion() if installed() else None
