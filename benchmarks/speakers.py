"""Several speakers: whose lips move in which cue of a two-person video. `python -m benchmarks.speakers`

The film is the demo's two portraits side by side, moved by avct: they speak English in turn, one line each, and a narrator who is not seen
says the last one. It is dubbed into Spanish, each line in the slot of the one it stands for, once for each way in which speakers find
their faces: by a point, by a picture, by the scorer on the original's sound; and once more with `listeners: still` over a source in which both
mouths move all the time. The encoded dub is looked at anew: a mouth moves where the gap between its inner lips changes by MOVES of the
distance between the eyes or more (95th less 5th percentile of the cue's pictures), and is left alone where it does no other thing than the source's does.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from benchmarks import pipeline, rows
from infra.media import VideoWriter, iter_frames, write_wav
from infra.settings import get_settings
from infra.video import inspect, pictures
from models.avct.engine import AvctEngine
from models.faces.mesh import FaceMesh
from models.lipmemory.engine import LipMemoryEngine
from models.types import FRAME_RATE, Cue, Portrait
from tasks.dubbing.cast import Wish
from tasks.dubbing.redub import Film, dub
from tasks.dubbing.references import find_references
from tasks.dubbing.speakers import Part, Told, Turn, lanes_of, parts_of, turns_of, whose
from tasks.dubbing.tracks import TrackFile, follow
from tasks.faces import read_portrait
from tasks.score import landmarks_in
from tasks.speech import SpeechTrack, synthesise
from tasks.speech.fit import fitted, told

SIDE = 288  # pixels of each half
PORTRAITS = Path(__file__).parent.parent / "demo" / "portraits"
PEOPLE = {"ANNA": PORTRAITS / "astronaut_collins.png", "GRACE": PORTRAITS / "grace_hopper.jpg"}
VOICES = {"ANNA": "espeak:en-us+f3", "GRACE": "espeak:en-us+f2", "NARRATOR": "espeak:en-us+m3"}
DUBBED = {"ANNA": "espeak:es+f3", "GRACE": "espeak:es+f2", "NARRATOR": "espeak:es+m3"}
LINES = (
    ("ANNA", "Good evening, how was the flight?", "Buenas noches, ¿qué tal el vuelo?"),
    ("GRACE", "Long, but we arrived before the storm.", "Largo, pero llegamos antes del temporal."),
    ("ANNA", "Everybody is waiting for you in the big room.", "Todos te están esperando en la sala grande."),
    ("GRACE", "Then let us go up, I have brought the papers.", "Pues subamos ya, que traigo los papeles."),
    ("ANNA", "Did you bring the map of the old bay?", "¿Trajiste el mapa de la vieja bahía?"),
    ("GRACE", "The map, and a bottle of wine for both of us.", "El mapa, y una botella de vino para las dos."),
    ("ANNA", "You are a marvel, my friend.", "Eres una maravilla, amiga mía."),
    ("GRACE", "And you have not aged a day.", "Y por ti no pasa el tiempo."),
    ("NARRATOR", "They climbed the stairs, and nobody saw them again.", "Subieron la escalera, y nadie volvió a verlas."),
)
REST = 0.6  # seconds between two lines
MOVES = 0.06  # of the distance between the eyes
ALIKE = 0.03  # of the same, by which the two encodes of a mouth that is left alone may differ


@dataclass(frozen=True)
class Scene:
    """A film of two people, the slots of its lines, and its face tracks."""

    film: Path
    slots: tuple[Cue, ...]
    tracks: TrackFile


def scene(folder: Path, *, lines: int, restless: bool) -> Scene:
    """The film in English. restless: both mouths move with every line, as of people who talk all at once."""
    chosen = [*LINES[: lines - 1], LINES[-1]]
    spoken = synthesise(tuple(Cue(0.0, 0.0, text, who, who == "NARRATOR") for who, text, _ in chosen), "en-US", voices=VOICES)
    wanted, at = list[Cue](), 0.4
    for cue in spoken.speech.cues:
        wanted.append(replace(cue, start=at, end=at + cue.end - cue.start))
        at = wanted[-1].end + REST
    track = synthesise(tuple(wanted), "en-US", voices=VOICES)
    halves = [_half(read_portrait(path)) for path in PEOPLE.values()]
    seen = [list(_spoken(face, track, None if restless else name, seed)) for seed, (name, face) in enumerate(zip(PEOPLE, halves, strict=True), 1)]
    path, sound = folder / f"film-{restless}.mp4", folder / f"film-{restless}.wav"
    write_wav(sound, track.sound, track.rate)
    with VideoWriter(path, 2 * SIDE, SIDE, Fraction(FRAME_RATE), sound, crf=14, preset="veryfast", threads=get_settings().threads) as out:
        for pair in zip(*seen, strict=True):
            out.write(np.hstack(pair))
    follow(pictures(path), path.with_suffix(".tracks"))
    return Scene(path, tuple(wanted), TrackFile.open(path.with_suffix(".tracks")))


def _half(face: Portrait) -> Portrait:
    """Head and shoulders, SIDE pixels a side."""
    low, high = face.landmarks[:, :2].min(0), face.landmarks[:, :2].max(0)
    side = min(2.2 * float((high - low).max()), *face.picture.shape[:2])
    left, top = np.clip((low + high) / 2 - side / 2, 0, np.array(face.picture.shape[1::-1]) - side).astype(int)
    small = cv2.resize(face.picture[top : top + int(side), left : left + int(side)], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    marks = face.landmarks.copy()
    marks[:, :2] -= (left, top)
    return Portrait(small, marks * np.float32(SIDE / int(side)))


def _spoken(face: Portrait, track: SpeechTrack, name: str | None, seed: int) -> Iterator[np.ndarray]:
    """Pictures of a face that says its own lines, or all of them, and rests meanwhile."""
    engine, speech = AvctEngine.load(), track.speech
    if name is not None:
        own = [(cue.start, cue.end) for cue in speech.cues if cue.speaker == name]
        activity = np.zeros_like(speech.activity)
        for start, end in own:
            activity[int(start * 100) : int(end * 100) + 1] = speech.activity[int(start * 100) : int(end * 100) + 1]
        speech = replace(speech, activity=activity, phones=tuple(p for p in speech.phones if any(a <= p.start < b for a, b in own)))
    yield from engine.render(face, engine.motion(face, speech, seed=seed))


def faces_of(way: str) -> dict[str, Told]:
    """What a manifest would say of the speakers' faces; the narrator is marked in the script."""
    if way == "sound":
        return {"ANNA": "sound", "GRACE": "sound"}
    if way == "picture":
        return {name: Wish(picture=path) for name, path in PEOPLE.items()}
    return {"ANNA": Wish(point=(0.25, 0.45), at=1.0), "GRACE": Wish(point=(0.75, 0.45), at=1.0)}


