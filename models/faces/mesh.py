"""Face-mesh landmarks (478 points, irises included) with the model that its wheel carries; nothing is downloaded."""

import contextlib
import os
import threading
import warnings
from collections.abc import Iterator

import numpy as np

from models.faces.crop import Square

POINTS = 478
_ONE_AT_A_TIME = threading.Lock()


class FaceMesh:
    """Landmarks of up to `faces` faces a picture; `video=True` tracks from frame to frame and is faster and steadier.

    Not safe to share between threads. `close()` frees the graph.
    """

    def __init__(self, *, video: bool = False, faces: int = 1, confidence: float = 0.5) -> None:
        os.environ.setdefault("GLOG_minloglevel", "3")
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        warnings.filterwarnings("ignore", message="SymbolDatabase.GetPrototype")  # protobuf, at every picture
        with warnings.catch_warnings(), _quiet_stderr():
            warnings.simplefilter("ignore")
            from mediapipe.python.solutions import face_mesh

            self._mesh = face_mesh.FaceMesh(
                static_image_mode=not video,
                max_num_faces=faces,
                refine_landmarks=True,
                min_detection_confidence=confidence,
            )
            self._mesh.process(np.zeros((64, 64, 3), np.uint8))  # its networks speak at their first picture

    def __call__(self, picture: np.ndarray) -> list[np.ndarray]:
        """Landmarks of each face found in an RGB uint8 picture [H, W, 3]: float32 [478, 3] in pixels, z as deep as x is wide."""
        height, width = picture.shape[:2]
        found = self._mesh.process(np.ascontiguousarray(picture)).multi_face_landmarks or []
        size = np.array([width, height, width], np.float32)
        return [np.array([(p.x, p.y, p.z) for p in face.landmark], np.float32) * size for face in found]

    def close(self) -> None:
        """Free the graph and its threads."""
        self._mesh.close()

    def __enter__(self) -> "FaceMesh":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    """The graph writes start-up notes to the process's standard error from C++; they say nothing to a user."""
    with _ONE_AT_A_TIME:  # else one thread would save what another has silenced
        saved = os.dup(2)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(null)
            os.close(saved)


__all__ = ["POINTS", "FaceMesh", "Square"]
