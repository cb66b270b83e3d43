"""Whether an HLS package keeps the rules that players stumble over, read anew from its text and its files. docs/deliverables.md lists them."""

import re
from fractions import Fraction
from pathlib import Path
from typing import Any

from infra.errors import MediaError
from infra.packaging.index import index_of
from infra.packaging.playlist import peak_of, rendition

ATTRIBUTE = re.compile(r'([A-Z0-9-]+)=("[^"]*"|[^,]*)')
ALIGNED = Fraction(1, 1000)  # seconds that renditions' segments may begin apart
TOGETHER = 0.03  # seconds that pictures and sounds may


def faults_of(master: Path) -> list[str]:
    """What is wrong with a package, in words; nothing where it keeps the rules."""
    folder = master.parent
    faults: list[str] = []
    lines = _lines(master, faults)
    tags = [(number, _attributes(line)) for number, line in enumerate(lines) if line.startswith("#EXT-X-STREAM-INF:")]
    media = [_attributes(line) for line in lines if line.startswith("#EXT-X-MEDIA:")]
    if not tags:
        faults.append("the master playlist names no variant")
    sounds = {row["URI"]: _playlist(folder, row["URI"], faults) for row in media if row.get("TYPE") == "AUDIO" and "URI" in row}
    pictures = {}
    for number, row in tags:
        uri = lines[number + 1] if number + 1 < len(lines) else ""
        pictures[uri] = _playlist(folder, uri, faults)
        faults += _variant(folder, uri, row, pictures[uri], [read for read in sounds.values() if read])
    for row in media:
        if row.get("TYPE") == "SUBTITLES":
            _words(folder, row.get("URI", ""), faults)
    return faults + _groups(media, tags) + _together(pictures, sounds)


def _lines(path: Path, faults: list[str]) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        faults.append(f"{path.name} is missing or not UTF-8")
        return []
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines or lines[0] != "#EXTM3U":
        faults.append(f"{path.name} does not begin with #EXTM3U")
    return lines


def _attributes(line: str) -> dict[str, str]:
    return {name: value.strip('"') for name, value in ATTRIBUTE.findall(line.partition(":")[2])}


def _playlist(folder: Path, uri: str, faults: list[str]) -> dict[str, Any]:
    """A media playlist as read: target, file, and (seconds, size, offset) of segments; empty where it cannot be."""
    lines = _lines(folder / uri, faults) if uri and "/" not in uri else []
    if not lines:
        return {}
    told = dict(line.partition(":")[::2] for line in lines if line.startswith("#EXT-X-"))
    for tag, wanted in (("#EXT-X-PLAYLIST-TYPE", "VOD"), ("#EXT-X-ENDLIST", "")):
        if told.get(tag) != wanted:
            faults.append(f"{uri}: {tag} is missing")
    if "#EXT-X-DISCONTINUITY" in told:
        faults.append(f"{uri} has a discontinuity, and its film none")
    if int(told.get("#EXT-X-VERSION", "0")) < 6:
        faults.append(f"{uri}: an initialisation section needs version 6")
    target = int(told.get("#EXT-X-TARGETDURATION", "0"))
    seconds = [Fraction(line[8:].rstrip(",")) for line in lines if line.startswith("#EXTINF:")]
    ranges = [tuple(map(int, line.partition(":")[2].split("@"))) for line in lines if line.startswith("#EXT-X-BYTERANGE:")]
    faults += [f"{uri}: segment {n} lasts {float(one):.3f} s, more than the target duration {target}" for n, one in enumerate(seconds, 1) if int(one + Fraction(1, 2)) > target]
    head = _attributes(next((line for line in lines if line.startswith("#EXT-X-MAP:")), ""))
    read: dict[str, Any] = {"target": target, "seconds": seconds, "file": folder / head.get("URI", ""), "index": None}
    try:
        index = index_of(read["file"])
    except (MediaError, OSError):
        faults.append(f"{uri}: its file cannot be read")
        return {}
    read["index"] = index
    if head.get("BYTERANGE") != f"{index.head}@0" or ranges != [(segment.size, segment.offset) for segment in index.segments]:
        faults.append(f"{uri}: its byte ranges are not those of the file's segments")
    if any(abs(one - segment.seconds) > ALIGNED for one, segment in zip(seconds, index.segments, strict=False)):
        faults.append(f"{uri}: a segment lasts longer or shorter than the playlist says")
    return read


