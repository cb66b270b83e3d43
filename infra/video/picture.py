"""One picture of a video as its decoded planes: seen as RGB, and edited in a region without a change to any pixel outside.

The planes stay 8-bit Y, Cb and Cr at 4:2:0, the form in which they are stored: so no picture is converted as a whole.
"""

from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import numpy as np

UNTAGGED, LIMITED, FULL = 0, 1, 2  # ranges, libavutil's AVColorRange
WEIGHTS = {1: (0.2126, 0.0722), 4: (0.30, 0.11), 5: (0.299, 0.114), 6: (0.299, 0.114), 7: (0.212, 0.087)}  # ITU-T H.273 table 4: K_R, K_B
MARGIN = 16  # pixels that colour is interpolated over, and to spare


@dataclass(frozen=True)
class Colour:
    """A video's colour as code points of ITU-T H.273 (2: not told) and a range (0 not told, 1 limited, 2 full).

    `space` is the matrix by which it is computed: the told one, or BT.601 under 720 lines and BT.709 from there where none is told.
    """

    matrix: int
    primaries: int
    transfer: int
    range: int
    space: int

    @property
    def full(self) -> bool:
        """Whether black is 0 and white 255, as in JPEG."""
        return self.range == FULL

    def planes(self, rgb: np.ndarray) -> np.ndarray:
        """RGB [..., 3] in 0 to 255 as float32 Y, Cb, Cr [..., 3] (H.273, equations 38 to 45)."""
        red, blue = WEIGHTS[self.space]
        luma = np.array([red, 1 - red - blue, blue])
        cb = (np.array([0, 0, 1]) - luma) / (2 * (1 - blue))
        cr = (np.array([1, 0, 0]) - luma) / (2 * (1 - red))
        scale = np.array([1, 1, 1]) if self.full else np.array([219, 224, 224]) / 255
        weights = (np.stack([luma, cb, cr]) * scale[:, None]).astype(np.float32)
        return rgb.astype(np.float32) @ weights.T + np.array([0 if self.full else 16, 128, 128], np.float32)


