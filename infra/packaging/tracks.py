"""Sound tracks of a film: which, in what language, under what name; joined without touching its picture or its own sound."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.errors import MediaError
from infra.media import as_input, open_media
from infra.packaging.process import written
from infra.video.kept import COPIED_SOUND, SOUND_BITS, SOUND_RATE, language_code

KINDS = {"dub": "dub", "original": "original", "description": "visual_impaired+descriptions", "commentary": "comment", "alternate": "0"}  # ffmpeg's dispositions


@dataclass(frozen=True)
class Track:
    """A further sound track: the first sound of a file. language: BCP 47; kind: one of KINDS."""

    path: Path
    language: str
    name: str = ""
    kind: str = "alternate"


def muxed(film: Path, tracks: Sequence[Track], path: Path) -> None:
    """A film as MP4 whose own first sound stays first and default, then the tracks, then its other sounds and subtitles.

    Sound that MP4 holds is copied, other is encoded as AAC; times count from each file's own start. Raises MediaError, DiskFull.
    """
    own, words = _held(film)
    arguments = [part for place in (film, *(track.path for track in tracks)) for part in as_input(place)]
    maps = ["-map", "0:v:0", *(["-map", "0:a:0"] if own else [])]
    options: list[str] = []
    for number, track in enumerate(tracks, 1):
        at = number if own else number - 1
        maps += ["-map", f"{number}:a:0"]
        if sound_of(track.path) not in COPIED_SOUND:
            options += [f"-c:a:{at}", "aac", f"-b:a:{at}", str(SOUND_BITS), f"-ar:a:{at}", str(SOUND_RATE)]
        options += [f"-metadata:s:a:{at}", f"language={language_code(track.language)}", f"-metadata:s:a:{at}", f"handler_name={_line(track.name or track.language)}"]
        options += [f"-disposition:a:{at}", KINDS[track.kind]]
    maps += [part for at in range(1, own) for part in ("-map", f"0:a:{at}")] + [part for at in range(words) for part in ("-map", f"0:s:{at}")]
    written(path, [*arguments, *maps, "-c", "copy", *options, "-map_metadata", "0", "-map_chapters", "0"], ["-movflags", "+faststart", "-f", "mp4"])


def encoded(recording: Path, path: Path) -> None:
    """A recording's first sound as AAC at 48 kHz in its own layout, in MP4. Raises MediaError, DiskFull."""
    sound_of(recording)
    written(path, [*as_input(recording), "-map", "0:a:0", "-vn", "-c:a", "aac", "-b:a", str(SOUND_BITS), "-ar", str(SOUND_RATE)], ["-movflags", "+faststart", "-f", "mp4"])


def as_mov(film: Path, path: Path) -> None:
    """The same packets in QuickTime's container. Raises MediaError, DiskFull."""
    own, words = _held(film)
    maps = ["-map", "0:v:0", *(part for at in range(own) for part in ("-map", f"0:a:{at}")), *(part for at in range(words) for part in ("-map", f"0:s:{at}"))]
    written(path, [*as_input(film), *maps, "-c", "copy", "-map_metadata", "0", "-map_chapters", "0"], ["-movflags", "+faststart", "-f", "mov"])


def sound_of(path: Path) -> str:
    """The codec of a file's first sound. Raises MediaError where it has none."""
    with open_media(path) as media:
        if not media.streams.audio:
            raise MediaError(f"{path.name} holds no sound", code="media.no_audio", next_step="Give a file with a sound stream.")
        context = media.streams.audio[0].codec_context
        return context.name if context else ""


def _held(film: Path) -> tuple[int, int]:
    """How many sounds and subtitles a film has."""
    with open_media(film) as media:
        return len(media.streams.audio), len(media.streams.subtitles)


def _line(text: str) -> str:
    return " ".join(text.split())
