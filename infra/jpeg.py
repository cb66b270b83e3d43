"""The JPEG step of published protocols, in memory: what a frame looks like after `ffmpeg -f image2` and OpenCV have had it.

ffmpeg's encoder holds a bit rate (200 kbit/s), so its quality hangs on the frames before: frames go through one `JpegStep` in order.
The pictures that come back are those of the files, bit for bit (tests/test_infra_jpeg.py).
"""

from fractions import Fraction
from typing import Any

import cv2
import numpy as np


class JpegStep:
    """One run of frames at 25 a second, all of one size; call it with each."""

    def __init__(self) -> None:
        self.coder: Any = None
        self.count = 0

    def __call__(self, frame: Any) -> np.ndarray:
        """A PyAV VideoFrame as uint8 [H, W, 3], blue, green, red. Raises ValueError for a frame of another size."""
        from av.video.reformatter import ColorRange, Interpolation

        if self.coder is None:
            self.coder = _coder(frame.width, frame.height)
        if (frame.width, frame.height) != (self.coder.width, self.coder.height):
            raise ValueError(f"frames of {self.coder.width}x{self.coder.height} were begun, this one is {frame.width}x{frame.height}")
        given = frame.reformat(format="yuvj420p", interpolation=Interpolation.BICUBIC, dst_color_range=ColorRange.JPEG)
        given.pts, given.time_base, given.pict_type = self.count, self.coder.time_base, 0
        self.count += 1
        data = b"".join(bytes(packet) for packet in self.coder.encode(given))
        made = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert made is not None, "a frame goes in, a JPEG comes out"
        return made

    def array(self, picture: np.ndarray) -> np.ndarray:
        """The same for uint8 [H, W, 3], blue, green, red."""
        import av

        return self(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="bgr24"))


def _coder(width: int, height: int) -> Any:
    import av

    coder = av.CodecContext.create("mjpeg", "w")
    coder.width, coder.height, coder.pix_fmt = width, height, "yuvj420p"
    coder.framerate, coder.time_base, coder.thread_count = Fraction(25), Fraction(1, 25), 1
    return coder
