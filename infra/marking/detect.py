"""Reading the watermark from a video, whatever was cut off, scaled or encoded again. Streams; memory does not grow with length."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from infra.errors import MediaError
from infra.marking.code import CELLS, decode, known_tile, layout, tile
from infra.marking.watermark import PERIOD
from infra.media import decoded, open_media

FINE = 4  # pixels of a cell as it is looked at
SIDE = CELLS * FINE
SMALLEST, LARGEST, STEP = 0.86, 1.42, 0.006  # tile sizes that are tried, of the picture's short side: letterboxed to cropped by 30 %
TRIED = 6  # places and sizes whose code is read
CARRIED = 0.18  # correlation from which a payload that is known beforehand is there
NOISE = 0.35  # levels: what a still picture's coding alone may swing
SPAN = 2 * PERIOD  # seconds of a window of time


@dataclass(frozen=True)
class Found:
    """What was read: the payload, or None; strength is the correlation of cells and code, 0 to 1; pictures that were looked at."""

    payload: int | None
    strength: float
    pictures: int


def read(video: Path) -> Found:
    """Read a video's watermark; pictures after it has been read are not looked at. Raises MediaError where the file cannot be read."""
    whole, count, due = None, 0, 1
    for windows, (part, count) in enumerate(swings(lumas(video)), 1):
        whole = part if whole is None else whole if part is None else whole + part
        if whole is not None and windows == due:
            due *= 2
            if (found := search(whole, count, quick=True)).payload is not None:
                return found
    return Found(None, 0.0, count) if whole is None else search(whole, count)


def carries(video: Path, payload: int) -> Found:
    """Whether an untouched video carries a payload that is known, where too little of it is seen to read it. Raises MediaError.

    The code's cells are correlated with the known signs at their own place and size. Without a mark the square of the correlation r of n
    cells falls off as exp(-n r^2): at 0.18 of 752 cells, 3e-11.
    """
    whole, count = None, 0
    for part, seen in swings(lumas(video)):
        count = seen
        whole = part if whole is None else whole if part is None else whole + part
    if whole is None:
        return Found(None, 0.0, count)
    coded = layout()[0]
    cells, signs = cells_of(fold(whole, 1.0), (0, 0))[coded], tile(payload).reshape(-1)[coded]
    strength = float(abs((cells * signs).sum()) / (np.linalg.norm(cells) * np.sqrt(len(cells)) + 1e-12))
    return Found(payload if strength >= CARRIED else None, round(strength, 4), count)


def lumas(video: Path) -> Iterator[tuple[float, np.ndarray]]:
    """(time in seconds, luma float32 with a short side of 128 pixels) of every picture."""
    import av

    with open_media(video) as media:
        if not media.streams.video:
            raise MediaError(f"{video.name} holds no picture", code="media.no_video", next_step="Give a file with a video stream.")
        stream = media.streams.video[0]
        stream.thread_type = "AUTO"
        try:
            for number, frame in enumerate(decoded(media, stream)):
                yield (number / 25 if frame.time is None else frame.time), small(plane_of(frame))
        except (av.FFmpegError, ValueError) as error:
            raise MediaError(f"the picture of {video.name} is damaged ({error})") from error


def plane_of(frame: Any) -> np.ndarray:
    """The luma plane of a decoded frame, uint8 [H, W]."""
    if frame.format.name not in ("yuv420p", "yuvj420p", "yuv422p", "yuv444p", "gray", "nv12"):
        return np.asarray(frame.to_ndarray(format="gray"))
    plane = frame.planes[0]
    return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: frame.height, : frame.width]


def small(luma: np.ndarray) -> np.ndarray:
    """A plane with its short side at 128 pixels, float32."""
    zoom = SIDE / min(luma.shape)
    size = (max(SIDE, round(luma.shape[1] * zoom)), max(SIDE, round(luma.shape[0] * zoom)))
    return cv2.resize(luma, size, interpolation=cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR).astype(np.float32)


def swings(pictures: Iterator[tuple[float, np.ndarray]]) -> Iterator[tuple[np.ndarray | None, int]]:
    """How every place swings at the watermark's pace, complex64 [h, w], window by window, and how many pictures there were until then.

    Hann windows of two periods, half over one another; in each, places count by how quiet their surroundings are, so that what moves or
    is cut from shot to shot drowns nothing. Three seconds or less are one window. A window of too few pictures is None.
    """
    head = list(_until(pictures, SPAN + PERIOD))
    if not head:
        return
    start, last, count = head[0][0], head[-1][0], len(head)
    if last - start < SPAN + PERIOD:
        only = _Window(start, head[0][1].shape, last - start)
        for time, picture in head:
            only.add(time, picture)
        yield only.swing(), count
        return
    windows = [_Window(start - PERIOD, head[0][1].shape)]
    for count, (time, picture) in enumerate(chain(head, pictures), 1):
        while time >= windows[-1].begin + PERIOD:
            windows.append(_Window(windows[-1].begin + PERIOD, picture.shape))
        while windows[0].begin + SPAN <= time:
            yield windows.pop(0).swing(), count
        for window in windows:
            window.add(time, picture)
    for window in windows:
        yield window.swing(), count


