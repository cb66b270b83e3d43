"""Still pictures of a finished video: the poster, and a contact sheet of frames with their times."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from infra.errors import MediaError
from infra.media import open_media
from models.faces.crop import Square, cut, face_square

POSTER_SIDE, POSTER_QUALITY = 1280, 88
CELL_SIDE, SHEET_QUALITY = 192, 82
LEAP = 12.0  # seconds; a frame further on than this is sought, a nearer one decoded towards
BAND = 20  # pixels under each frame of a sheet, for its time


def frames_at(video: Path, times: list[float]) -> Iterator[tuple[float, np.ndarray]]:
    """(time, RGB uint8 [H, W, 3]) of the frame shown at each of some rising times in seconds; the last frame stands for later ones.

    Raises MediaError where the video cannot be read. Memory holds one frame.
    """
    import av

    try:
        with open_media(video) as media:
            if not media.streams.video:
                raise MediaError(f"{video.name} holds no picture", code="media.no_video")
            stream = media.streams.video[0]
            base = stream.time_base or 1
            decoder, shown = media.decode(stream), None
            for time in times:
                if shown is None or time - float((shown.pts or 0) * base) > LEAP:
                    media.seek(int(time / base), stream=stream, backward=True)
                    decoder = media.decode(stream)
                while shown is None or float(((shown.pts or 0) + (shown.duration or 1)) * base) <= time + 1e-6:
                    following = next(decoder, None)
                    if following is None:
                        break
                    shown = following
                if shown is None:
                    raise MediaError(f"{video.name} holds no picture", code="media.no_video")
                yield time, shown.to_ndarray(format="rgb24")
    except (av.FFmpegError, ValueError, OSError) as error:
        raise MediaError(f"the picture of {video.name} is damaged ({error})") from error


def length(video: Path) -> float:
    """Seconds of picture, by the stream's own clock. Raises MediaError."""
    import av

    try:
        with open_media(video) as media:
            stream = media.streams.video[0] if media.streams.video else None
            if stream is None:
                raise MediaError(f"{video.name} holds no picture", code="media.no_video")
            if stream.duration and stream.time_base:
                return float(stream.duration * stream.time_base)
            return float(media.duration or 0) / 1e6
    except (av.FFmpegError, ValueError, OSError) as error:
        raise MediaError(f"{video.name} cannot be opened as video ({error})") from error


def poster(video: Path, side: int = POSTER_SIDE) -> bytes:
    """A JPEG, at most `side` pixels a side, of the frame two fifths into the video. Raises MediaError."""
    ((_, frame),) = frames_at(video, [0.4 * length(video)])
    return _jpeg(_within(frame, side), POSTER_QUALITY)


def contact_sheet(video: Path, count: int = 10) -> bytes:
    """A JPEG of evenly spaced frames in rows of five, cut to the face where one is seen, each over its time. Raises MediaError."""
    import cv2

    whole = length(video)
    cells: list[np.ndarray] = []
    square = None
    for time, frame in frames_at(video, [whole * (i + 0.5) / count for i in range(count)]):
        square = square or (_face(frame) if not cells else None)
        small = cut(frame, square, CELL_SIDE) if square else _within(frame, CELL_SIDE)
        cell = np.full((small.shape[0] + BAND, small.shape[1], 3), 24, np.uint8)
        cell[: small.shape[0]] = small
        place = 6, small.shape[0] + BAND - 6
        cv2.putText(cell, stamp(time), place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, (220, 220, 220), 1, cv2.LINE_AA)
        cells.append(cell)
    cells += [np.full_like(cells[0], 24)] * (-len(cells) % 5)
    rows = [np.concatenate(cells[i : i + 5], axis=1) for i in range(0, len(cells), 5)]
    return _jpeg(np.concatenate(rows), SHEET_QUALITY)


def _face(frame: np.ndarray) -> Square | None:
    """The square around the face of a frame, or None."""
    from models.faces.mesh import FaceMesh

    with FaceMesh() as mesh:
        found = mesh(frame)
    return face_square(found[0]).grown(1.1) if found else None


def stamp(seconds: float) -> str:
    """0:04.2, as the sheet writes times."""
    tenths = round(seconds * 10)
    return f"{tenths // 600}:{tenths // 10 % 60:02d}.{tenths % 10}"


def _within(frame: np.ndarray, side: int) -> np.ndarray:
    import cv2

    zoom = side / max(frame.shape[:2])
    if zoom >= 1:
        return frame
    return cv2.resize(
        frame, (max(1, round(frame.shape[1] * zoom)), max(1, round(frame.shape[0] * zoom))), interpolation=cv2.INTER_AREA
    )


def _jpeg(frame: np.ndarray, quality: int) -> bytes:
    import cv2

    return cv2.imencode(".jpg", np.ascontiguousarray(frame[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
