"""Pictures of people, decoded by Pillow where it can do no harm: runs in the helper alone (infra/guard/helper.py)."""

import io
import warnings
from typing import Any, BinaryIO

import numpy as np

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "JPEG2000", "PPM")
SMALLEST_SIDE = 32


class NoPicture(Exception):
    """What keeps a file from being a picture, as words that follow its name."""


def ready() -> None:
    """Load all that decoding needs, while files can still be opened."""
    from PIL import Image, ImageCms, ImageOps  # noqa: F401 (loaded for later)

    Image.init()
    if hasattr(Image, "core"):
        warnings.simplefilter("ignore")  # odd metadata is no reason to speak
    for kind in FORMATS:  # what a codec loads at its first use
        if kind in Image.SAVE and kind in Image.OPEN:
            _warm(Image, kind)


def _warm(image: Any, kind: str) -> None:
    held = io.BytesIO()
    try:
        image.new("RGB", (SMALLEST_SIDE, SMALLEST_SIDE)).save(held, kind)
        held.seek(0)
        plain(held, 10**6)
    except (OSError, ValueError, NoPicture):
        return  # this build lacks the codec


def plain(file: BinaryIO | io.BytesIO, pixels: int) -> np.ndarray:
    """A picture as it is rendered: uint8 RGB [H, W, 3], upright by EXIF, alpha over white, colours as sRGB; of several frames the first.

    pixels: the most that are decoded. Raises NoPicture, and MemoryError.
    """
    from PIL import Image, UnidentifiedImageError

    Image.MAX_IMAGE_PIXELS = None  # the size is checked here, before anything is decoded
    try:
        with Image.open(file, formats=[kind for kind in FORMATS if kind in Image.OPEN]) as opened:
            _check_size(*opened.size, pixels)
            return np.ascontiguousarray(_plain(opened))
    except UnidentifiedImageError as error:
        raise NoPicture("is not an image file that can be read") from error
    except (OSError, SyntaxError, ValueError, ArithmeticError, LookupError, TypeError, EOFError, RuntimeError, AttributeError) as error:
        raise NoPicture(f"is damaged ({error})") from error


def _check_size(width: int, height: int, pixels: int) -> None:
    if width * height > pixels:
        raise NoPicture(f"measures {width} x {height}; at most {pixels // 1_000_000} megapixels are read")
    if min(width, height) < SMALLEST_SIDE:
        raise NoPicture(f"measures only {width} x {height} pixels")


def _plain(opened: Any) -> np.ndarray:
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
    from PIL import ImageCms

    alpha = picture.getchannel("A") if picture.mode == "RGBA" else None
    try:
        bare = picture.convert("RGB") if alpha is not None else picture
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        changed = ImageCms.profileToProfile(bare, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return picture
    if alpha is not None and changed is not None:
        changed.putalpha(alpha)
    return changed or picture
