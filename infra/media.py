"""Sound and video in and out: PyAV reads, ffmpeg (from a wheel) writes, both told exactly what to do.

Files are opened as local files only, by the demuxer that their first bytes name, after the guard has opened them (docs/hostile.md);
no shell, no network protocol.
"""

import functools
import os
import shutil
import signal
import subprocess
import wave as wave_file
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from infra.errors import DiskFull, MediaError, SetupError
from infra.guard import kinds
from infra.guard.door import admit
from infra.samples import Samples, Wave, blocks_of, settled, silence
from infra.settings import get_settings

LONGEST_SECONDS = 4 * 3600


@dataclass(frozen=True)
class MediaInfo:
    """What a media file holds. fps is exact; seconds are the container's own claim and not to be trusted."""

    seconds: float
    fps: Fraction
    width: int
    height: int
    frames: int
    audio_streams: int


def open_media(path: Path) -> Any:
    """PyAV's container of a local file that the guard admits (infra/guard). Raises MediaError."""
    import av

    settings, form = get_settings(), _admitted(path)
    try:
        media = av.open(str(path.absolute()), format=form, options=kinds.options(form))
    except (av.FFmpegError, ValueError, OSError, RuntimeError) as error:
        raise MediaError(f"{path.name} cannot be opened as sound or video ({error})") from error
    if name := kinds.strange(media):
        media.close()
        raise MediaError(f"{path.name} holds {name}, which is not read here", code="media.codec")
    for stream in media.streams.video:
        if stream.codec_context is not None:
            stream.codec_context.options = {"max_pixels": str(settings.input_side**2)}
    return media


def _admitted(path: Path) -> str:
    """The demuxer for a file that the guard admits. Raises MediaError."""
    admit(path)
    try:
        with path.open("rb") as file:
            form = kinds.format_of(lambda at, size: os.pread(file.fileno(), size, at))
    except OSError as error:
        raise MediaError(f"{path.name} cannot be opened as sound or video ({error})") from error
    if not form:
        raise MediaError(f"{path.name} cannot be opened as sound or video (it has changed since it was looked at)")
    return form


def as_input(path: Path) -> list[str]:
    """A local file as an input of ffmpeg's command line, which opens it as `open_media` does: by that one demuxer, with the same options. Raises MediaError."""
    form = _admitted(path)
    return [*(part for name, value in kinds.options(form).items() for part in (f"-{name}", value)), "-f", form, "-i", str(path.absolute())]


def packets_of(media: Any, streams: list[Any]) -> Iterator[Any]:
    """Packets of streams in the file's order, and an empty one for each at the end.

    A stream that the file reveals on the way makes PyAV 18 fail at the end, when everything was read; it is left out.
    """
    try:
        if streams:  # PyAV takes no streams for all of them
            yield from media.demux(streams)
    except IndexError:
        return


def decoded(media: Any, stream: Any) -> Iterator[Any]:
    """Frames of one stream."""
    for packet in packets_of(media, [stream]):
        yield from packet.decode()


def probe(path: Path) -> MediaInfo:
    """What the file's headers say. Raises MediaError."""
    with open_media(path) as media:
        video = media.streams.video[0] if media.streams.video else None
        seconds = float(media.duration or 0) / 1e6
        if video is None:
            return MediaInfo(seconds, Fraction(0), 0, 0, 0, len(media.streams.audio))
        fps = Fraction(video.average_rate or video.guessed_rate or 0)
        return MediaInfo(seconds, fps, video.width, video.height, video.frames, len(media.streams.audio))


