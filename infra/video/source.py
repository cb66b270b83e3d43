"""An existing video's facts and its pictures, as a re-dub needs them: decoded 8-bit planes at exact times.

Nothing is resampled: every decoded picture comes once, upright, with its own time on the container's timeline, and pixels that
nobody edits stay bit for bit as they were decoded. One picture is `picture`; writing is `dub`, what it keeps beside the picture `kept`.
"""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from infra.errors import MediaError
from infra.media import LONGEST_SECONDS, open_media, packets_of
from infra.video.picture import FULL, LIMITED, UNTAGGED, WEIGHTS, Colour, Picture, exactly, plane_view

LARGEST_SIDE = 4096
TELL_LENGTH = ("mov", "matroska", "flv", "avi", "asf")  # formats that store how long they are; for others it is an estimate
FIRST_PACKETS = 2_000  # packets in which a picture must appear
PLANES_AS_THEY_ARE = ("yuv420p", "yuvj420p", "yuva420p")


@dataclass(frozen=True)
class Sound:
    """One sound stream. `start` is where it begins, in seconds on the container's timeline."""

    index: int
    codec: str
    language: str
    title: str
    channels: int
    rate: int
    default: bool
    start: Fraction


@dataclass(frozen=True)
class VideoFacts:
    """What a video is. Width and height are as shown (upright); seconds and frames are the container's claim and not to be trusted.

    `origin` is where the container's timeline begins, in seconds on the file's own clock; `tick` is the unit of its picture's times.
    """

    width: int
    height: int
    fps: Fraction
    seconds: float
    frames: int
    rotation: int
    turned: bool
    sample_aspect: Fraction
    pixel_format: str
    colour: Colour
    codec: str
    interlaced: bool
    audio: tuple[Sound, ...]
    subtitles: int
    origin: Fraction
    tick: Fraction
    notes: tuple[str, ...] = ()


def facts_of(width: int, height: int, fps: Fraction) -> VideoFacts:
    """What a film will be that is made from nothing: square pixels of BT.709 in the limited range, odd sizes made even."""
    colour = Colour(1, 1, 1, LIMITED, 1)
    return VideoFacts(
        width=width + width % 2, height=height + height % 2, fps=fps, seconds=0.0, frames=0, rotation=0, turned=False, sample_aspect=Fraction(1), pixel_format="yuv420p",
        colour=colour, codec="h264", interlaced=False, audio=(), subtitles=0, origin=Fraction(0), tick=1 / fps,
    )  # fmt: skip