def dubbed(made: Scene, path: Path, way: str, *, still: bool = False) -> tuple[list[Part], tuple[Turn, ...]]:
    """Write the dub; returns who was found, and the turns."""
    lines = {text: other for _, text, other in LINES}
    cues = tuple(replace(cue, text=lines[cue.text]) for cue in made.slots)
    seconds = inspect(made.film).seconds
    track, fits = fitted(synthesise(cues, "es-ES", voices=DUBBED), seconds, "fit")
    turns = turns_of(replace(track, fits=tuple(map(told, fits))))
    parts = parts_of(made.tracks, made.film, turns, faces_of(way))
    lanes, lead = lanes_of(made.tracks, turns, parts, still=still)
    kept = path.with_suffix(".npz")
    find_references(made.film, made.tracks, [span for lane in lanes for span in lane.spans], kept, 1)
    film = Film(made.film, made.tracks, lead, kept, lanes)
    for _ in dub(film, track, path, get_settings(), LipMemoryEngine.load(), language="es-ES", notes=[]):
        pass
    return parts, turns


def openings(path: Path) -> np.ndarray:
    """Gap between the inner lips of each half's face in each picture, in distances between the eyes [pictures, 2]; NaN where none is seen."""
    found = []
    with FaceMesh(video=True) as left, FaceMesh(video=True) as right:
        for frame in iter_frames(path):
            marks = [landmarks_in(np.ascontiguousarray(part), mesh) for part, mesh in ((frame[:, :SIDE], left), (frame[:, SIDE:], right))]
            found.append([np.nan if m is None else float(np.hypot(*(m[13] - m[14])[:2]) / np.hypot(*(m[33] - m[263])[:2])) for m in marks])
    return np.array(found)


