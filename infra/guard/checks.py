"""A sound or video file looked at where it can do no harm: runs in the helper alone (infra/guard/helper.py).

It refuses what is beyond the limits. Damage is no reason: how far a damaged file goes is said by whoever reads it.
"""

import importlib
import pkgutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from infra.guard.kinds import TELL_LENGTH, format_of, options, strange

HEAD_SECONDS, HEAD_PACKETS = 2.0, 600  # how far a quick look decodes
PICTURES_A_SECOND = 120  # the most pictures of the longest video
WORK_RATE = 10  # seconds of processor time that decoding a second may take, beyond the first ones that are granted
HIGHEST_RATE, MOST_CHANNELS = 384_000, 64
BEAT_SECONDS = 0.5


class Refused(Exception):
    """Why a file is not read: a code, words that follow its name, what to do."""

    def __init__(self, code: str, text: str, step: str = "") -> None:
        super().__init__(text)
        self.code, self.text, self.step = code, text, step


@dataclass(frozen=True)
class Limits:
    """What a file may ask for. hours, side (pixels), pixels (of a still), streams; seconds of processor time beyond what its length grants; memory in MiB."""

    hours: float
    side: int
    pixels: int
    streams: int
    seconds: float
    memory: int


def ready() -> None:
    """Load all that decoding needs, while files can still be opened."""
    import av

    for module in pkgutil.walk_packages(av.__path__, "av."):
        if module.name not in ("av.__main__", "av.datasets"):
            importlib.import_module(module.name)


def look(file: BinaryIO, limits: Limits, whole: bool, beat: Callable[[], None]) -> dict[str, Any]:
    """Open a file and decode its beginning, or all of it. beat: called as it goes on. Raises Refused, MemoryError.

    Gives the format, the seconds and packets that were looked at, and how many packets did not decode.
    """
    import av

    def read(at: int, size: int) -> bytes:
        file.seek(at)
        return file.read(size)

    form = format_of(read)
    file.seek(0)
    if not form:
        raise Refused("media.unreadable", "is neither sound nor video of a kind that is read")
    try:
        media = av.open(file, format=form, options=options(form))
    except (av.FFmpegError, ValueError, OSError, RuntimeError) as error:
        _short(error)
        raise Refused("media.unreadable", f"cannot be opened as sound or video ({_words(error)})") from error
    with media:
        _check(media, form, limits)
        beat()
        return {"format": form, **_Decoded(media, limits, beat).run(whole)}


def _short(error: BaseException) -> None:
    if getattr(error, "errno", None) == 12:  # ENOMEM
        raise MemoryError from error


def _words(error: BaseException) -> str:
    """An error without the name that PyAV gives a file without one."""
    return " ".join(str(error).replace("'<none>'", "").split())[:200] or type(error).__name__


def _check(media: Any, form: str, limits: Limits) -> None:
    convert = "Convert it to H.264 and AAC in MP4 and give that."
    if len(media.streams) > limits.streams:
        raise Refused("media.streams", f"holds {len(media.streams)} streams, more than {limits.streams}", "Leave out those that are not needed.")
    if name := strange(media):
        raise Refused("media.codec", f"holds {name[:40]}, which is not read here", convert)
    for stream in media.streams.video:
        if stream.codec_context is not None and max(stream.codec_context.width, stream.codec_context.height) > limits.side:
            size = f"{stream.codec_context.width}x{stream.codec_context.height}"
            raise Refused("media.too_large", f"is {size} pixels, more than {limits.side} a side", f"Scale it to at most {limits.side} pixels a side.")
    for stream in media.streams.audio:
        if stream.codec_context is not None and (stream.codec_context.sample_rate > HIGHEST_RATE or stream.codec_context.channels > MOST_CHANNELS):
            raise Refused("media.codec", f"claims sound of {stream.codec_context.channels} channels at {stream.codec_context.sample_rate} Hz", convert)
    if form in TELL_LENGTH and (media.duration or 0) / 1e6 > limits.hours * 3600:
        raise _long(limits)