def picture_stream(media: Any, name: str) -> Any:
    """The stream of moving pictures. Raises MediaError where there is none but a cover."""
    from av.stream import Disposition

    streams = [s for s in media.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        held = "only a cover picture" if media.streams.video else "no picture"
        raise MediaError(f"{name} holds {held}", code="media.no_video", next_step="Give a file with a video stream.")
    if streams[0].codec_context is None:
        raise MediaError(f"no decoder reads the picture of {name}", code="media.no_decoder", next_step="Convert it to H.264 in MP4 and give that.")
    return streams[0]


def inspect(path: Path) -> VideoFacts:
    """What the video is, after its first picture was decoded.

    Raises MediaError: media.unreadable, media.no_video, media.no_decoder, media.damaged (no picture decodes), media.hdr,
    media.ten_bit, media.too_long, media.too_large.
    """
    import av

    with open_media(path) as media:
        stream = picture_stream(media, path.name)
        frame = _first_frame(media, stream, path.name)
        _refuse(path.name, frame, _seconds(media, stream))
        turn = _turn(frame)
        high, wide = (frame.width, frame.height) if turn.across else (frame.height, frame.width)
        fps = Fraction(stream.average_rate or stream.guessed_rate or 25)
        aspect = Fraction(stream.sample_aspect_ratio or 1) or Fraction(1)
        origin = _origin(media, stream, frame)
        seconds = _seconds(media, stream)
        return VideoFacts(
            width=wide,
            height=high,
            fps=fps,
            seconds=seconds,
            frames=stream.frames or round(seconds * fps),
            rotation=turn.degrees,
            turned=turn != _Turn(),
            sample_aspect=1 / aspect if turn.across else aspect,
            pixel_format=frame.format.name,
            colour=_colour(frame),
            codec=stream.codec_context.name,
            interlaced=frame.interlaced_frame,
            audio=tuple(_sound(s, origin) for s in media.streams.audio),
            subtitles=len(media.streams.subtitles),
            origin=origin,
            tick=Fraction(stream.time_base or av.time_base),
            notes=_notes(frame),
        )


def _first_frame(media: Any, stream: Any, name: str) -> Any:
    """The first picture that decodes; what stands before it may be the rest of a cut group of pictures."""
    import av

    said = ""
    for packet in itertools.islice(packets_of(media, [stream]), FIRST_PACKETS):
        try:
            for frame in packet.decode():
                return frame
        except (av.FFmpegError, ValueError) as error:
            said = f" ({error})"
    raise MediaError(f"no picture of {name} decodes{said}", code="media.damaged", next_step="Export the video again and give that.")


def _seconds(media: Any, stream: Any) -> float:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return max(float(media.duration or 0) / 1e6, 0.0)


def _origin(media: Any, stream: Any, first: Any) -> Fraction:
    starts = [s.start_time * s.time_base for s in (stream, *media.streams.audio) if s.start_time is not None and s.time_base]
    if first.pts is not None:
        starts.append(first.pts * first.time_base)
    return min(starts, default=Fraction(0))


def _refuse(name: str, frame: Any, seconds: float) -> None:
    if frame.color_trc in (16, 18) or frame.color_primaries == 9 or frame.colorspace in (9, 10):
        step = "Tone-map it to 8-bit BT.709 first, for instance with ffmpeg's zscale and tonemap filters."
        raise MediaError(f"{name} is HDR or BT.2020 video, which would lose its colours here", code="media.hdr", next_step=step)
    if max(component.bits for component in frame.format.components) > 8:
        step = "Convert it to 8 bits first: ffmpeg -i IN -pix_fmt yuv420p -c:a copy OUT.mp4."
        raise MediaError(f"{name} has pictures of more than 8 bits ({frame.format.name})", code="media.ten_bit", next_step=step)
    if max(frame.width, frame.height) > LARGEST_SIDE:
        step = f"Scale it to at most {LARGEST_SIDE} pixels a side."
        raise MediaError(f"{name} is {frame.width}x{frame.height} pixels, more than {LARGEST_SIDE} a side", code="media.too_large", next_step=step)
    if seconds > LONGEST_SECONDS:
        hours = LONGEST_SECONDS // 3600
        raise MediaError(f"{name} is longer than {hours} hours", code="media.too_long", next_step=f"Cut it into parts of at most {hours} hours.")


def _notes(frame: Any) -> tuple[str, ...]:
    from av.sidedata.sidedata import Type

    name, found = frame.format.name, []
    if frame.side_data.get(Type.A53_CC) is not None:
        found.append("closed captions inside the picture stream are lost where it is encoded")
    if frame.interlaced_frame:
        found.append("interlaced: pictures are kept woven and written as progressive; deinterlace first for the best lips")
    if any(component.is_alpha for component in frame.format.components):
        found.append("the alpha channel is dropped")
    if name not in PLANES_AS_THEY_ARE:
        found.append(f"pictures are converted once from {name} to yuv420p")
    if frame.colorspace == 2 and not _is_rgb(frame):
        found.append(f"no colour matrix is told: BT.{'601' if _colour(frame).space == 6 else '709'} is taken")
    return tuple(found)


def _sound(stream: Any, origin: Fraction) -> Sound:
    from av.stream import Disposition

    context, said = stream.codec_context, stream.metadata
    return Sound(
        index=stream.index,
        codec=context.name if context else "unknown",
        language=said.get("language", ""),
        title=said.get("title", "") or said.get("handler_name", ""),
        channels=context.channels if context else 0,
        rate=context.sample_rate if context else 0,
        default=bool(stream.disposition & Disposition.default),
        start=(stream.start_time or 0) * stream.time_base - origin if stream.start_time is not None else Fraction(0),
    )


@dataclass(frozen=True)
class _Turn:
    """How a stored picture becomes upright: axes swapped first, then mirrored."""

    across: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @property
    def degrees(self) -> int:
        """Degrees clockwise, mirroring left aside."""
        if self.across:
            return 90 if self.flip_x else 270
        return 180 if self.flip_x and self.flip_y else 0

    def __call__(self, plane: np.ndarray) -> np.ndarray:
        turned = plane.T if self.across else plane
        return np.ascontiguousarray(turned[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1])


def _turn(frame: Any) -> _Turn:
    """The display matrix (ISO/IEC 14496-12, 6.2.2: x' = a x + c y, y' = b x + d y) to the nearest quarter turn."""
    from av.sidedata.sidedata import Type

    data = frame.side_data.get(Type.DISPLAYMATRIX)
    if data is None:
        return _Turn()
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5]
    if abs(int(b)) > abs(int(a)):
        return _Turn(True, bool(c < 0), bool(b < 0))
    return _Turn(False, bool(a < 0), bool(d < 0))


