"""A visible label in the picture's upper left corner, for deployers who must show one."""

import functools
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from infra.errors import InputError

USUAL = "AI-generated"
LONGEST = 60  # characters
HEIGHT, MARGIN, BACK = 0.036, 0.02, 0.55  # of the short side; how dark the box behind is


def label_text(wanted: object) -> str:
    """What a manifest's `label` stands for: nothing, the usual words, or its own. Raises InputError for words that cannot be drawn."""
    text = "" if wanted in (None, False, "", "false", "no") else USUAL if wanted in (True, "true", "yes") else str(wanted).strip()
    last = 0x52F if typeface() else 0x7E  # Latin, Greek and Cyrillic, or ASCII
    if len(text) > LONGEST or not all(c.isprintable() and ord(c) <= last for c in text):
        raise InputError(
            f"the label {text[:40]!a} cannot be drawn", code="marking.label",
            next_step=f"Use at most {LONGEST} Latin, Greek or Cyrillic letters, digits and signs, or `label: true` for {USUAL!r}; other scripts are the player's to show.",
        )  # fmt: skip
    return text


@functools.cache
def typeface() -> Path | None:
    """DejaVu Sans, which comes with matplotlib, which comes with mediapipe; None where it does not."""
    found = find_spec("matplotlib")
    place = Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf" if found and found.origin else None
    return place if place and place.exists() else None


class Label:
    """Words for pictures of one size: drawn once, laid over every picture."""

    def __init__(self, text: str, height: int, width: int) -> None:
        size = max(10, round(HEIGHT * min(height, width)))
        file = typeface()
        font = ImageFont.truetype(str(file), size) if file else ImageFont.load_default(size)
        left, top, right, bottom = font.getbbox(text)
        pad = size // 3
        box = (min(width, round(right - left) + 2 * pad), min(height, round(bottom - top) + 2 * pad))
        drawn = Image.new("L", box)
        ImageDraw.Draw(drawn).text((pad - left, pad - top), text, font=font, fill=255)
        ink = np.asarray(drawn, np.float32)[..., None] / 255
        self.made = np.rint(255 * ink).repeat(3, 2).astype(np.uint8)
        self.mask = (BACK + (1 - BACK) * ink[..., 0]).astype(np.float32)
        edge = round(MARGIN * min(height, width)) // 2 * 2
        self.top, self.left = max(0, min(edge, height - box[1])), max(0, min(edge, width - box[0]))

    def on_rgb(self, frame: np.ndarray) -> np.ndarray:
        """A labelled copy of a frame uint8 RGB [H, W, 3]."""
        made = frame.copy()
        part = made[self.top : self.top + self.mask.shape[0], self.left : self.left + self.mask.shape[1]]
        share = self.mask[..., None]
        part[:] = np.rint(part * (1 - share) + self.made * share).astype(np.uint8)
        return made