def read_audio(path: Path, rate: int = 16_000, *, whole: bool = False) -> Wave:
    """The first sound stream as mono float32 [samples] in [-1, 1] at `rate`, or as int16 where `whole` numbers are asked for.

    Raises MediaError (no sound, damaged, over 4 hours). Long sounds lie in a file; memory does not grow with length.
    """
    import av

    kind, most = (np.dtype("<i2"), 32767) if whole else (np.dtype("<f4"), 1)
    held = Samples(kind)
    with open_media(path) as media:
        if not media.streams.audio:
            raise MediaError(f"{path.name} holds no sound", code="media.no_audio", next_step="Give a file with a sound stream.")
        resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)
        try:
            for frame in _and_none(decoded(media, media.streams.audio[0])):
                for part in resampler.resample(frame):
                    samples = part.to_ndarray()[0]
                    if not np.isfinite(samples).all():
                        raise MediaError(f"{path.name} holds samples that are not numbers", code="media.not_finite", next_step="Export the recording again.")
                    held.append((np.clip(samples, -1, 1) * most).astype(kind))
                if len(held) > LONGEST_SECONDS * rate:
                    raise MediaError(f"{path.name} is longer than {LONGEST_SECONDS // 3600} hours", code="media.too_long")
        except (av.FFmpegError, ValueError) as error:
            if not len(held):
                raise MediaError(f"the sound of {path.name} is damaged ({error})") from error
    if not len(held):
        raise MediaError(f"{path.name} holds no sound", code="media.no_audio")
    return settled(held)


def resampled(sound: Wave, rate: int, wanted: int) -> Wave:
    """Mono int16 [samples] at `rate` as float32 in [-1, 1] at the `wanted` rate, a second at a time."""
    import av

    resampler = av.AudioResampler(format="flt", layout="mono", rate=wanted)
    made = silence(-(-len(sound) * wanted // rate), np.float32)
    at = 0
    for start in _and_none(range(0, len(sound), rate)):
        frame = None
        if start is not None:
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound[start : start + rate][None]), format="s16", layout="mono")
            frame.sample_rate = rate
        for part in resampler.resample(frame):
            samples = part.to_ndarray()[0][: len(made) - at]
            made[at : at + len(samples)] = np.clip(samples, -1, 1)
            at += len(samples)
    return made


def _and_none(items: Iterable[Any]) -> Iterator[Any]:
    """The items, and None at the end: what an encoder or resampler is flushed with."""
    yield from items
    yield None


def iter_frames(path: Path, fps: Fraction | None = None) -> Iterator[np.ndarray]:
    """Frames of the first video stream as uint8 RGB [H, W, 3], one at a time; with `fps`, held or dropped onto that clock."""
    import av

    with open_media(path) as media:
        if not media.streams.video:
            raise MediaError(f"{path.name} holds no picture", code="media.no_video", next_step="Give a file with a video stream.")
        stream = media.streams.video[0]
        stream.thread_type = "AUTO"
        count, shown, origin = 0, None, None
        try:
            for frame in decoded(media, stream):
                if fps is None or frame.pts is None or stream.time_base is None:
                    yield frame.to_ndarray(format="rgb24")
                    continue
                origin = frame.pts if origin is None else origin
                due = (frame.pts - origin) * stream.time_base * fps
                while shown is not None and count < due - Fraction(1, 2):
                    yield shown
                    count += 1
                shown = frame.to_ndarray(format="rgb24")
        except (av.FFmpegError, ValueError) as error:
            raise MediaError(f"the picture of {path.name} is damaged ({error})") from error
        if shown is not None:
            yield shown


@functools.cache
def ffmpeg() -> str:
    """Path of the ffmpeg that writes videos. Raises SetupError when there is none."""
    try:
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        found = shutil.which("ffmpeg")
    if not found:
        raise SetupError("ffmpeg is not installed", code="setup.ffmpeg", next_step="pip install imageio-ffmpeg, or install ffmpeg by the system's packages.")
    return found