def _long(limits: Limits) -> Refused:
    return Refused("media.too_long", f"is longer than {limits.hours:g} hours", f"Cut it into parts of at most {limits.hours:g} hours.")


class _Decoded:
    """Streams decoded one packet at a time, as far as they are asked for, with what is done to their frames later."""

    def __init__(self, media: Any, limits: Limits, beat: Callable[[], None]) -> None:
        self.media, self.limits, self.beat = media, limits, beat
        self.packets = self.pictures = self.damaged = 0
        self.seconds, self.decoded = 0.0, 0.0
        self._last, self._shapes = 0.0, set[tuple[Any, ...]]()

    def run(self, whole: bool) -> dict[str, Any]:
        """Decode; the figures."""
        streams = [s for s in self.media.streams if s.type in ("video", "audio", "subtitle") and s.codec_context is not None]
        for stream in streams:
            stream.codec_context.thread_count = 1
            if stream.type == "video":
                stream.codec_context.options = {"max_pixels": str(self.limits.side**2)}
        for packet in self._packets(streams) if streams else ():  # PyAV takes no streams for all of them
            self._take(packet)
            if not whole and (self.packets > HEAD_PACKETS or self.seconds > HEAD_SECONDS):
                break
        return {"packets": self.packets, "pictures": self.pictures, "damaged": self.damaged, "seconds": round(self.seconds, 3)}

    def _packets(self, streams: list[Any]) -> Iterator[Any]:
        import av

        try:
            yield from self.media.demux(streams)
        except IndexError:  # a stream that the file reveals on the way (infra/media.py, packets_of)
            return
        except (av.FFmpegError, ValueError, OSError) as error:
            _short(error)
            self.damaged += 1

    def _take(self, packet: Any) -> None:
        import av

        self.packets += 1
        self._count(packet)
        if packet.stream.type == "subtitle":
            return  # parsed as text where they are kept, of a few known kinds
        try:
            for frame in packet.decode():
                self._as_later(frame)
        except (av.FFmpegError, ValueError, OSError) as error:
            _short(error)
            self.damaged += 1

    def _count(self, packet: Any) -> None:
        now = time.monotonic()
        if now - self._last > BEAT_SECONDS:
            self._last = now
            self.beat()
        if packet.dts is not None and packet.time_base:
            start = packet.stream.start_time or 0
            self.seconds = max(self.seconds, float((packet.dts - start) * packet.time_base))
        if time.process_time() > self.limits.seconds + WORK_RATE * min(self.seconds, self.limits.hours * 3600):
            raise Refused("media.slow", f"takes more than {time.process_time():.0f} s to decode {self.seconds:.1f} s", "Export it again.")
        if self.packets > self.limits.hours * 3600 * 2 * PICTURES_A_SECOND * max(1, len(self.media.streams)):
            raise _long(self.limits)

    def _as_later(self, frame: Any) -> None:
        """What rendering does to frames that the decoder gives: converted once for each shape that they come in."""
        import av

        if isinstance(frame, av.VideoFrame):
            self.pictures += 1
            if self.pictures > self.limits.hours * 3600 * PICTURES_A_SECOND:
                raise _long(self.limits)
            shape: tuple[Any, ...] = (frame.width, frame.height, frame.format.name)
            if shape not in self._shapes and len(self._shapes) < 16:
                self._shapes.add(shape)
                frame.reformat(format="rgb24")
                frame.reformat(format="yuv420p")
            return
        self.decoded += frame.samples / max(frame.sample_rate, 1)
        if self.decoded > self.limits.hours * 3600 * max(1, len(self.media.streams)):
            raise _long(self.limits)
        shape = (frame.format.name, frame.layout.name, frame.sample_rate)
        if shape not in self._shapes and len(self._shapes) < 16:
            self._shapes.add(shape)
            av.AudioResampler(format="flt", layout="mono", rate=16_000).resample(frame)
