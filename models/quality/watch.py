"""A face while its video is scored: some numbers of every picture, from which features.py makes the take's features.

Memory: seven float32 numbers a picture (2.5 MB an hour), three small pictures, and one vector of what the face looks like. The landmarks
are those that the scorer's tracker finds anyway; the rest costs about a tenth of finding them.
"""

from array import array

import cv2
import numpy as np

from models.faces.identity import Likeness
from models.faces.points import Face
from models.faces.pose import head_pose
from models.quality.coherence import Opinion, opinion
from models.quality.view import CHEEKS, DOWN, EYES, LOWER, MOUTH, SIZE, UPPER, ZOOM, View, upright

COLUMNS = ("opening", "width", "mouth_detail", "face_detail", "lower_change", "upper_change", "seam")
FINE = 1.2  # spread of the blur, in pixels of the view, that fine detail is what is left by
SMALL = 48  # pixels a side of the view that changes from picture to picture are taken at
EVERY = 12  # pictures from one look at the likeness to the next
STRIPS = ((-5.6, -3.9), (-3.9, -2.2), (2.2, 3.9), (3.9, 5.6))  # centimetres across: where the border of a re-dub's mask crosses the cheeks
PROFILE, BAND = (-2.5, 3.2), (-0.8, 2.2)  # centimetres below the tip of the nose: what is looked at, and where the border may lie
ABOUT = 5  # places whose mean step is what is usual about one of them


class Watcher:
    """One face through a video: `add` each picture in order, then ask `rows`, `likeness` and `nats`."""

    def __init__(self, *, second_opinion: bool = True) -> None:
        self.numbers = array("f")
        self.looks = Likeness()
        self.before: list[np.ndarray] = []  # the last two small views
        self.opinion: Opinion | None = opinion() if second_opinion else None

    def add(self, picture: np.ndarray, landmarks: np.ndarray | None) -> None:
        """The next picture uint8 RGB [H, W, 3] and its face's landmarks [478, 2+] in its pixels, None where no face is seen."""
        if self.opinion is not None:
            self.opinion.add(picture, landmarks)
        if landmarks is None:
            self.before = []
            self.numbers.extend([np.nan] * len(COLUMNS))
            return
        number = len(self.numbers) // len(COLUMNS)
        view = upright(picture, landmarks)
        self.numbers.extend([*lips(view), *details(view), *self._changes(view), seam(view)])
        if number % EVERY == 0 and _within(picture, landmarks):
            self.looks.add(picture, landmarks, _yaw(landmarks))

    def cut(self) -> None:
        """The next picture shows another face, or another shot: nothing of it is a change of the ones before."""
        self.before = []

    def _changes(self, view: View) -> tuple[float, float]:
        """Flicker of lower face and upper face: root mean square of a picture less the mean of its neighbours, in grey levels."""
        now = cv2.resize(view.grey, (SMALL, SMALL), interpolation=cv2.INTER_AREA)
        self.before = [*self.before[-2:], now]
        if len(self.before) < 3:
            return np.nan, np.nan
        first, middle, last = self.before
        jump = middle - (first + last) / 2
        return _rms(jump[RING]), _rms(jump[REST])

    @property
    def rows(self) -> np.ndarray:
        """Numbers of every picture, float32 [T, 7], in the order of COLUMNS; NaN where no face is seen."""
        return np.frombuffer(self.numbers, np.float32).reshape(-1, len(COLUMNS)).copy()

    @property
    def likeness(self) -> np.ndarray | None:
        """What the face looks like, unit vectors [2, 4096] (models/faces/identity.py), or None where none was seen."""
        return self.looks.vectors


def lips(view: View) -> tuple[float, float]:
    """Gap between the inner lips, and from one corner of the mouth to the other, in pixels of the view."""
    gap, width = (view.landmarks[a] - view.landmarks[b] for a, b in ((13, 14), (61, 291)))
    return float(np.hypot(*gap)), float(np.hypot(*width))


def details(view: View) -> tuple[float, float]:
    """Fine detail of the mouth, and of eyes and cheeks: root mean square of the view less its blur, in grey levels."""
    fine = view.grey - cv2.GaussianBlur(view.grey, (0, 0), FINE)
    return _rms(fine[MOUTH]), float(np.hypot(_rms(fine[EYES]), _rms(fine[CHEEKS])) / np.sqrt(2))


def seam(view: View) -> float:
    """The steepest edge that runs along the border of a re-dub's mask on the cheeks, in grey levels: median over strips of cheek of the
    largest |s - mean of s about it|, s(y) = p(y + 1) - p(y - 1) the step of the strip's profile p. Natural about 1.

    Each strip is averaged across, so that skin and noise cancel; shading is the same step for a while and cancels with what is about it.
    """
    top, bottom = (round(SIZE / 2 + DOWN + at * ZOOM) for at in PROFILE)
    first, last = (round((at - PROFILE[0]) * ZOOM) - 1 for at in BAND)
    found = []
    for left, right in STRIPS:
        line = view.grey[top:bottom, round(SIZE / 2 + left * ZOOM) : round(SIZE / 2 + right * ZOOM)].mean(1)
        step = line[2:] - line[:-2]
        found.append(np.abs(step - np.convolve(step, np.full(ABOUT, 1 / ABOUT), "same"))[first:last].max())
    return float(np.median(found))


def _within(picture: np.ndarray, landmarks: np.ndarray) -> bool:
    """Whether the middle of a face lies in its picture."""
    x, y = landmarks[:, :2].mean(0)
    return bool(0 <= x < picture.shape[1] and 0 <= y < picture.shape[0])


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def _small(mask: np.ndarray) -> np.ndarray:
    return cv2.resize(mask.astype(np.float32), (SMALL, SMALL), interpolation=cv2.INTER_AREA) > 0.5


def _yaw(landmarks: np.ndarray) -> float:
    try:
        return float(np.degrees(head_pose(Face.of_mesh(landmarks))[1]))
    except ValueError:  # no pose fits: as good as turned away
        return 90.0


RING, REST = _small(LOWER & ~MOUTH), _small(UPPER)
