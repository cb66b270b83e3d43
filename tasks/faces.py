"""Portraits in, checked before anything is rendered: what cannot work is refused with the reason and a picture of what was seen."""

import re
import threading
from pathlib import Path
from typing import Any

import numpy as np

from infra.errors import InputError
from infra.guard import door
from models.types import Portrait

LARGEST_BYTES = 200 * 2**20  # a picture beyond is refused unread
COMFORT_SIDE, LARGEST_SIDE, COMFORT_FACE = 1920, 4096, 256  # pixels: see `_fitted`
SMALLEST_FACE = 64  # pixels, the longer side of the face
STEEPEST_YAW = 30.0  # degrees
RIVAL = 0.6  # a second face of this part of the first one's size makes the choice unclear

_local = threading.local()


def read_portrait(path: Path) -> Portrait:
    """A portrait that will work: the picture upright, 8-bit RGB, at most 4096 pixels a side, and its landmarks.

    Raises InputError with code input.bad_picture, input.no_face, input.several_faces, input.face_too_small, input.profile or
    input.occluded; its `picture` is a PNG of what was seen (none for bad_picture).
    """
    picture = read_picture(path)
    faces = faces_in(picture)
    check(picture, faces, _called(path))
    return Portrait(picture, faces[0].mesh)


def faces_in(picture: np.ndarray) -> list[Any]:
    """The faces (models.faces.points.Face) of a picture uint8 RGB [H, W, 3], largest first."""
    return _models().landmarker(picture)


def check(picture: np.ndarray, faces: list[Any], name: str) -> None:
    """Raise the InputError that keeps a picture [H, W, 3] with these faces (largest first) from being a portrait."""
    from models.faces.cover import covered
    from models.faces.pose import head_pose

    if not faces:
        raise _refusal(
            picture,
            [],
            "no_face",
            f"no face is seen in {name}",
            "Give a picture of one face that looks into the camera, well lit.",
        )
    rivals = [face for face in faces if face.size >= RIVAL * faces[0].size]
    if len(rivals) > 1:
        raise _refusal(
            picture,
            rivals,
            "several_faces",
            f"{len(rivals)} faces of like size are seen in {name}",
            "Crop the picture to the face that speaks.",
        )
    face = faces[0]
    if face.size < SMALLEST_FACE:
        said = f"the face in {name} is {face.size:.0f} pixels high; at least {SMALLEST_FACE} are needed"
        raise _refusal(picture, [face], "face_too_small", said, "Give a larger picture of the face, not an enlarged one.")
    yaw = abs(float(np.degrees(head_pose(face)[1])))
    if yaw > STEEPEST_YAW:
        said = f"the face in {name} is turned {yaw:.0f} degrees aside; up to {STEEPEST_YAW:.0f} work"
        raise _refusal(picture, [face], "profile", said, "Give a picture in which the face looks nearer to the camera.")
    if hidden := covered(picture, face, yaw):
        said = "; ".join(f"the {part} seems covered ({why})" for part, why in hidden.items())
        raise _refusal(
            picture,
            [face],
            "occluded",
            f"{name}: {said}",
            "Give a picture with both eyes and the mouth in plain sight.",
            list(hidden),
        )


def read_picture(path: Path) -> np.ndarray:
    """Any picture file as it is rendered: uint8 RGB [H, W, 3], upright by EXIF, alpha over white, colours as sRGB.

    It is decoded by the guard's helper (infra/guard/stills.py), within its limits. What is larger than 1920 pixels a side is reduced to that, or to 256 pixels of face, or to 4096 (see `_fitted`); the same file
    gives the same picture. Raises InputError.
    """
    try:
        if path.is_file() and path.stat().st_size > LARGEST_BYTES:
            raise InputError(f"holds more than {LARGEST_BYTES // 2**20} MB", code="input.bad_picture")
        return _fitted(door.picture(path))
    except InputError as error:
        step = "Export the picture as PNG or JPEG and try again."
        raise InputError(f"{_called(path)} {error.message}", code=error.code, next_step=step) from error


def _called(path: Path) -> str:
    """How messages name a picture: by its file, unless that is named by a hash, which tells a reader nothing."""
    return "the picture" if re.fullmatch(r"[0-9a-f]{64}", path.stem) else path.name


def _fitted(picture: np.ndarray) -> np.ndarray:
    """The picture at a size that renders: 1920 pixels a side, or as many (up to 4096) as keep its face 256 high."""
    import cv2

    longest = max(picture.shape[:2])
    if longest <= COMFORT_SIDE:
        return picture
    boxes = _models().finder(picture)
    face = float((boxes[:, 3] - boxes[:, 1]).max()) if len(boxes) else np.inf
    zoom = min(1.0, LARGEST_SIDE / longest, max(COMFORT_SIDE / longest, COMFORT_FACE / face))
    size = round(picture.shape[1] * zoom), round(picture.shape[0] * zoom)
    return picture if zoom == 1 else cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


class _Models:
    """The networks of one thread; they are not safe to share."""

    def __init__(self) -> None:
        from models.faces.detect import FaceFinder
        from models.faces.landmarker import landmarker

        self.finder, self.landmarker = FaceFinder(), landmarker()


def _models() -> _Models:
    """Networks of the calling thread, loaded once."""
    if not hasattr(_local, "models"):
        _local.models = _Models()
    found: _Models = _local.models
    return found


def _refusal(
    picture: np.ndarray, faces: list[Any], code: str, message: str, step: str, parts: list[str] | None = None
) -> InputError:
    seen = annotated(picture, faces, parts or [])
    return InputError(message, code=f"input.{code}", next_step=step, picture=seen)


def annotated(picture: np.ndarray, faces: list[Any], parts: list[str]) -> bytes:
    """A PNG, at most 720 pixels a side, of what was seen: each face's box and outline, and the parts that seem covered in red."""
    import cv2

    from models.faces.cover import EYES, LIPS

    zoom = min(1.0, 720 / max(picture.shape[:2]))
    drawn = cv2.cvtColor(cv2.resize(picture, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2BGR)
    outlines = {"left eye": EYES[0], "right eye": EYES[1], "mouth": LIPS}
    for face in faces:
        left, top, right, bottom = (round(v * zoom) for v in face.box)
        line = 2 if right - left > 80 else 1
        cv2.rectangle(drawn, (left, top), (right, bottom), (60, 170, 250), line, cv2.LINE_AA)
        for x, y in face.points * zoom:
            cv2.circle(drawn, (round(x), round(y)), line, (90, 220, 120), -1, cv2.LINE_AA)
        for part in parts:
            points = face.mesh[list(outlines[part]), :2] * zoom
            points = points.mean(0) + (points - points.mean(0)) * 1.25
            cv2.polylines(drawn, [cv2.convexHull(np.round(points).astype(np.int32))], True, (60, 60, 235), line + 1, cv2.LINE_AA)
    return cv2.imencode(".png", drawn)[1].tobytes()