def moved(gaps: np.ndarray, turn: Turn) -> np.ndarray:
    """By how much each mouth's gap changes within a cue [2]."""
    shown = gaps[round(turn.begins * FRAME_RATE) : max(round(turn.ends * FRAME_RATE), round(turn.begins * FRAME_RATE) + 2)]
    return np.asarray(np.nanpercentile(shown, 95, axis=0) - np.nanpercentile(shown, 5, axis=0))


def judged(source: np.ndarray, gaps: np.ndarray, turns: tuple[Turn, ...], *, still: bool) -> list[dict[str, Any]]:
    """A row a cue: whether the speaker's lips move, and whether the others' are as they were, or still."""
    found = []
    for turn in turns:
        now, before = moved(gaps, turn), moved(source, turn)
        speaks = list(PEOPLE).index(turn.speaker) if not turn.off else -1
        others = [side for side in (0, 1) if side != speaks]
        alone = all(now[side] < MOVES if still and not turn.off else abs(now[side] - before[side]) < ALIKE or now[side] < MOVES for side in others)
        found.append({"speaker": turn.speaker, "at": round(turn.begins, 2), "moves": [round(float(v), 3) for v in now], "in_source": [round(float(v), 3) for v in before],
                      "right": bool(turn.off or now[speaks] >= MOVES), "others": bool(alone)})  # fmt: skip
    return found


def run(*, lines: int = len(LINES), folder: Path | None = None) -> dict[str, Any]:
    """Every way. Fewer lines are quicker."""
    torch.set_num_threads(get_settings().threads)
    figures: dict[str, float] = {}
    table = []
    with pipeline.scratch() as scratch:
        place = folder or scratch
        for restless in (False, True):
            made = scene(place, lines=lines, restless=restless)
            before = openings(made.film)
            for way in ("still",) if restless else ("point", "picture", "sound"):
                parts, turns = dubbed(made, place / f"dub-{way}.mp4", "point" if restless else way, still=restless)
                found = judged(before, openings(place / f"dub-{way}.mp4"), turns, still=restless)
                table += [[way, row["speaker"], f"{row['at']:.2f}", *(f"{v:.3f}" for v in (*row["in_source"], *row["moves"])), "yes" if row["right"] else "NO", "yes" if row["others"] else "NO"] for row in found]
                on = [row for row in found if row["speaker"] != "NARRATOR"]
                figures |= {f"{way}_right_lips_move": np.mean([row["right"] for row in on]), f"{way}_others_stay": np.mean([row["others"] for row in on]),
                            f"{way}_off_screen_left": np.mean([row["others"] for row in found if row["speaker"] == "NARRATOR"]),
                            f"{way}_certain": float(not any(part.cast.ambiguous for part in parts) and -1 not in whose(turns, parts)[:-1])}  # fmt: skip
    rows.add({f"speakers_{name}": ("share", [float(value)]) for name, value in figures.items()})
    columns = ["by", "speaker", "at", "left before", "right before", "left", "right", "speaker moves", "others left"]
    return {"figures": {name: round(float(value), 3) for name, value in figures.items()}, "tables": [{"title": "", "columns": columns, "rows": table}]}


def main() -> None:
    """Print the table; a folder as argument keeps the films."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    tree = run(folder=folder)
    for table in tree["tables"]:
        sys.stdout.write("\n".join("  ".join(cell.ljust(13) for cell in row) for row in [table["columns"], *table["rows"]]) + "\n\n")
    sys.stdout.write("\n".join(f"{name:28} {value:.3f}" for name, value in tree["figures"].items()) + "\n")


if __name__ == "__main__":
    main()
