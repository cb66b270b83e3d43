"""HLS playlists (RFC 8216; codecs by RFC 6381): written from the files themselves, so that what they say is what is there."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from infra.errors import MediaError
from infra.media import open_media
from infra.packaging.index import Index, index_of

GROUP, WORDS = "sound", "words"
AAC = {"LC": "mp4a.40.2", "HE-AAC": "mp4a.40.5", "HE-AACv2": "mp4a.40.29"}


@dataclass(frozen=True)
class Rendition:
    """A file of segments and what the master playlist says of it. language, label: of a sound."""

    name: str
    index: Index
    codec: str
    width: int = 0
    height: int = 0
    fps: Fraction = Fraction(0)
    channels: int = 0
    language: str = ""
    label: str = ""

    @property
    def playlist(self) -> str:
        """The name of its own playlist."""
        return f"{self.name.rpartition('.')[0]}.m3u8"


def rendition(path: Path, name: str, *, fps: Fraction = Fraction(0), language: str = "", label: str = "") -> Rendition:
    """What a file of segments is. fps: the film's, where the file itself cannot tell. Raises MediaError."""
    index = index_of(path)
    with open_media(path) as media:
        stream = media.streams[0]
        context = stream.codec_context
        if stream.type == "video":
            return Rendition(name, index, _avc(bytes(context.extradata or b""), path.name), context.width, context.height, fps)
        return Rendition(name, index, AAC.get(str(context.profile), "mp4a.40.2"), channels=context.channels, language=language, label=label)


def _avc(record: bytes, name: str) -> str:
    """RFC 6381's name of an H.264 stream by its decoder configuration (ISO/IEC 14496-15, 5.3.3.1)."""
    if len(record) < 4 or record[0] != 1:
        raise MediaError(f"{name} holds no H.264", code="media.unreadable")
    return f"avc1.{record[1:4].hex()}"


def target_of(renditions: Sequence[Rendition]) -> int:
    """The target duration that all playlists share: no segment is longer, once rounded (RFC 8216, 4.3.3.1)."""
    return max(1, *(int(segment.seconds + Fraction(1, 2)) for one in renditions for segment in one.index.segments))


def media_playlist(one: Rendition, target: int) -> str:
    """The playlist of a rendition: byte ranges of its one file."""
    rows = ["#EXTM3U", "#EXT-X-VERSION:7", f"#EXT-X-TARGETDURATION:{target}", "#EXT-X-MEDIA-SEQUENCE:0", "#EXT-X-PLAYLIST-TYPE:VOD", "#EXT-X-INDEPENDENT-SEGMENTS"]
    rows.append(f'#EXT-X-MAP:URI="{one.name}",BYTERANGE="{one.index.head}@0"')
    for segment in one.index.segments:
        rows += [f"#EXTINF:{float(segment.seconds):.6f},", f"#EXT-X-BYTERANGE:{segment.size}@{segment.offset}", one.name]
    return "\n".join([*rows, "#EXT-X-ENDLIST", ""])


def words_playlist(name: str, seconds: float) -> str:
    """The playlist of captions: one WebVTT file for the whole film."""
    rows = ["#EXTM3U", "#EXT-X-VERSION:7", f"#EXT-X-TARGETDURATION:{max(1, round(seconds))}", "#EXT-X-MEDIA-SEQUENCE:0", "#EXT-X-PLAYLIST-TYPE:VOD"]
    return "\n".join([*rows, f"#EXTINF:{seconds:.6f},", name, "#EXT-X-ENDLIST", ""])


def peak_of(index: Index, target: int) -> int:
    """The largest rate, in bits a second, of contiguous segments that last half to one and a half target durations (RFC 8216, 4.1)."""
    best, segments = 0.0, index.segments
    for first in range(len(segments)):
        seconds, size = Fraction(0), 0
        for segment in segments[first:]:
            seconds, size = seconds + segment.seconds, size + segment.size
            if 2 * seconds > 3 * target:
                break
            if 2 * seconds >= target:
                best = max(best, float(8 * size / seconds))
    return round(best or average_of(index))


def average_of(index: Index) -> int:
    """The rate of all segments together, in bits a second."""
    return round(float(8 * sum(segment.size for segment in index.segments) / index.seconds)) if index.seconds else 0


def master(pictures: Sequence[Rendition], sounds: Sequence[Rendition], words: str, language: str, label: str, target: int) -> str:
    """The master playlist: one group of sounds, the first the default; captions in the dub's language; a variant for each height, the middle first.

    words: the captions' playlist; empty for none.
    """
    rows = ["#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-INDEPENDENT-SEGMENTS"]
    for number, one in enumerate(sounds):
        default = "YES" if number == 0 else "NO"
        tag = f',LANGUAGE="{_quoted(one.language)}"' if one.language else ""
        rows.append(f'#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="{GROUP}",NAME="{_quoted(one.label)}"{tag},DEFAULT={default},AUTOSELECT=YES,CHANNELS="{one.channels}",URI="{one.playlist}"')
    if words:
        rows.append(f'#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="{WORDS}",NAME="{_quoted(label)}",LANGUAGE="{_quoted(language)}",DEFAULT=NO,AUTOSELECT=YES,FORCED=NO,URI="{words}"')
    groups = (f',AUDIO="{GROUP}"' if sounds else "") + (f',SUBTITLES="{WORDS}"' if words else "")
    loud = max((peak_of(one.index, target) for one in sounds), default=0), max((average_of(one.index) for one in sounds), default=0)
    heard = list(dict.fromkeys(one.codec for one in sounds))
    for one in _middle_first(pictures):
        codecs = ",".join([one.codec, *heard])
        rows.append(
            f'#EXT-X-STREAM-INF:BANDWIDTH={peak_of(one.index, target) + loud[0]},AVERAGE-BANDWIDTH={average_of(one.index) + loud[1]},CODECS="{codecs}",'
            f"RESOLUTION={one.width}x{one.height},FRAME-RATE={float(one.fps):.3f}{groups}"
        )
        rows.append(one.playlist)
    return "\n".join([*rows, ""])


def _middle_first(pictures: Sequence[Rendition]) -> list[Rendition]:
    """Players begin with the first variant: neither the largest nor the smallest."""
    ordered = sorted(pictures, key=lambda one: -one.height)
    middle = len(ordered) // 2
    return [ordered[middle], *ordered[:middle], *ordered[middle + 1 :]]


def _quoted(text: str) -> str:
    """A quoted string's content: no line ends, no quotes (RFC 8216, 4.2)."""
    return " ".join(text.replace('"', "'").split())