def _until(pictures: Iterator[tuple[float, np.ndarray]], seconds: float) -> Iterator[tuple[float, np.ndarray]]:
    """The pictures up to and with the first that comes so long after the first."""
    start = None
    for time, picture in pictures:
        start = time if start is None else start
        yield time, picture
        if time - start >= seconds:
            return


class _Window:
    """Some seconds of pictures: weighted sums that tell mean and swing."""

    def __init__(self, begin: float, shape: tuple[int, ...], span: float = SPAN) -> None:
        self.begin, self.span, self.count = begin, span, 0
        self.sums = np.zeros((3, *shape), np.float32)  # mean, cosine, sine
        self.weights = np.zeros(3)

    def add(self, time: float, picture: np.ndarray) -> None:
        angle = 2 * np.pi * time / PERIOD
        share = 0.5 - 0.5 * np.cos(2 * np.pi * (time - self.begin + 1e-3) / (self.span + 2e-3))
        for at, weight in enumerate((share, share * np.cos(angle), share * np.sin(angle))):
            self.sums[at] += np.float32(weight) * picture
            self.weights[at] += weight
        self.count += 1

    def swing(self) -> np.ndarray | None:
        if self.count < 8 or self.weights[0] < 1:
            return None
        mean = self.sums[0] / self.weights[0]
        real, imaginary = ((self.sums[at] - self.weights[at] * mean) / self.weights[0] for at in (1, 2))
        return quieted(np.stack([real, imaginary]))


def quieted(swung: np.ndarray) -> np.ndarray:
    """Real and imaginary swing [2, h, w] without what is wider than cells, each place divided by how much its surroundings swing."""
    rest = np.stack([part - cv2.GaussianBlur(part, (0, 0), 1.6 * FINE) for part in swung])
    power = cv2.GaussianBlur((rest**2).sum(0), (0, 0), 1.6 * FINE)
    return np.asarray((rest[0] + 1j * rest[1]) / (power + NOISE**2)).astype(np.complex64)


def search(swung: np.ndarray, count: int, quick: bool = False) -> Found:
    """Look for the known cells at every size and place, and read the code where they stand out; `quick` tries the size as it was made."""
    known = np.conj(np.fft.fft2(np.kron(known_tile(), np.ones((FINE, FINE), np.float32))))
    best = Found(None, 0.0, count)
    if first := _tries(swung, known, np.array([1.0])):
        best = _read(first[0], count)
    if best.payload is not None or quick:
        return best
    sizes = np.exp(np.arange(np.log(SMALLEST), np.log(LARGEST), STEP))
    for _, size, _, _ in sorted(_tries(swung, known, sizes), key=lambda tried: -tried[0])[:TRIED]:
        near = size * np.exp(np.linspace(-STEP, STEP, 7))
        found = _read(max(_tries(swung, known, near), key=lambda tried: tried[0]), count)
        if found.payload is not None:
            return found
        best = max(best, found, key=lambda one: one.strength)
    return best


Try = tuple[float, float, tuple[int, int], np.ndarray]  # how much it stands out, tile size, place, folded tile


def _tries(swung: np.ndarray, known: np.ndarray, sizes: np.ndarray) -> list[Try]:
    made = []
    for size in sizes:
        folded = fold(swung, float(size))
        if not (power := np.abs(folded).std()):
            continue
        matched = np.abs(np.fft.ifft2(np.fft.fft2(folded) * known))
        at = int(matched.argmax())
        made.append((float(matched.flat[at] / power), float(size), (at // SIDE, at % SIDE), folded))
    return made


def fold(swung: np.ndarray, size: float) -> np.ndarray:
    """A map whose tiles are `size` short sides long, with its tiles laid over one another, complex64 [128, 128]."""
    height, width = (max(1, round(length / size)) for length in swung.shape)
    parts = [cv2.resize(np.ascontiguousarray(part), (width, height), interpolation=cv2.INTER_LINEAR) for part in (swung.real, swung.imag)]
    whole = np.zeros((-(-height // SIDE) * SIDE, -(-width // SIDE) * SIDE), np.complex64)
    whole[:height, :width] = parts[0] + 1j * parts[1]
    return np.asarray(whole.reshape(whole.shape[0] // SIDE, SIDE, whole.shape[1] // SIDE, SIDE).sum((0, 2)))


def cells_of(folded: np.ndarray, place: tuple[int, int]) -> np.ndarray:
    """The cells of a folded tile that begins at a place, complex64 [1024]."""
    turned = np.roll(folded, (-place[0], -place[1]), (0, 1))
    return np.asarray(turned.reshape(CELLS, FINE, CELLS, FINE).mean((1, 3)).reshape(-1))


def _read(tried: Try, count: int) -> Found:
    cells = cells_of(tried[3], tried[2])
    coded, places, signs = layout()
    phase = (cells[places] * signs).sum()
    if not phase:
        return Found(None, 0.0, count)
    soft = (cells * np.conj(phase / abs(phase))).real
    payload = decode(soft[coded].astype(np.float64))
    signs = known_tile().reshape(-1) if payload is None else tile(payload).reshape(-1)
    used = signs != 0
    strength = float((soft[used] * signs[used]).sum() / (np.linalg.norm(soft[used]) * np.sqrt(used.sum()) + 1e-12))
    return Found(payload, round(max(0.0, strength), 4), count)
