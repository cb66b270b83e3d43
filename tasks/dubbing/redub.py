"""Re-dub: a video's speaker is found and gets new lips; everything else of it stays. The stages of jobs that have a video.

follow: shots and face tracks. cast: who speaks, which pictures are redrawn and why others are not, and what each track's face is
redrawn from. render: streamed from the source's own pictures to one encode, window by window. Nothing here grows with a video's length.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from itertools import dropwhile, islice, repeat
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from infra.memory import give_back, let_go
from infra.settings import Settings
from infra.version import source_hash
from infra.video import DubWriter, Picture, VideoFacts, inspect, pictures
from infra.video.film import WINDOW
from models import checkpoints
from models.ahead import ahead
from models.lipmemory.align import NEAR, rigid, steadied
from models.lipmemory.compose import Reference
from models.lipmemory.engine import BATCH, EMPHASIS, LipEngine, Seen, heard
from models.types import Speech
from tasks import marking, progress, sound
from tasks.dubbing.cast import Wish, choose
from tasks.dubbing.references import References, find_references
from tasks.dubbing.spans import QUIET, Span, plan_spans, strengths, told
from tasks.dubbing.speakers import Lane, Part, Told, Turn, lanes_of, parts_of, several, turns_of, untouched, whose
from tasks.dubbing.tracks import Face, TrackFile, follow
from tasks.engines import engine
from tasks.ladder import REFERENCES
from tasks.prepare import reading_of
from tasks.scripts import open_cues
from tasks.speech import SpeechTrack
from tasks.stages import Take, Work, keep
from tasks.values import load_tree, save_tree
from tasks.windows import Windows, pictures_of, rendered

CODE = ("models/lipmemory", "models/coherence", "models/faces", "kernels", "infra/video", "tasks/dubbing")


def track(work: Work) -> None:
    """Fill the job's shots and face tracks. Raises MediaError."""
    video = work.inputs["video"]
    asks = {"code": source_hash("models/faces", "tasks/dubbing/tracks.py", "infra/video"), "video": work.spec["inputs"]["video"]["sha256"]}
    work.made["tracks"] = keep(work, "tracks", "tracks.bin", asks, work.sources("video"), lambda path: follow(_told(work, "tracks", video), path))
    work.tracks = TrackFile.open(work.made["tracks"].path)


def _told(work: Work, stage: str, video: Path) -> Iterator[Picture]:
    total = inspect(video).frames
    for number, picture in enumerate(pictures(video), 1):
        yield picture
        if number % 25 == 0:
            progress.tell(work.name, stage, number, max(total, number))


def cast(work: Work) -> None:
    """Fill the job's cast: which face speaks, what becomes of every picture, and each speaking track's references. Raises InputError."""
    assert work.tracks is not None and work.speech is not None
    asks = {
        "code": source_hash(*CODE, "models/syncnet"),
        "scorer": checkpoints.sha256("syncnet", "compact"),
        "video": work.spec["inputs"]["video"]["sha256"],  # its sound is in no other result
        "tracks": work.made["tracks"].sha256,
        "face": work.spec["dubbing"]["face"],
        "picture": work.spec["inputs"].get("face", {}).get("sha256"),
        "speech": work.made["speech"].sha256 if work.spec["dubbing"]["quiet_shots"] == "copy" or several(_turns(work), _faces(work)) else None,
    }
    if _faces(work) or "listeners" in work.spec["dubbing"]:
        asks["faces"] = [work.spec["dubbing"].get(name) for name in ("faces", "listeners")]
        asks["pictures"] = [facts["sha256"] for role, facts in sorted(work.spec["inputs"].items()) if role.startswith("face.")]
    pictures = [role for role in work.spec["inputs"] if role.startswith("face.")]
    sources = work.sources("video", "tracks", "face", *pictures)
    work.made["cast"] = keep(work, "cast", "cast.json", asks, sources, lambda path: save_tree(path, _cast(work)))
    work.cast = load_tree(work.made["cast"].path)
    tracks, redrawn = work.tracks, [span for lane in lanes_in(work.cast) for span in lane.spans]
    asks = {"code": source_hash(*CODE), "rungs": REFERENCES} | {  # two videos may well have equal casts
        "video": work.spec["inputs"]["video"]["sha256"], "tracks": work.made["tracks"].sha256, "cast": work.made["cast"].sha256,
    }  # fmt: skip
    work.made["references"] = keep(
        work, "references", "references.npz", asks, work.sources("video", "tracks", "cast"),
        lambda path: find_references(work.inputs["video"], tracks, redrawn, path, REFERENCES),
    )  # fmt: skip


