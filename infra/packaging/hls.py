"""Renditions of a film for HLS (RFC 8216): pictures in several heights with closed groups that begin at the same times, and each sound by itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from infra.media import as_input, open_media
from infra.packaging.process import written
from infra.video.kept import SOUND_BITS, SOUND_RATE

LADDER = (2160, 1440, 1080, 720, 480, 360)  # heights where none are asked for
CAPS = ((360, 800), (480, 1600), (720, 3500), (1080, 7000), (1440, 12000), (2160, 20000))  # height, and kbit/s that pictures of it may take at most
FRAGMENTS = ["-f", "hls", "-hls_playlist_type", "vod", "-hls_segment_type", "fmp4", "-hls_flags", "single_file"]


@dataclass(frozen=True)
class Ladder:
    """How pictures are encoded: seconds of a segment, x264's quality and preset, and threads."""

    segment: int = 6
    crf: int = 21
    preset: str = "veryfast"
    threads: int = 2

    def pictures(self, film: Path, height: int, fps: Fraction, path: Path) -> None:
        """A film's pictures at a height, as one fragmented MP4 of segments. Raises MediaError, DiskFull.

        Pictures keep their times, so a group begins at the same picture in every rendition. The rate is bounded over two seconds. No B-pictures: with
        them the first is stored later than time 0, which an edit list mends, and players in browsers pass over edit lists: the lips would be late.
        """
        cap = cap_of(height)
        encode = [
            "-map", "0:v:0", "-vf", f"scale=-2:{height}:flags=bicubic+accurate_rnd", "-c:v", "libx264", "-preset", self.preset, "-crf", str(self.crf), "-pix_fmt", "yuv420p",
            "-maxrate", f"{cap}k", "-bufsize", f"{2 * cap}k", "-threads", str(self.threads), "-g", str(round(fps * self.segment) + 1), "-sc_threshold", "0",
            "-bf", "0", "-forced-idr", "1", "-force_key_frames", f"expr:gte(t,n_forced*{self.segment})", "-fps_mode", "passthrough", "-map_metadata", "-1", "-map_chapters", "-1",
        ]  # fmt: skip
        self._fragments(film, encode, path)

    def sound(self, film: Path, number: int, path: Path) -> None:
        """A film's sound number `number`, copied where it is AAC. Raises MediaError, DiskFull."""
        with open_media(film) as media:
            copied = media.streams.audio[number].codec_context.name == "aac"
        how = ["copy"] if copied else ["aac", "-b:a", str(SOUND_BITS), "-ar", str(SOUND_RATE), "-ac", "2"]
        self._fragments(film, ["-map", f"0:a:{number}", "-c:a", *how, "-map_metadata", "-1", "-map_chapters", "-1"], path)

    def _fragments(self, film: Path, options: Sequence[str], path: Path) -> None:
        """ffmpeg's own playlist is left behind: signing moves the segments (infra/packaging/index.py)."""
        pieces, playlist = path.with_name(f"fragments-{path.name}"), path.with_name(f"{path.name}.m3u8")
        try:
            written(playlist, [*as_input(film), *options], [*FRAGMENTS, "-hls_time", str(self.segment), "-hls_segment_filename", str(pieces.absolute())])
            pieces.replace(path)
        finally:
            pieces.unlink(missing_ok=True)
            playlist.unlink(missing_ok=True)


def heights_of(asked: Sequence[int], height: int) -> list[int]:
    """The heights that are made, the largest first: of those that were asked for, or the usual ones, none above the source's own, which is always made."""
    own = height - height % 2
    return sorted({own, *(one for one in (asked or LADDER) if one < own)}, reverse=True)


def cap_of(height: int) -> int:
    """Kilobits a second that pictures of a height may take."""
    return next((most for tall, most in CAPS if height <= tall), CAPS[-1][1])