class VideoWriter:
    """Frames and a sound file to MP4: H.264 yuv420p tagged bt709, AAC 48 kHz, faststart.

    Frames go one at a time into ffmpeg's standard input; memory does not grow. Odd widths and heights repeat their last column
    or row. The sound is never cut: the caller gives frames that cover it. Use as a context manager; leaving it waits for ffmpeg
    and raises MediaError, DiskFull or SetupError, leaving no half-written file behind.
    """

    def __init__(
        self, path: Path, width: int, height: int, fps: Fraction, audio: Path | None, *, crf: int = 18, preset: str = "veryfast", threads: int = 2
    ) -> None:
        self.path, self.frames = path, 0
        self.fresh = path.with_name(f".incoming-{path.name}")
        rate = f"{fps.numerator}/{fps.denominator}"
        sound = [] if audio is None else ["-protocol_whitelist", "file", "-f", "wav", "-i", str(audio.absolute())]
        arguments = [
            ffmpeg(), "-hide_banner", "-loglevel", "error", "-nostdin", "-y",
            "-f", "rawvideo", "-pix_fmt", "rgb24", "-video_size", f"{width}x{height}", "-framerate", rate, "-i", "pipe:0",
            *sound,
            "-map", "0:v:0", *([] if audio is None else ["-map", "1:a:0", "-c:a", "aac", "-b:a", "160k", "-ar", "48000"]),
            "-vf", _filters(width, height),
            "-c:v", "libx264", "-preset", preset, "-crf", str(crf), "-threads", str(threads), "-pix_fmt", "yuv420p",
            "-color_primaries", "bt709", "-color_trc", "bt709", "-colorspace", "bt709", "-color_range", "tv",
            "-movflags", "+faststart", "-fps_mode", "cfr", "-f", "mp4", str(self.fresh.absolute()),
        ]  # fmt: skip
        try:
            self._process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        except OSError as error:
            raise SetupError(f"ffmpeg does not start ({error})", code="setup.ffmpeg") from error

    def write(self, frame: np.ndarray) -> None:
        """Add one frame uint8 RGB [H, W, 3]."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(np.ascontiguousarray(frame).tobytes())
        except (BrokenPipeError, OSError):
            self._fail()
        self.frames += 1

    def _fail(self) -> None:
        assert self._process.stderr is not None
        said = self._process.stderr.read().decode(errors="replace").strip()
        ended = self._process.wait()  # it has closed its standard error: it is ending
        self.fresh.unlink(missing_ok=True)
        if "No space left" in said or "File too large" in said or ended == -signal.SIGXFSZ:
            raise DiskFull(f"no space left while writing {self.path.name}")
        raise MediaError(f"ffmpeg could not write {self.path.name}: {said[-300:] or 'it ended early'}", code="media.unwritable", next_step="Check the disk and the sound file; run again.")

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is not None:
            self._process.kill()
            self._process.wait()
            self.fresh.unlink(missing_ok=True)
            return
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
        except (BrokenPipeError, OSError):
            self._fail()
        if self._process.wait() != 0:
            self._fail()
        self.fresh.replace(self.path)


def _filters(width: int, height: int) -> str:
    wide, high = width + width % 2, height + height % 2
    grow = f"pad={wide}:{high}:0:0,fillborders=right={wide - width}:bottom={high - height}:mode=smear," if (wide, high) != (width, height) else ""
    return f"{grow}scale=in_range=pc:out_range=tv:out_color_matrix=bt709:flags=accurate_rnd+full_chroma_int"


def write_wav(path: Path, sound: Wave, rate: int) -> None:
    """Mono sound [samples] as 16-bit WAV: int16 as it is, float32 in [-1, 1] rounded."""
    with wave_file.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.setnframes(len(sound))
        for block in blocks_of(sound):
            out.writeframesraw(whole_samples(block).data)


def whole_samples(sound: np.ndarray) -> np.ndarray:
    """Sound [samples], float32 in [-1, 1] or int16, as little-endian int16."""
    if sound.dtype.kind == "f":
        sound = np.clip(sound, -1, 1) * 32767
    return np.ascontiguousarray(sound.astype("<i2", copy=False))