@dataclass(frozen=True)
class Picture:
    """One decoded picture: y uint8 [H, W], u and v uint8 [ceil(H/2), ceil(W/2)]; `time` in seconds from the container's start."""

    number: int
    time: Fraction
    y: np.ndarray = field(repr=False)
    u: np.ndarray = field(repr=False)
    v: np.ndarray = field(repr=False)
    colour: Colour

    @classmethod
    def of_rgb(cls, number: int, time: Fraction, rgb: np.ndarray, colour: Colour) -> "Picture":
        """A picture uint8 RGB [H, W, 3] in limited range by the matrix of `colour` (BT.709 or BT.601); odd sizes repeat their last column or row."""
        import av
        from av.video.reformatter import ColorRange, Colorspace

        high, wide = rgb.shape[:2]
        whole = np.pad(rgb, ((0, high % 2), (0, wide % 2), (0, 0)), "edge") if high % 2 or wide % 2 else np.ascontiguousarray(rgb)
        matrix = Colorspace.ITU601 if colour.space == 6 else Colorspace.ITU709
        made = av.VideoFrame.from_ndarray(whole, format="rgb24").reformat(
            format="yuv420p", interpolation=exactly(), dst_colorspace=matrix, src_color_range=ColorRange.JPEG, dst_color_range=ColorRange.MPEG
        )
        high, wide = whole.shape[:2]
        luma, blue, red = (plane_view(plane, high // size, wide // size) for plane, size in zip(made.planes, (1, 2, 2), strict=True))
        return cls(number, time, luma, blue, red, colour)

    def rgb(self, quick: bool = False) -> np.ndarray:
        """The picture as uint8 RGB [H, W, 3], by its own matrix and range.

        `quick` is for looking and not for editing: up to 3 levels off, colour not interpolated, some thirty times as fast.
        """
        from av.video.reformatter import ColorRange, Interpolation

        flags = Interpolation.POINT if quick else exactly()
        shown = self.frame(even=True).reformat(format="rgb24", interpolation=flags, dst_color_range=ColorRange.JPEG)
        return shown.to_ndarray()[: self.y.shape[0], : self.y.shape[1]]  # even: else colour would be stretched by part of a pixel

    def crop(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        """The same pixels as `rgb()[top : top + height, left : left + width]`, without converting the rest. Must lie inside."""
        high, wide = self.y.shape
        if not (0 <= top < top + height <= high and 0 <= left < left + width <= wide):
            raise ValueError(f"a region of {height}x{width} at ({top}, {left}) does not lie in a picture of {high}x{wide}")
        y0, x0 = max(top - MARGIN, 0) // 2 * 2, max(left - MARGIN, 0) // 2 * 2
        y1, x1 = min((top + height + MARGIN + 1) // 2 * 2, high), min((left + width + MARGIN + 1) // 2 * 2, wide)
        small = np.s_[y0 // 2 : (y1 + 1) // 2, x0 // 2 : (x1 + 1) // 2]
        part = replace(self, y=self.y[y0:y1, x0:x1], u=self.u[small], v=self.v[small]).rgb()
        return part[top - y0 : top - y0 + height, left - x0 : left - x0 + width]

    def frame(self, even: bool = False) -> Any:
        """The picture as PyAV's yuv420p VideoFrame with its colours told; `even` repeats the last column and row of odd sizes."""
        import av

        high, wide = self.y.shape
        grow = ((0, high % 2), (0, wide % 2)) if even else ((0, 0), (0, 0))
        luma = np.pad(self.y, grow, "edge") if even and (high % 2 or wide % 2) else self.y
        frame = av.VideoFrame(luma.shape[1], luma.shape[0], "yuv420p")
        for plane, values in zip(frame.planes, (luma, self.u, self.v), strict=True):
            plane_view(plane, *values.shape)[:] = values
        frame.colorspace, frame.color_range = self.colour.space, self.colour.range or LIMITED
        return frame

    def with_region(self, made: np.ndarray, mask: np.ndarray, top: int, left: int) -> "Picture":
        """A copy with `made` (uint8 RGB [h, w, 3]) blended in at (top, left) by `mask` (float32 [h, w] in 0 to 1).

        Blended in Y, Cb and Cr. Luma where the mask is 0, and chroma of 2x2 blocks where all four masks are 0, stay bit for bit;
        so does what lies outside. A region may reach over the picture's border: that part is left out.
        """
        high, wide = self.y.shape
        y0, x0, y1, x1 = max(top, 0), max(left, 0), min(top + mask.shape[0], high), min(left + mask.shape[1], wide)
        if y0 >= y1 or x0 >= x1:
            return self
        cut = np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
        drawn, mask = self.colour.planes(made[cut]), mask[cut].astype(np.float32)
        # whole 2x2 blocks of chroma: colours are repeated to their edge; the mask is 0 there, unless the picture itself ends
        margin = ((y0 % 2, y1 % 2), (x0 % 2, x1 % 2))
        shares = np.pad(mask, margin)
        if y1 == high and y1 % 2:
            shares[-1] = shares[-2]
        if x1 == wide and x1 % 2:
            shares[:, -1] = shares[:, -2]
        chroma = _halved(np.pad(drawn[..., 1:], (*margin, (0, 0)), "edge"))
        small = np.s_[y0 // 2 : (y1 + 1) // 2, x0 // 2 : (x1 + 1) // 2]
        return replace(
            self,
            y=_blended(self.y, np.s_[y0:y1, x0:x1], drawn[..., 0], mask),
            u=_blended(self.u, small, chroma[..., 0], _halved(shares)),
            v=_blended(self.v, small, chroma[..., 1], _halved(shares)),
        )


def _halved(values: np.ndarray) -> np.ndarray:
    return (values[::2, ::2] + values[1::2, ::2] + values[::2, 1::2] + values[1::2, 1::2]) / 4


def _blended(plane: np.ndarray, where: Any, drawn: np.ndarray, mask: np.ndarray) -> np.ndarray:
    blended = plane.copy()
    was = plane[where].astype(np.float32)
    blended[where] = np.clip(np.rint(was + mask * (drawn - was)), 0, 255)
    return blended


def plane_view(plane: Any, high: int, wide: int) -> np.ndarray:
    """A plane of a PyAV frame as uint8 [high, wide], not copied."""
    return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[:high, :wide]


def exactly() -> int:
    """swscale's flags for conversions that round rightly."""
    from av.video.reformatter import Interpolation

    return Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