def _cast(work: Work) -> dict[str, Any]:
    assert work.tracks is not None and work.speech is not None
    turns, video = _turns(work), work.inputs["video"]
    quiet = work.speech.speech.activity if work.spec["dubbing"]["quiet_shots"] == "copy" else None
    wish = _wish(work, work.spec["dubbing"]["face"], "face")
    asked = several(turns, _faces(work))
    parts = parts_of(work.tracks, video, turns, _told_faces(work), wish) if asked else [Part((), choose(work.tracks, video, wish))]
    lanes: list[Lane] = []
    if asked and (len(parts) != 1 or -1 in whose(turns, parts)):
        lanes, lead = lanes_of(work.tracks, turns, parts, quiet, still=work.spec["dubbing"].get("listeners") == "still")
    else:  # one person says all of it
        lead = plan_spans(work.tracks, parts[0].cast.tracks, quiet)
    return {
        "tracks": sorted({track for part in parts for track in part.cast.tracks}), "how": "; ".join(part.words for part in parts) or "nobody on screen speaks",
        "ambiguous": "; ".join(part.cast.ambiguous for part in parts if part.cast.ambiguous), "spans": [vars(span) for span in lead],
        "lanes": [{"spans": [vars(span) for span in lane.spans], "times": lane.times} for lane in lanes],
        "notes": [*(part.words for part in parts if part.speakers), *told(untouched(lanes, lead), work.tracks.times)], "frames": work.tracks.frames,
    }  # fmt: skip


def _faces(work: Work) -> dict[str, Any]:
    faces: dict[str, Any] = work.spec["dubbing"].get("faces", {})
    return faces


def _told_faces(work: Work) -> dict[str, Told]:
    return {name: _plain(face) if isinstance(face, str) else _wish(work, face, face.get("picture", "")) or "sound" for name, face in _faces(work).items()}


def _plain(told: str) -> Literal["off", "sound"]:
    return "off" if told == "off" else "sound"


def _turns(work: Work) -> tuple[Turn, ...]:
    """Who speaks when: by the script, or by a recording's transcript."""
    assert work.speech is not None
    transcript = open_cues(work.inputs["transcript"], reading_of(work.spec)).cues if "transcript" in work.inputs else ()
    return turns_of(work.speech, transcript)


def lanes_in(cast: dict[str, Any]) -> list[Lane]:
    """The people whose lips a cast redraws."""
    if not cast["lanes"]:
        return [Lane([Span(**span) for span in cast["spans"]])]
    return [Lane([Span(**span) for span in lane["spans"]], tuple((first, last) for first, last in lane["times"])) for lane in cast["lanes"]]


def redrawn_in(cast: dict[str, Any]) -> list[int]:
    """The numbers of the tracks whose faces a cast redraws."""
    return sorted({span.track for lane in lanes_in(cast) for span in lane.spans if span.track is not None})


def _wish(work: Work, face: dict[str, Any] | None, role: str) -> Wish | None:
    """What the manifest says of a face; role: the input that a picture of it is."""
    face = face or {}
    if role in work.inputs:
        return Wish(picture=work.inputs[role])
    if face.get("tracks"):
        return Wish(tracks=tuple(face["tracks"]))
    if face.get("point"):
        return Wish(point=tuple(face["point"]), at=face["at"])
    if face.get("boxes"):
        return Wish(boxes=tuple((box["at"], *box["box"]) for box in face["boxes"]))
    return None


