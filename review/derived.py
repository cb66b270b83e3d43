"""What a page shows of an artifact beside its bytes: pictures of moments, the sound's shape, cues, boxes about faces. Made once, kept as small files."""

import io
import json
import os
import threading
import zipfile
from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from infra.artifacts import Artifacts
from infra.differences import Line
from infra.errors import DubwrightError
from infra.media import decoded, open_media
from infra.version import source_hash

PEAKS, THUMB = 600, 240  # columns of the sound's shape; pixels of a moment's picture, wide
MOST_BOXES = 4000
FACE = np.dtype(  # a record of tasks/dubbing/tracks.py's file, format DWTRACK1
    [("frame", "<u4"), ("track", "<u4"), ("square", "<f4", 3), ("yaw", "<f4"), ("passes", "u1"), ("spare", "u1", 3), ("landmarks", "<i2", (478, 2))]
)


class Derived:
    """Small files under the cache, by the hash of what they are made of. What cannot be made is None and tried again next time."""

    def __init__(self, artifacts: Artifacts) -> None:
        self.artifacts, self.folder, self.making = artifacts, artifacts.cache / "desk" / source_hash("review/derived.py")[:12], threading.Lock()

    def moment(self, sha256: str, at: float, about: list[int] | None = None) -> bytes | None:
        """A video's picture at a second, as JPEG; of what is about a face (left, top, right, bottom in pixels), where one is given."""
        name = "".join(f"-{edge}" for edge in about or [])
        return self._kept(sha256, f"{round(at * 1000)}{name}.jpg", lambda path: picture_at(path, at, about))

    def face_at(self, sha256: str, kind: str, at: float) -> list[int] | None:
        """The face nearest to a second (`boxes`), or None."""
        known = self.boxes(sha256, kind)
        return [round(edge) for edge in min(known, key=lambda box: abs(box[0] - at))[2:]] if known else None

    def sound(self, sha256: str) -> list[int]:
        """The loudest of each of PEAKS equal parts of a video's sound, 0 to 100; empty without sound."""
        made = self._kept(sha256, "peaks.json", lambda path: json.dumps(peaks(path)).encode())
        return json.loads(made) if made else []

    def cues(self, sha256: str) -> list[dict[str, Any]]:
        """`start`, `end` (seconds), `text` and `speaker` of what a speech artifact says."""
        made = self._kept(sha256, "cues.json", lambda path: json.dumps(cues_of(path)).encode())
        return json.loads(made) if made else []

    def script(self, sha256: str) -> list[Line]:
        """The cues of a speech artifact as they were wanted, also those that are not heard; as they are heard, where a script has no times."""
        made = self._kept(sha256, "script.json", lambda path: json.dumps(script_of(path)).encode())
        return [Line(*row) for row in json.loads(made)] if made else []

    def boxes(self, sha256: str, kind: str) -> list[list[float]]:
        """[seconds, track, left, top, right, bottom] of faces, by a re-dub's tracks or a portrait's landmarks, in pixels."""
        made = self._kept(sha256, "boxes.json", lambda path: json.dumps(boxes_of(path, kind)).encode())
        return json.loads(made) if made else []

    def _kept(self, sha256: str, name: str, make: Callable[[Path], bytes]) -> bytes | None:
        place = self.folder / sha256[:2] / f"{sha256}-{name}"
        try:
            return place.read_bytes()
        except OSError:
            pass
        with self.making:  # one at a time: a page asks for several, and decoding takes all the processor there is
            if place.exists():
                return place.read_bytes()
            try:
                made = make(self.artifacts.path(sha256))
                place.parent.mkdir(parents=True, exist_ok=True)
                fresh = place.with_name(f".incoming-{os.getpid()}-{place.name}")
                fresh.write_bytes(made)
                fresh.replace(place)
            except (DubwrightError, OSError, ValueError, KeyError, zipfile.BadZipFile):
                return None
            return made


def picture_at(path: Path, at: float, about: list[int] | None = None) -> bytes:
    """The picture that is shown at a second, or the last one, THUMB pixels wide; cut to what is about a face. Raises MediaError, ValueError."""
    with open_media(path) as media:
        stream = media.streams.video[0]
        media.seek(max(0, int(at * 1e6)), backward=True)
        shown = None
        for frame in decoded(media, stream):
            if shown is not None and frame.time is not None and frame.time > at:
                break
            shown = frame
        if shown is None:
            raise ValueError("no picture")
        picture, out = shown.to_image(), io.BytesIO()
        if about:
            picture = picture.crop(_around(about, *picture.size))
        picture.resize((THUMB, max(1, round(picture.height * THUMB / picture.width)))).save(out, "JPEG", quality=80)
        return out.getvalue()


