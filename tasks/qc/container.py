"""What a file's container and streams say of themselves, against what players of H.264 in MP4 and MOV expect. Nothing is decoded but one picture."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from infra.errors import MediaError
from infra.media import open_media
from infra.packaging.index import boxes_of

PROFILES = {66: "Baseline", 77: "Main", 88: "Extended", 100: "High"}
LARGEST_LEVEL = 52  # 5.2: 4096 x 2160 at 60
KINDS = ("mov", "mp4")  # as the guard names the demuxer


@dataclass(frozen=True)
class Container:
    """A file's outside: kind, codecs, size, rate, and whether it can be played while it is fetched (its index before its samples)."""

    kind: str
    size: int
    seconds: float
    video: str
    profile: int
    level: int
    width: int
    height: int
    pixels: str
    fps: Fraction
    colour: tuple[int, int, int]
    sounds: tuple[str, ...]
    words: int
    quick: bool
    video_seconds: float


def look(path: Path) -> Container:
    """Read it. Raises MediaError where the file holds no picture or cannot be opened."""
    with open_media(path) as media:
        if not media.streams.video:
            raise MediaError(f"{path.name} holds no picture", code="media.no_video", next_step="Give a file with a video stream.")
        stream = media.streams.video[0]
        context = stream.codec_context
        record = bytes(context.extradata or b"")
        told = (record[1], record[3]) if len(record) > 3 and record[0] == 1 else (0, 0)
        return Container(
            media.format.name, path.stat().st_size, float(media.duration or 0) / 1e6, context.name, *told, context.width, context.height, context.pix_fmt or "",
            Fraction(stream.average_rate or 0), (context.color_primaries or 2, context.color_trc or 2, context.colorspace if isinstance(context.colorspace, int) else 2),
            tuple(sound.codec_context.name for sound in media.streams.audio if sound.codec_context), len(media.streams.subtitles), _quick(path),
            float((stream.duration or 0) * (stream.time_base or 0)),
        )  # fmt: skip


def _quick(path: Path) -> bool:
    with path.open("rb") as file:
        kinds = [kind for kind, _, _ in boxes_of(file, path.stat().st_size)]
    return b"moov" in kinds and (b"mdat" not in kinds or kinds.index(b"moov") < kinds.index(b"mdat"))


def faults_of(found: Container) -> list[str]:
    """What of it some player or shop would refuse, in words."""
    faults = []
    if found.kind not in KINDS:
        faults.append(f"the container is {found.kind}, not MP4 or MOV")
    elif not found.quick:
        faults.append("the index stands behind the samples: it cannot be played while it is fetched")
    if found.video != "h264":
        faults.append(f"the picture is {found.video}, not H.264")
    elif found.profile not in PROFILES or found.level > LARGEST_LEVEL:
        faults.append(f"H.264 of profile {found.profile} and level {found.level / 10:.1f}, beyond High at {LARGEST_LEVEL / 10:.1f}")
    if found.pixels not in ("yuv420p", "yuvj420p"):
        faults.append(f"pixels are {found.pixels}, not 8 bits of 4:2:0")
    if found.width % 2 or found.height % 2:
        faults.append(f"the size {found.width}x{found.height} is odd")
    if not found.sounds:
        faults.append("there is no sound")
    odd = sorted({name for name in found.sounds if name not in ("aac", "ac3", "eac3")})
    return faults + ([f"sound is {', '.join(odd)}, which not every player plays"] if odd else [])