def render(work: Work, take: Take) -> None:
    """Fill the take's video. Its rung says which of each track's references its face is redrawn from, and how strongly."""
    assert work.tracks is not None and work.cast is not None
    made, settings = engine(take.rung.engine, work.lease.preset), work.settings
    emphasis = EMPHASIS * take.rung.emphasis
    facts = inspect(work.inputs["video"])
    asks = {
        "code": source_hash(*CODE, "tasks/stages.py", "tasks/windows.py"),
        "weights": list(made.weights),
        "video": work.spec["inputs"]["video"]["sha256"],
        "tracks": work.made["tracks"].sha256,
        "cast": work.made["cast"].sha256,
        "references": work.made["references"].sha256,
        "speech": work.made["speech"].sha256,
        "sound": work.made["sound"].sha256 if "sound" in work.made else None,
        "take": [take.rung.start, emphasis],
        "dubbing": work.spec["dubbing"],
        "encode": [settings.video_crf, settings.video_preset, pictures_of(work)],
        "language": work.lease.locale,
        "marks": marking.asks_of(work),
        "watermark": (payload := marking.payload_of(work, take)),
    }
    sources = work.sources("video", "speech", "sound", "tracks", "cast", "references")
    take.windows = ((0, work.tracks.frames, 0.0),)

    def words(write: Callable[[], list[str]]) -> dict[str, Any]:
        """What the writer could not keep of the source, kept before the video is: so it is there whenever the video is."""
        return load_tree(keep(work, "kept", "kept.json", asks, work.sources("video"), lambda path: save_tree(path, {"notes": write()})).path)

    windows = _windows(work, asks, sources)

    def write(path: Path) -> None:
        notes = _write(work, take, emphasis, windows, path, payload)
        words(lambda: notes)

    take.made["render"] = rendered(work, take, asks, sources, windows, write)
    again = partial(_write, work, take, emphasis, _windows(work, asks, sources), work.folder / "again.mp4", payload)  # only where somebody removed them
    kept = words(again)
    take.parameters = {"reference": take.rung.start + 1, "emphasis": round(emphasis, 3), "frames": work.tracks.frames, "fps": round(float(facts.fps), 3), "watermark": f"{payload:016x}", "redrawn": redrawn_in(work.cast)}
    take.parameters |= {name: value for name, value in work.spec["dubbing"].items() if name not in ("face", "faces")}
    take.parameters |= sound.shown(work)
    take.notes = (*kept["notes"], *work.cast["notes"], *sound.notes(work))


def _windows(work: Work, asks: dict[str, Any], sources: tuple[tuple[str, str], ...]) -> Windows:
    """The windows of a render: each hangs on the cast, on what is said while its pictures are shown, and where the last one is held on how long."""
    assert work.tracks is not None and work.cast is not None and work.speech is not None
    tracks, speech = work.tracks, work.speech.speech
    times = times_of(tracks, speech.seconds) if work.spec["dubbing"]["length"] == "hold" else tracks.times
    digest = heard(speech, times)

    def own(first: int, last: int) -> list[Any]:
        return [digest(first, last), speech.seconds if last > tracks.frames else None]

    shared = {name: asks[name] for name in asks if name not in ("speech", "sound", "language")}
    copied = any(span["why"] == QUIET for span in work.cast["spans"]) and not work.spec.get("label")
    return Windows(work, shared, own, len(times), sources, whole=not copied)


def times_of(tracks: TrackFile, seconds: float) -> np.ndarray:
    """Times of a video's pictures, and of those that follow where the last one is held until `seconds`; two more than there may be."""
    rate = (tracks.frames - 1) / max(1e-6, float(tracks.times[-1] - tracks.times[0])) if tracks.frames > 1 else 25.0
    beyond = max(0, int((seconds - float(tracks.times[-1])) * rate) + 2)
    return np.concatenate([tracks.times, tracks.times[-1] + np.arange(1, beyond + 1) / rate])


