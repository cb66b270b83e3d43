"""Portraits in, checked before anything is rendered: what cannot work is refused with the reason and a picture of what was seen."""

import re
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from infra.errors import InputError
from models.types import Portrait

LARGEST_PIXELS, LARGEST_BYTES = 100_000_000, 200 * 2**20  # a picture beyond is refused unread
SMALLEST_SIDE = 32
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "JPEG2000", "PPM")
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

    What is larger than 1920 pixels a side is reduced to that, or to 256 pixels of face, or to 4096 (see `_fitted`); the same file
    gives the same picture. Raises InputError.
    """
    from PIL import Image, UnidentifiedImageError

    Image.init()  # all kinds are known before some are named
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise _bad(path, f"holds more than {LARGEST_BYTES // 2**20} MB")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata is no reason to speak; size is checked below
            with Image.open(path, formats=[kind for kind in FORMATS if kind in Image.OPEN]) as opened:
                _check_size(path, *opened.size)
                plain = np.ascontiguousarray(_plain(opened))
    except UnidentifiedImageError as error:
        raise _bad(path, "is not an image file that can be read") from error
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise _bad(path, f"cannot be opened ({error.strerror})") from error
    except (
        OSError,
        SyntaxError,
        ValueError,
        ArithmeticError,
        KeyError,
        IndexError,
        TypeError,
        EOFError,
        Image.DecompressionBombError,
    ) as error:
        raise _bad(path, f"is damaged ({error})") from error
    return _fitted(plain)


def _check_size(path: Path, width: int, height: int) -> None:
    if width * height > LARGEST_PIXELS:
        raise _bad(path, f"measures {width} x {height}; at most {LARGEST_PIXELS // 1_000_000} megapixels are read")
    if min(width, height) < SMALLEST_SIDE:
        raise _bad(path, f"measures only {width} x {height} pixels")


def _called(path: Path) -> str:
    """How messages name a picture: by its file, unless that is named by a hash, which tells a reader nothing."""
    return "the picture" if re.fullmatch(r"[0-9a-f]{64}", path.stem) else path.name


def _bad(path: Path, what: str) -> InputError:
    step = "Export the picture as PNG or JPEG and try again."
    return InputError(f"{_called(path)} {what}", code="input.bad_picture", next_step=step)


def _plain(opened: Any) -> np.ndarray:
    """A Pillow picture as RGB array [H, W, 3]; of several frames the first."""
    from PIL import Image, ImageOps

    picture = ImageOps.exif_transpose(opened)
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        return np.repeat(_eight_bits(np.asarray(picture))[..., None], 3, axis=2)
    picture = _standard_colours(picture, opened.info.get("icc_profile"))
    if "A" in picture.getbands() or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        return np.asarray(Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB"))
    return np.asarray(picture.convert("RGB"))


def _eight_bits(values: np.ndarray) -> np.ndarray:
    """Grey values of more than 8 bits as uint8; their scale is the smallest usual one that holds the largest."""
    if not np.isfinite(values).all():
        raise ValueError("values that are not numbers")
    top = float(values.max())
    full = (
        next((limit for limit in (1.0, 255.0, 65535.0) if top <= limit), top)
        if values.dtype.kind == "f"
        else (255.0 if top <= 255 else max(65535.0, top))
    )
    return (np.clip(values.astype(np.float64) / full, 0, 1) * 255 + 0.5).astype(np.uint8)


def _standard_colours(picture: Any, profile: bytes | None) -> Any:
    """The picture in sRGB where it carries another colour profile that can be read; alpha is kept."""
    if not profile or picture.mode not in ("RGB", "RGBA", "CMYK", "L"):
        return picture
    import io

    from PIL import ImageCms

    alpha = picture.getchannel("A") if picture.mode == "RGBA" else None
    try:
        plain = picture.convert("RGB") if alpha is not None else picture
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        changed = ImageCms.profileToProfile(plain, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return picture
    if alpha is not None and changed is not None:
        changed.putalpha(alpha)
    return changed or picture


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