def _variant(folder: Path, uri: str, row: dict[str, str], read: dict[str, Any], sounds: list[dict[str, Any]]) -> list[str]:
    """What the master playlist says of a variant, against the files."""
    if not read:
        return [f"{uri or 'a variant'} cannot be read"]
    faults = [f"{uri}: {name} is missing in the master playlist" for name in ("BANDWIDTH", "AVERAGE-BANDWIDTH", "CODECS", "RESOLUTION", "FRAME-RATE") if name not in row]
    found = rendition(read["file"], read["file"].name)
    if row.get("RESOLUTION") != f"{found.width}x{found.height}":
        faults.append(f"{uri}: RESOLUTION is {row.get('RESOLUTION')}, the pictures are {found.width}x{found.height}")
    if found.codec not in row.get("CODECS", "").split(","):
        faults.append(f"{uri}: CODECS does not name {found.codec}")
    peak = peak_of(found.index, read["target"]) + max((peak_of(sound["index"], read["target"]) for sound in sounds), default=0)
    if int(row.get("BANDWIDTH", "0")) < peak:
        faults.append(f"{uri}: BANDWIDTH is {row.get('BANDWIDTH')}, the file takes up to {peak}")
    return faults + [f"{uri}: segment {n} does not begin with a closed group" for n, segment in enumerate(found.index.segments, 1) if not segment.closed]


def _words(folder: Path, uri: str, faults: list[str]) -> None:
    lines = _lines(folder / uri, faults)
    files = [line for line in lines if not line.startswith("#")]
    if lines and (len(files) != 1 or not (folder / files[0]).is_file() or not (folder / files[0]).read_text(encoding="utf-8").startswith("WEBVTT")):
        faults.append(f"{uri}: its WebVTT file is missing")


def _groups(media: list[dict[str, str]], tags: list[tuple[int, dict[str, str]]]) -> list[str]:
    faults = []
    for kind, name in (("AUDIO", "AUDIO"), ("SUBTITLES", "SUBTITLES")):
        rows = [row for row in media if row.get("TYPE") == kind]
        named = [row.get("NAME", "") for row in rows]
        if len(set(named)) < len(named) or "" in named:
            faults.append(f"two renditions of {kind} share a name, or one has none")
        if kind == "AUDIO" and rows and [row.get("DEFAULT") for row in rows].count("YES") != 1:
            faults.append("not exactly one sound is the default")
        groups = {row.get("GROUP-ID") for row in rows}
        faults += [f"a variant names the group {row[name]}, which is not there" for _, row in tags if name in row and row[name] not in groups]
    return faults


def _together(pictures: dict[str, dict[str, Any]], sounds: dict[str, dict[str, Any]]) -> list[str]:
    """Renditions must begin their segments at the same times, and share one target duration (RFC 8216, 6.2.4)."""
    every = [read for read in (*pictures.values(), *sounds.values()) if read]
    faults = ["playlists do not share one target duration"] if len({read["target"] for read in every}) > 1 else []
    starts = [[segment.start for segment in read["index"].segments] for read in pictures.values() if read]
    if any(len(one) != len(starts[0]) or any(abs(a - b) > ALIGNED for a, b in zip(one, starts[0], strict=True)) for one in starts[1:]):
        faults.append("segments of the renditions do not begin at the same times")
    begun = [float(read["index"].segments[0].start) for read in every]
    if begun and max(begun) - min(begun) > TOGETHER:
        faults.append(f"renditions begin {max(begun) - min(begun):.3f} s apart, which only an edit list would mend")
    return faults