def _write(work: Work, take: Take, emphasis: float, windows: Windows, path: Path, payload: int) -> list[str]:
    assert work.tracks is not None and work.cast is not None and work.speech is not None
    total = max(work.tracks.frames, 1)
    notes: list[str] = []
    film = Film(work.inputs["video"], work.tracks, [Span(**span) for span in work.cast["spans"]], work.made["references"].path, lanes_in(work.cast))
    facts, label = inspect(work.inputs["video"]), work.spec.get("label", "")
    made = dub(
        film, work.speech, path, work.settings, engine(take.rung.engine, work.lease.preset), language=work.lease.locale, rung=take.rung.start,
        emphasis=emphasis, notes=notes, hold=work.spec["dubbing"]["length"] == "hold", keep_original=work.spec["dubbing"]["original_sound"] == "keep",
        windows=windows, marked=marking.on_pictures(payload, label, facts.height, facts.width), copy=not label,
        sound=work.made["sound"].path if "sound" in work.made else None,
    )  # fmt: skip
    number = 0
    for number in made:
        if number % 10 == 0 or number % windows.size == 1:
            progress.tell(work.name, "render", number, max(total, number))
    windows.end(number)
    return notes


@dataclass(frozen=True)
class Film:
    """A video with its face tracks, what becomes of each picture, the references that faces are redrawn from, and the people who are
    redrawn where they are several.
    """

    video: Path
    tracks: TrackFile
    spans: list[Span]
    references: Path
    lanes: Sequence[Lane] = ()


def dub(
    film: Film, speech: SpeechTrack, path: Path, settings: Settings, made: LipEngine, *, language: str, rung: int = 0,
    emphasis: float = EMPHASIS, notes: list[str], hold: bool = False, keep_original: bool = False, windows: Windows | None = None,
    marked: Callable[[Picture], Picture] = lambda picture: picture, copy: bool = True, sound: Path | None = None,
) -> Iterator[int]:  # fmt: skip
    """Write a film's re-dub; the number of pictures that are done comes after each, and once more at the end. The file is there when all are.

    rung: which of a track's references. hold: the last picture stands while speech runs on. notes: what the writer could not keep is
    added. windows: those that were kept before are taken, and new ones kept. marked: what is done to every picture last of all, over the
    whole of it. copy: quiet shots may be copied, which leaves them as they are. sound: that is delivered, where it is not the speech alone. Raises MediaError and DiskFull, and what keeping raises.
    """
    copied = [(span.first, span.last) for span in film.spans if span.why == QUIET and copy]
    spoken = path.with_suffix(".wav")
    if sound is None:
        speech.write(spoken)
    writer = DubWriter(
        path, film.video, sound or spoken, language=language, crf=settings.video_crf, preset=settings.video_preset, keep_original=keep_original, copy=copied,
        window=windows.size if windows else WINDOW, keep=windows.keep if windows else None,
    )  # fmt: skip
    until = speech.speech.seconds if hold else 0.0
    with writer as out, References(film.references, rung) as references:
        for first, last in windows.missing(out) if windows else [(0, None)]:
            redrawn = Redrawn(made, film.tracks, film.lanes or [Lane(film.spans)], references, speech.speech, emphasis)
            several = _held(pictures(film.video, min(first, film.tracks.frames - 1)), writer.facts, until)
            several = islice(dropwhile(lambda picture, first=first: picture.number < first, several), None if last is None else last - first)  # type: ignore[misc]
            for number, picture in enumerate(redrawn.of(several, settings.threads, first, writer.window), first + 1):
                out.write(marked(picture))
                yield number
                if number % writer.window == 0:
                    give_back()  # pieces of many sizes, by several threads: the C library would keep more and more of them
        yield out.frames
    let_go()
    spoken.unlink(missing_ok=True)
    notes += writer.notes


def _held(several: Iterator[Picture], facts: VideoFacts, seconds: float) -> Iterator[Picture]:
    """The pictures, the last one again and again until `seconds`."""
    last = None
    for last in several:
        yield last
    step = 1 / (facts.fps or Fraction(25))
    while last is not None and last.time + step < seconds:
        last = replace(last, number=last.number + 1, time=last.time + step)
        yield last


