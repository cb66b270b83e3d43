"""Writing a dub: the picture once to H.264, the dub's sound first, everything else of the source as it was.

Pictures keep their own times, so any frame rate and variable rates work; sound time 0 is the container's start.
"""

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

from infra.errors import DiskFull, MediaError
from infra.media import decoded, open_media
from infra.video.kept import Kept, encoded_sound, language_code
from infra.video.picture import Picture
from infra.video.picture_track import PictureTrack, ticks_per_second
from infra.video.source import inspect

AHEAD = Fraction(1, 2)  # seconds that sound is muxed before the picture


class DubWriter:
    """Pictures and a sound file to MP4: H.264 yuv420p in the source's colours and aspect, AAC 48 kHz, faststart.

    Odd widths and heights repeat their last column or row, as 4:2:0 has none. The sound is never cut. The source's first sound
    stream gives way to the dub (`keep_original` keeps it, last); its other sound, text subtitles, chapters and titles stay, and
    `notes` says what could not. Pictures in the ranges `copy` (first, last; none of them edited) are copied in whole groups where
    the source is H.264, and not encoded again; every picture is written all the same.

    Use as a context manager: leaving it finishes the file under its name, or raises MediaError or DiskFull and leaves nothing.
    Memory does not grow with length, but for MP4's own indexes (about 15 MiB an hour written, 20 read).
    """

    def __init__(
        self,
        path: Path,
        source: Path,
        sound: Path | None,
        *,
        language: str,
        crf: int,
        preset: str,
        threads: int,
        keep_original: bool = False,
        copy: Sequence[tuple[int, int]] = (),
    ) -> None:
        import av

        self.path, self.frames, self.facts = path, 0, inspect(source)
        self.notes: list[str] = list(self.facts.notes)
        self.fresh = path.with_name(f".incoming-{path.name}")
        ticks = ticks_per_second(self.facts)
        options = {"movflags": "+faststart", "movie_timescale": str(ticks)}
        self._out = av.open(str(self.fresh.absolute()), "w", format="mp4", container_options=options)
        self._track = PictureTrack(self._out, source, self.facts, ticks, crf=crf, preset=preset, threads=threads, copy=copy, notes=self.notes)
        self._sound = None if sound is None else _Spoken(self._out, sound, language)
        self._kept = Kept(self._out, source, self.facts.origin, original=keep_original, notes=self.notes)

    def write(self, picture: Picture) -> None:
        """Add one picture at its own time, with the sound up to it. Raises MediaError and DiskFull."""
        with self._telling():
            self._track.write(picture)
            if self._sound:
                self._sound.up_to(picture.time + AHEAD)
            self._kept.up_to(picture.time + AHEAD)
        self.frames += 1

    def _finish(self) -> None:
        if not self.frames:
            raise MediaError(f"no picture was written to {self.path.name}", code="media.unwritable", next_step="Give a video with pictures.")
        with self._telling():
            self._track.finish()
            if self._sound:
                self._sound.rest()
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

    def __enter__(self) -> "DubWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._kept.close()
            if self._sound:
                self._sound.close()
            with suppress(Exception):  # what failed has been told; this closes the file
                self._out.close()
            self.fresh.unlink(missing_ok=True)


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