def _around(face: list[int], wide: int, high: int) -> tuple[int, int, int, int]:
    """Four by three about a face, half as much again on each side, within the picture."""
    left, top, right, bottom = face
    half = min(max(right - left, bottom - top) * 0.8, high / 2, wide * 3 / 8)
    x, y = (left + right) / 2, (top + bottom) / 2
    x, y = min(max(x, half * 4 / 3), wide - half * 4 / 3), min(max(y, half), high - half)
    return round(x - half * 4 / 3), round(y - half), round(x + half * 4 / 3), round(y + half)


def peaks(path: Path) -> list[int]:
    """The loudest of each of PEAKS equal parts of the first sound stream, 0 to 100. Streams: hours take no more memory than seconds."""
    with open_media(path) as media:
        if not media.streams.audio:
            return []
        stream = media.streams.audio[0]
        length = max(float(media.duration or 0) / 1e6, 0.04)
        found, seen = np.zeros(PEAKS), np.zeros(PEAKS, bool)
        for frame in decoded(media, stream):
            loud = np.abs(frame.to_ndarray().astype(np.float64))
            scale = np.iinfo(frame.to_ndarray().dtype).max if np.issubdtype(frame.to_ndarray().dtype, np.integer) else 1.0
            place = min(PEAKS - 1, int((frame.time or 0.0) / length * PEAKS))
            seen[place] = True
            found[place] = max(found[place], float(loud.max(initial=0)) / scale)
    if found.max() <= 0:
        return []
    filled = np.interp(np.arange(PEAKS), np.flatnonzero(seen), found[seen])  # a short sound has fewer pieces than columns
    return [round(100 * float(value)) for value in filled / filled.max()]


def cues_of(path: Path) -> list[dict[str, Any]]:
    """The cues of a speech artifact (tasks/values.py, `save_speech`), each with its place in the script, and its slot where it has one."""
    told = _told(path)
    heard = [fit for fit in told["fits"] if fit["ends"] > fit["begins"]]
    slots = told["wanted"] or [{"start": fit["start"], "end": fit["end"]} for fit in heard]
    places = list(range(len(told["cues"]))) if told["wanted"] or len(heard) != len(told["cues"]) else [fit["number"] - 1 for fit in heard]
    rows = [{name: cue[name] for name in ("start", "end", "text", "speaker") if name in cue} | {"place": place} for cue, place in zip(told["cues"], places, strict=True)]
    return [row | ({"slot": [slot["start"], slot["end"]]} if slot["end"] else {}) for row, slot in zip_longest(rows, slots[: len(rows)], fillvalue={"end": 0})]


def script_of(path: Path) -> list[Line]:
    """The lines of `Derived.script`, as tasks/catalogue.py compares them."""
    told = _told(path)
    rows = told["wanted"] or [fit for fit in told["fits"] if fit["end"]] or told["cues"]
    return [Line(row["start"], row["end"], row["text"], row.get("speaker", "")) for row in rows]


def _told(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive, archive.open("told.npy") as file:
        found: dict[str, Any] = json.loads(np.lib.format.read_array(file, allow_pickle=False).tobytes())
        return found


def boxes_of(path: Path, kind: str) -> list[list[float]]:
    """Boxes of a track file, thinned to MOST_BOXES, or the one of a portrait's landmarks. Raises ValueError for other files."""
    if kind == "faces.npz":
        with zipfile.ZipFile(path) as archive, archive.open("landmarks.npy") as file:
            marks = np.lib.format.read_array(file, allow_pickle=False)[:, :2]
        return [[0.0, 0, *(round(float(v), 1) for v in (*marks.min(0), *marks.max(0)))]]
    with path.open("rb") as file:
        head = file.read(64)
    if head[:8] != b"DWTRACK1":
        raise ValueError("no track file")
    pictures, faces = (int(n) for n in np.frombuffer(head[8:24], "<u8"))
    if not faces:
        return []
    rows = np.memmap(path, FACE, "r", 64, (faces,))
    times = np.memmap(path, np.dtype([("time", "<f8"), ("faces", "<u8")]), "r", 64 + faces * FACE.itemsize, (pictures,))
    told = []
    for row in rows[:: max(1, -(-faces // MOST_BOXES))]:
        x, y, half = (float(v) / part for v, part in zip(row["square"], (1, 1, 2), strict=True))
        told.append([round(float(times[int(row["frame"])]["time"]), 3), int(row["track"]), round(x - half, 1), round(y - half, 1), round(x + half, 1), round(y + half, 1)])
    return told
