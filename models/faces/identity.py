"""Whether two tracks show one person, told from small upright pictures of their faces: modest, and meant to err towards "another".

A face is turned upright and brought to one size by points that speech does not move, 64 x 64 pixels from hair to chin. Two vectors
are made of it and averaged over the track: its lightness less the mean (shape of brows, hair, beard, shadows) and its fine structure over
the local contrast, which light from elsewhere changes little. Two tracks are compared by the mean of both correlations.

On GRID's ten speakers, three clips of a CREMA-D actor and two portraits (25 tracks): one person's tracks correlate by 0.84 to 0.99,
different people's by 0.815 at the most, so that 0.865 joins none of them falsely. In 28 GRID clips cut one after another
(`benchmarks.tracks`) none of 252 pairs of two people was joined, and 123 of 126 pairs of one person were.
Those are frontal faces in one light each. It is no face recognition: light from another side, another camera, a turned head, glasses put
on or a new hairstyle make another identity of one person, and two people who look alike, twins above all, can become one.
Faces stay in memory for the run that follows them; nothing that could recognise a person is written to disk.
"""

import numpy as np

from models.faces.pose import CANONICAL
from models.lipmemory.align import similarity

ONE_PERSON = 0.865  # correlation from which two tracks are one person
SIZE = 64  # pixels of the upright view
ZOOM = 2.9  # pixels of it for a centimetre of face
MOST_YAW = 18.0  # degrees: faces turned further are left out of a track's mean, unless there are no others
ENOUGH = 30  # faces of a track that are looked at
MOST_PEOPLE = 200  # vectors that are kept to compare with, those seen last
IDS = tuple(CANONICAL)
GOAL = np.array([CANONICAL[i][:2] for i in IDS]) * ZOOM + np.array([SIZE / 2, SIZE / 2 + 2])


class Likeness:
    """What a track's faces look like, as a running mean."""

    def __init__(self) -> None:
        self.total: np.ndarray = np.zeros((2, SIZE * SIZE), np.float32)
        self.count, self.frontal = 0, False

    def add(self, picture: np.ndarray, landmarks: np.ndarray, yaw: float) -> None:
        """One face more, in a picture uint8 RGB [H, W, 3] by landmarks [478, 2+]; frontal ones push turned ones out."""
        frontal = abs(yaw) <= MOST_YAW
        if self.count >= ENOUGH or (self.frontal and not frontal):
            return
        if frontal and not self.frontal:
            self.total, self.count, self.frontal = np.zeros_like(self.total), 0, True
        self.total = self.total + vectors(upright(picture, landmarks))
        self.count += 1

    @property
    def vectors(self) -> np.ndarray | None:
        """Unit vectors float32 [2, 4096], lightness and structure; None where no face was seen in the open."""
        if not self.count:
            return None
        return np.asarray(self.total / np.maximum(np.linalg.norm(self.total, axis=1, keepdims=True), 1e-6))


def alike(one: np.ndarray, other: np.ndarray) -> float:
    """How like two tracks' vectors [2, 4096] are, -1 to 1."""
    return float((one * other).sum() / 2)


class People:
    """The identities met so far."""

    def __init__(self) -> None:
        self.known: list[tuple[int, np.ndarray]] = []
        self.given = 0

    def who(self, seen: Likeness, not_these: frozenset[int] = frozenset()) -> int:
        """The identity of a track; not_these: identities that are seen elsewhere while it is. A new one where nobody is like enough."""
        found = seen.vectors
        best = max(
            ((alike(found, vector), who) for who, vector in self.known if who not in not_these) if found is not None else (),
            default=(-1.0, -1),
        )
        who = best[1] if best[0] >= ONE_PERSON else self.given
        self.given = max(self.given, who + 1)
        if found is not None:
            self.known = [*self.known[1 - MOST_PEOPLE :], (who, found.astype(np.float16))]
        return who


def upright(picture: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Lightness float32 [64, 64] (CIELAB, 0 to 100) of a face turned upright."""
    import cv2

    turn = similarity(landmarks[None, list(IDS), :2].astype(np.float64), GOAL[None])[0]
    zoom = float(np.sqrt(max(np.linalg.det(turn[:, :2]), 1e-9)))
    reach = SIZE / zoom
    left, top = (int(max(0, v - reach)) for v in landmarks[:, :2].mean(0))
    near = picture[top : top + int(2 * reach) + 1, left : left + int(2 * reach) + 1]
    if zoom < 0.7:  # else shrinking would alias
        near = cv2.GaussianBlur(near, (0, 0), 0.5 / zoom)
    turn[:, 2] = turn[:, 2] + turn[:, :2] @ np.array([left, top])
    view = cv2.warpAffine(near, turn, (SIZE, SIZE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.cvtColor(view.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[..., 0])


def vectors(light: np.ndarray) -> np.ndarray:
    """Lightness and structure of an upright face [64, 64] as unit vectors float32 [2, 4096], faded towards the corners."""
    import cv2

    fine = cv2.GaussianBlur(light, (0, 0), 1.0) - cv2.GaussianBlur(light, (0, 0), 6.0)
    fine = fine / (np.sqrt(cv2.GaussianBlur(fine * fine, (0, 0), 8.0)) + 1)
    both = np.stack([(light - (light * WEIGHT).sum() / WEIGHT.sum()) * WEIGHT, fine * WEIGHT]).reshape(2, -1)
    return np.asarray(both / np.maximum(np.linalg.norm(both, axis=1, keepdims=True), 1e-6))


def _weight() -> np.ndarray:
    rows, columns = np.mgrid[:SIZE, :SIZE]
    return np.exp(-(((columns - 32) / 26) ** 4 + ((rows - 30) / 28) ** 4)).astype(np.float32)


WEIGHT = _weight()