@dataclass(frozen=True)
class Lips:
    """A face that is redrawn in a picture, from which reference, how strongly, its steady points, what it says at that time."""

    face: Face
    reference: Reference | None
    strength: float
    still: np.ndarray | None
    feature: Tensor


Shown = tuple[Face | None, Reference | None, float]


class Redrawn:
    """Pictures with the lips of what is said at their times; networks work ahead of the encoder on groups of pictures."""

    def __init__(self, made: LipEngine, tracks: TrackFile, lanes: Sequence[Lane], references: References, speech: Speech, emphasis: float) -> None:
        self.made, self.tracks, self.references, self.emphasis = made, tracks, references, emphasis
        rate = (tracks.frames - 1) / max(1e-6, float(tracks.times[-1] - tracks.times[0])) if tracks.frames > 1 else 25.0
        self.lanes = [(lane.spans, strengths(lane.spans, tracks.shots, rate), lane.hears(speech)) for lane in lanes]
        self.seconds = speech.seconds

    def of(self, several: Iterator[Picture], threads: int, first: int = 0, window: int = WINDOW) -> Iterator[Picture]:
        """The pictures, one for one; the first is number `first`, where a window begins. None is drawn with pictures of another window."""
        for group in ahead(self._redrawn, self._groups(several, first, window), threads):
            yield from group

    def _groups(self, several: Iterator[Picture], first: int, window: int) -> Iterator[list[tuple[Picture, list[Lips]]]]:
        times = times_of(self.tracks, self.seconds)
        people = zip(*(self._lips(spans, strong, heard, times, first) for spans, strong, heard in self.lanes), strict=False) if self.lanes else repeat(())
        rows = zip(several, people, strict=False)
        while group := [(picture, [one for one in lips if one is not None]) for picture, lips in islice(rows, min(BATCH, window - first % window))]:
            yield group
            first += len(group)

    def _lips(self, spans: list[Span], strong: np.ndarray, speech: Speech, times: np.ndarray, first: int) -> Iterator[Lips | None]:
        """One person's lips in each picture from number `first` on, None where they are not redrawn."""
        begin = max(0, min(first, self.tracks.frames - 1) - NEAR)
        faces = steadied(self._faces(spans, strong, begin), lambda shown: None if shown[0] is None else (rigid(shown[0].landmarks), shown[0].square.side))
        features = self.made.hear(speech, times, self.emphasis, first)
        for ((face, reference, strength), still), feature in zip(islice(faces, first - begin, None), features, strict=False):
            yield None if face is None else Lips(face, reference, strength, still, feature)

    def _faces(self, spans: list[Span], strong: np.ndarray, start: int) -> Iterator[Shown]:
        """The face that is redrawn in each picture from `start` on, its reference, and how strongly; the last picture's again and again."""
        several = iter(spans)
        span = next(several)
        last: Shown = (None, None, 0.0)
        for number, faces in enumerate(self.tracks.faces(start, self.tracks.frames), start):
            while number >= span.last:
                span = next(several)
            own = [face for face in faces if face.track == span.track]
            last = (own[0], self.references.of(own[0].track), float(strong[number])) if own else (None, None, 0.0)
            yield last
        while True:
            yield last

    def _redrawn(self, group: list[tuple[Picture, list[Lips]]]) -> list[Picture]:
        made = [picture for picture, _ in group]
        shown = [(at, one) for at, (_, lips) in enumerate(group) for one in lips]
        faces = [Seen(made[at].rgb(), one.face.landmarks, one.face.square, one.reference, one.still) for at, one in shown]
        patches = self.made.draw(faces, torch.cat([one.feature for _, one in shown])) if shown else []
        for (at, one), patch in zip(shown, patches, strict=True):
            made[at] = made[at].with_region(patch.made, patch.mask * one.strength, patch.top, patch.left)
        return made
