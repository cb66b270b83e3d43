"""Writing a dub: the picture once to H.264, the dub's sound first, everything else of the source as it was."""

from collections.abc import Sequence
from pathlib import Path

from infra.video.film import WINDOW, FilmWriter, Keep
from infra.video.kept import Kept
from infra.video.source import inspect


class DubWriter(FilmWriter):
    """A film (infra/video/film.py) of a source's pictures, redrawn or not, and of new speech.

    The source's first sound stream gives way to the dub (`keep_original` keeps it, last); its other sound, text subtitles, chapters
    and titles stay, and `notes` says what could not. Pictures in the ranges `copy` (first, last; none of them edited) are copied in
    whole groups where the source is H.264, and not encoded again; every picture is written all the same.

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
        window: int = WINDOW,
        keep: Keep | None = None,
        keep_original: bool = False,
        copy: Sequence[tuple[int, int]] = (),
    ) -> None:
        super().__init__(path, inspect(source), sound, language=language, crf=crf, preset=preset, window=window, keep=keep, source=source, copy=copy)
        self._kept = Kept(self._out, source, self.facts.origin, original=keep_original, notes=self.notes)
