"""Writing a film: pictures in windows to H.264, the speech first, and whatever else is to stay beside it.

Pictures keep their own times, so any frame rate and variable rates work; sound time 0 is the container's start. Every window of
pictures is encoded by itself and muxed when it is whole, so that a film goes on from the windows that another process finished and
comes out the same to the last byte.
"""

import errno
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from infra.errors import DiskFull, MediaError
from infra.media import decoded, open_media
from infra.video.kept import Kept, encoded_sound, language_code
from infra.video.picture import Picture
from infra.video.picture_track import PictureTrack, ticks_per_second
from infra.video.source import VideoFacts
from infra.video.window import Window, WindowFile

AHEAD = Fraction(1, 2)  # seconds that sound is muxed before the picture
WINDOW = 250  # pictures
Keep = Callable[[int, Path], None]


class FilmWriter:
    """Pictures and a sound file to MP4: H.264 yuv420p in the colours and aspect that `facts` tell, AAC 48 kHz, faststart.

    Odd widths and heights repeat their last column or row, as 4:2:0 has none. The sound is never cut. window: pictures that are
    encoded by themselves; each such window is handed to `keep` (its number, its file, which is gone afterwards), but a film's only one.
    `join` takes a window that was kept before instead of its pictures. ticks: a second's, in which windows tell times.

    Use as a context manager: leaving it finishes the file under its name, or raises MediaError or DiskFull and leaves nothing.
    Memory does not grow with length, but for MP4's own indexes (about 15 MiB an hour written).
    """

    def __init__(
        self, path: Path, facts: VideoFacts, sound: Path | None, *, language: str, crf: int, preset: str, window: int = WINDOW, keep: Keep | None = None,
        source: Path | None = None, copy: Sequence[tuple[int, int]] = (),
    ) -> None:  # fmt: skip
        import av

        self.path, self.facts, self.frames, self.window = path, facts, 0, window
        self.notes: list[str] = list(facts.notes)
        self.fresh, self._part = path.with_name(f".incoming-{path.name}"), path.with_name(f".window-{path.name}")
        self._keep, self._whole = keep, 0
        self._open: WindowFile | None = None
        self.ticks = ticks_per_second(facts)
        options = {"movflags": "+faststart", "movie_timescale": str(self.ticks)}
        self._out = av.open(str(self.fresh.absolute()), "w", format="mp4", container_options=options)
        self._track = PictureTrack(self._out, source, facts, self.ticks, crf=crf, preset=preset, copy=copy, notes=self.notes)
        self._sound = None if sound is None else _Spoken(self._out, sound, language)
        self._kept: Kept | None = None

    def join(self, path: Path) -> None:
        """Add a kept window. Raises MediaError and DiskFull, and ValueError once pictures were written."""
        if self.frames % self.window:
            raise ValueError("a window is joined where one begins")
        if self._open is not None:
            self._close(last=False)
        with self._telling():
            whole = Window(path)
            self._mux(whole)
        self.frames += len(whole.shown)
        self._whole += 1

    def write(self, picture: Picture) -> None:
        """Add one picture at its own time. Raises MediaError and DiskFull, and what `keep` raises."""
        if self._open is not None and self.frames % self.window == 0:
            self._close(last=False)
        with self._telling():
            self._open = self._open or WindowFile(self._part)
            self._track.write(picture, self._open)
        self.frames += 1

    def _close(self, *, last: bool) -> None:
        """End the window that is open, and keep it unless it is all there is."""
        assert self._open is not None
        with self._telling():
            self._track.finish(self._open)
            self._open.close()
        if self._keep and not (last and not self._whole):
            self._keep(self._whole, self._part)
        with self._telling():
            self._mux(Window(self._part))
            self._part.unlink()
        self._open, self._whole = None, self._whole + 1

    def _mux(self, window: Window) -> None:
        """A window's pictures, with the sound and all else up to each."""
        for time in self._track.join(window):
            if self._sound:
                self._sound.up_to(time + AHEAD)
            if self._kept:
                self._kept.up_to(time + AHEAD)

    def _finish(self) -> None:
        if not self.frames:
            raise MediaError(f"no picture was written to {self.path.name}", code="media.unwritable", next_step="Give a video with pictures.")
        if self._open is not None:
            self._close(last=True)
        with self._telling():
            if self._sound:
                self._sound.rest()
            if self._kept:
                self._kept.rest()
            self._out.close()
            self.fresh.replace(self.path)

    @property
    def copied(self) -> int:
        """How many pictures were copied and not encoded."""
        return self._track.copied

    @contextmanager
    def _telling(self) -> Iterator[None]:
        import av

        try:
            yield
        except (av.FFmpegError, OSError) as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise DiskFull(f"no space left while writing {self.path.name}") from error
            step = "Check the disk and the source video; run again."
            raise MediaError(f"{self.path.name} could not be written ({error})", code="media.unwritable", next_step=step) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            for part in (self._kept, self._sound):
                if part:
                    part.close()
            with suppress(Exception):  # what failed has been told; this closes the file
                self._out.close()
            with suppress(OSError):
                if self._open is not None:
                    self._open.drop()
            self.fresh.unlink(missing_ok=True)


def encode_sound(sound: Path, path: Path) -> None:
    """Encode a sound alone, as a film's first track is, to MP4. Raises MediaError."""
    import av

    with av.open(str(path.absolute()), "w", format="mp4") as out:
        spoken = _Spoken(out, sound, "und")
        try:
            spoken.rest()
        finally:
            spoken.close()


class _Spoken:
    """The dub's sound as the first and default AAC track, from time 0."""

    def __init__(self, out: Any, path: Path, language: str) -> None:
        from av.stream import Disposition

        self._out, self._name = out, path.name
        self._media = open_media(path)
        if not self._media.streams.audio:
            raise MediaError(f"{path.name} holds no sound", code="media.no_audio", next_step="Give a file with a sound stream.")
        self._made = encoded_sound(out, self._media.streams.audio[0].codec_context.channels)
        self._made.metadata.update({"language": language_code(language), "handler_name": language})
        self._made.disposition = Disposition.default | Disposition.dub
        self._frames = self._read()
        self._at = Fraction(0)

    def _read(self) -> Iterator[Any]:
        count = 0
        for frame in decoded(self._media, self._media.streams.audio[0]):
            frame.pts, frame.time_base = count, Fraction(1, frame.sample_rate)
            count += frame.samples
            self._at = Fraction(count, frame.sample_rate)
            yield frame

    def up_to(self, time: Fraction) -> None:
        """Mux the sound before `time`, in seconds."""
        import av

        while self._at < time:
            try:
                frame = next(self._frames, None)
            except (av.InvalidDataError, ValueError) as error:
                raise MediaError(f"the sound of {self._name} is damaged after {float(self._at):.2f} s ({error})") from error
            if frame is None:
                return
            self._out.mux(self._made.encode(frame))

    def rest(self) -> None:
        """Mux what is left."""
        self.up_to(Fraction(10**9))
        self._out.mux(self._made.encode(None))

    def close(self) -> None:
        """Close the sound file."""
        self._media.close()