def _is_rgb(frame: Any) -> bool:
    return frame.format.is_rgb or frame.format.name == "pal8"


def _colour(frame: Any) -> Colour:
    guess = 6 if frame.height < 720 else 1
    matrix, told = frame.colorspace, frame.color_range or (FULL if frame.format.name.startswith(("yuvj", "gray")) else UNTAGGED)
    if _is_rgb(frame):
        matrix, told = guess, LIMITED
    primaries, transfer = (value or 2 for value in (frame.color_primaries, frame.color_trc))
    return Colour(matrix, primaries, transfer, told, matrix if matrix in WEIGHTS else guess)


def pictures(path: Path, start: int = 0, stop: int | None = None) -> Iterator[Picture]:
    """Every decoded picture from number `start` to before `stop`, upright, one at a time; times rise strictly.

    Times that are missing, repeated or run backwards are mended by the average rate, between those around them. Pictures before
    `start` are decoded, for only so numbers are exact, but not converted. Raises MediaError as `inspect` does, and where the
    file is damaged (media.damaged) or ends early (media.truncated), after the pictures before that second.
    """
    facts = inspect(path)
    with open_media(path) as media:
        stream = picture_stream(media, path.name)
        stream.thread_type = "AUTO"
        frames = _frames(media, stream, path.name, facts)
        for number, (frame, time) in enumerate(rising(frames, 1 / facts.fps)):
            if stop is not None and number >= stop:
                return
            if number >= start:
                yield _picture(number, time, frame, facts)


