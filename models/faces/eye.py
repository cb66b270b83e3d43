"""A face mesh that looks at the part of a picture about one face, and keeps that face in view."""

import numpy as np

from models.faces.mesh import FaceMesh

FIRST_VIEWS = (2.2, 1.5)  # sides of the views that a found face is first looked for in, over its box's
VIEW = 2.0  # side of a track's view over the longer side of its landmarks
EDGE = 0.12  # part of a face's side that it keeps from its view's border; then the view moves
VIEW_PIXELS = 400  # a larger view is reduced to this: the mesh works at 192 inside


class Eye:
    """A face mesh that looks at the part of a picture about one face. Not safe to share between threads."""

    def __init__(self) -> None:
        self.mesh = FaceMesh(video=True)
        self.view: tuple[int, int, int, int] | None = None
        self.moved = False

    def forget(self) -> None:
        """Let go of the face that is followed."""
        self.mesh(np.zeros((64, 64, 3), np.uint8))

    def begin(self, picture: np.ndarray, box: np.ndarray) -> np.ndarray | None:
        """Landmarks float32 [478, 2] of the face in a box (left, top, right, bottom), which is followed from now on; or None."""
        for factor in FIRST_VIEWS:
            self.forget()
            self._look_about(box, factor, picture.shape)
            found = self._see(picture)
            if found is not None and inside(found.mean(0), box):
                self._keep_up(found, picture.shape)
                return found
        return None

    def look(self, picture: np.ndarray) -> np.ndarray | None:
        """Landmarks of the face in the next picture, or None."""
        if self.moved:  # the mesh expects the face where it was in the view before; the second look is from the right place
            self._see(picture)
        found = self._see(picture)
        self.moved = False
        if found is not None:
            self._keep_up(found, picture.shape)
        return found

    def _see(self, picture: np.ndarray) -> np.ndarray | None:
        import cv2

        assert self.view is not None
        left, top, right, bottom = self.view
        part = picture[top:bottom, left:right]
        zoom = min(1.0, VIEW_PIXELS / max(part.shape[:2]))
        if zoom < 1:
            part = cv2.resize(part, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)
        found = self.mesh(part)
        if not found:
            return None
        scale = np.array([(right - left) / part.shape[1], (bottom - top) / part.shape[0]])
        return (found[0][:, :2] * scale + (left, top)).astype(np.float32)

    def _keep_up(self, landmarks: np.ndarray, shape: tuple[int, ...]) -> None:
        """Move the view where the face nears its border or has become much larger or smaller."""
        assert self.view is not None
        box = np.concatenate([landmarks.min(0), landmarks.max(0)])
        side = float(max(box[2] - box[0], box[3] - box[1]))
        near = [
            box[0] - self.view[0] < EDGE * side and self.view[0] > 0,
            box[1] - self.view[1] < EDGE * side and self.view[1] > 0,
            self.view[2] - box[2] < EDGE * side and self.view[2] < shape[1],
            self.view[3] - box[3] < EDGE * side and self.view[3] < shape[0],
        ]
        if any(near) or max(self.view[2] - self.view[0], self.view[3] - self.view[1]) > 1.6 * VIEW * side:
            before = self.view
            self._look_about(box, VIEW, shape)
            self.moved = self.view != before

    def _look_about(self, box: np.ndarray, factor: float, shape: tuple[int, ...]) -> None:
        middle, half = (box[:2] + box[2:4]) / 2, factor * max(box[2] - box[0], box[3] - box[1]) / 2
        left, top = (int(max(0, v - half)) for v in middle)
        right, bottom = (int(np.ceil(min(limit, v + half))) for v, limit in zip(middle, (shape[1], shape[0]), strict=True))
        self.view = min(left, shape[1] - 16), min(top, shape[0] - 16), max(right, left + 16), max(bottom, top + 16)


def inside(point: np.ndarray, box: np.ndarray) -> bool:
    """Whether a point [2] lies in a box (left, top, right, bottom)."""
    return bool(box[0] <= point[0] <= box[2] and box[1] <= point[1] <= box[3])