def _frames(media: Any, stream: Any, name: str, facts: VideoFacts) -> Iterator[tuple[Any, Fraction | None]]:
    """Decoded frames with their time, as the file tells it. Reads every stream's packets: so a file that ends early is seen."""
    import av

    seen, at, ends, size = 0, Fraction(0), Fraction(0), None
    try:
        for packet in packets_of(media, [s for s in media.streams if s.type in ("video", "audio", "subtitle")]):
            if packet.dts is not None and packet.time_base:
                ends = max(ends, (packet.dts + (packet.duration or 0)) * packet.time_base - facts.origin)
            if packet.stream_index != stream.index:
                continue
            seen += packet.size > 0
            try:
                decoded = packet.decode()
            except (av.FFmpegError, ValueError):
                if size is None:  # the rest of a cut group of pictures
                    continue
                raise
            for frame in decoded:
                if frame.is_corrupt:
                    raise ValueError("a picture decodes with errors")
                if (size := size or (frame.width, frame.height)) != (frame.width, frame.height):
                    step = "Convert it to one size and give that."
                    raise MediaError(f"the pictures of {name} change their size after {float(at):.2f} s", code="media.size_changes", next_step=step)
                time = None if frame.pts is None else frame.pts * frame.time_base - facts.origin
                at = at if time is None else time
                yield frame, time
    except (av.FFmpegError, ValueError) as error:
        step = "Export the video again, or cut it before that second."
        raise MediaError(f"the picture of {name} is damaged after {float(at):.2f} s ({error})", code="media.damaged", next_step=step) from error
    claimed = Fraction(media.duration or 0, 1_000_000) if media.format.name.split(",")[0] in TELL_LENGTH else Fraction(0)
    stored = len(stream.index_entries) if media.format.name.startswith("mov") else 0
    if seen < stored or ends + 1 < claimed:
        step = "Copy or download the file again; or re-export what there is and give that."
        raise MediaError(f"{name} ends early: its picture stops after {float(at):.2f} s of {float(claimed):.2f} s", code="media.truncated", next_step=step)


def rising(frames: Iterable[tuple[Any, Fraction | None]], step: Fraction) -> Iterator[tuple[Any, Fraction]]:
    """Frames with strictly rising times; one frame is looked ahead, so that one wrong time does not move the ones after it."""
    last: Fraction | None = None
    held: list[tuple[Any, Fraction | None]] = []
    fault: MediaError | None = None
    try:
        for frame, time in frames:
            for before in held:
                last = _mended(before[1], last, time, step)
                yield before[0], last
            held = [(frame, time)]
    except MediaError as error:
        fault = error
    for frame, time in held:  # the last good picture comes before the damage
        yield frame, _mended(time, last, None, step)
    if fault:
        raise fault


def _mended(time: Fraction | None, last: Fraction | None, following: Fraction | None, step: Fraction) -> Fraction:
    """A time after `last`, the one told where that can be; before `following` where that can be."""
    room = following if following is not None and (last is None or following > last) else None
    if time is not None and (last is None or time > last) and (room is None or room >= time):
        return time
    if last is None:
        return max(room - step, Fraction(0)) if room is not None else Fraction(0)
    return last + step if room is None or last + step < room else (last + room) / 2


def _picture(number: int, time: Fraction, frame: Any, facts: VideoFacts) -> Picture:
    turn = _turn(frame)
    high, wide = frame.height, frame.width
    half = (high + 1) // 2, (wide + 1) // 2
    if frame.format.name == "gray":
        grey = np.full(half, 128, np.uint8)
        luma, blue, red = plane_view(frame.planes[0], high, wide), grey, grey
    else:
        shown = frame if frame.format.name in PLANES_AS_THEY_ARE else _converted(frame, facts.colour)
        luma, blue, red = plane_view(shown.planes[0], high, wide), plane_view(shown.planes[1], *half), plane_view(shown.planes[2], *half)
    return Picture(number, time, turn(luma), turn(blue), turn(red), facts.colour)


def _converted(frame: Any, colour: Colour) -> Any:
    """Another 8-bit format as yuv420p in the same range and, where the source is not RGB, by the same matrix."""
    target = "yuvj420p" if colour.full else "yuv420p"
    if not _is_rgb(frame):
        frame.colorspace, frame.color_range = colour.space, colour.range or LIMITED
        return frame.reformat(format=target, interpolation=exactly())
    from av.video.reformatter import ColorRange, Colorspace

    matrix = Colorspace.ITU601 if colour.space == 6 else Colorspace.ITU709
    return frame.reformat(format=target, interpolation=exactly(), dst_colorspace=matrix, src_color_range=ColorRange.JPEG, dst_color_range=ColorRange.MPEG)
