"""Several speakers: whose lips move in which cue of a two-person video. `python -m benchmarks.speakers`

The film is the demo's two portraits side by side, moved by avct: they speak English in turn, one line each, and a narrator who is not seen
says the last one. It is dubbed into Spanish, each line in the slot of the one it stands for, once for each way in which speakers find
their faces: by a point, by a picture, by the scorer on the original's sound; and once more with `listeners: still` over a source in which both
mouths move all the time. The encoded dubs are held against the source and against the same dub in which nobody says anything, mouth by
mouth, in grey levels (root mean square over the mouth's pixels, upright and of one size): lips move with a cue where they differ from those
that say nothing by MOVES or more, and are left alone where they differ from the source's (of `still`: from those that say nothing) by less than ALIKE.
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
from models.quality.view import MOUTH, upright
from models.types import FRAME_RATE, Cue, Portrait
from tasks.dubbing.cast import Wish
from tasks.dubbing.redub import Film, dub
from tasks.dubbing.references import find_references
from tasks.dubbing.speakers import Part, Told, Turn, lanes_of, parts_of, turns_of
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
# Grey levels. Measured, not chosen: pictures that nobody redrew are the same before the encode, and two encodes of them lie up to 2.3 apart;
# lips that say something differ from lips that say nothing by 4.5 and more. The limit stands between; the benchmark prints both edges.
MOVES = ALIKE = 3.0


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


def dubbed(made: Scene, path: Path, way: str, *, still: bool = False, silent: bool = False) -> tuple[list[Part], tuple[Turn, ...]]:
    """Write the dub; returns who was found, and the turns. silent: nobody's lips say anything."""
    lines = {text: other for _, text, other in LINES}
    cues = tuple(replace(cue, text=lines[cue.text]) for cue in made.slots)
    track, fits = fitted(synthesise(cues, "es-ES", voices=DUBBED), inspect(made.film).seconds, "fit")
    turns = turns_of(replace(track, fits=tuple(map(told, fits))))
    parts = parts_of(made.tracks, made.film, turns, faces_of(way))
    lanes, lead = lanes_of(made.tracks, turns, parts, still=still)
    kept = path.with_suffix(".npz")
    find_references(made.film, made.tracks, [span for lane in lanes for span in lane.spans], kept, 1)
    film = Film(made.film, made.tracks, lead, kept, [replace(lane, times=()) for lane in lanes] if silent else lanes)
    for _ in dub(film, track, path, get_settings(), LipMemoryEngine.load(), language="es-ES", notes=[]):
        pass
    return parts, turns


def landmarks(path: Path) -> list[tuple[np.ndarray | None, ...]]:
    """Each half's face in each picture."""
    with FaceMesh(video=True) as left, FaceMesh(video=True) as right:
        return [tuple(landmarks_in(part, mesh) for part, mesh in zip(halves(frame), (left, right), strict=True)) for frame in iter_frames(path)]


def halves(frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Left and right."""
    return np.ascontiguousarray(frame[:, :SIDE]), np.ascontiguousarray(frame[:, SIDE:])


def mouths(path: Path, marks: list[tuple[np.ndarray | None, ...]]) -> np.ndarray:
    """Each half's mouth in each picture, by the source's landmarks [pictures, 2, pixels]; NaN where no face is seen."""
    none = np.full(MOUTH.sum(), np.nan, np.float32)
    return np.array([[none if m is None else upright(part, m).grey[MOUTH] for part, m in zip(halves(frame), pair, strict=True)] for frame, pair in zip(iter_frames(path), marks, strict=False)])


def apart(first: np.ndarray, second: np.ndarray, turn: Turn) -> np.ndarray:
    """How far two videos' mouths are apart in a cue, in grey levels [2]."""
    part = slice(round(turn.begins * FRAME_RATE), round(turn.ends * FRAME_RATE))
    count = min(len(first), len(second))
    return np.asarray(np.sqrt(np.nanmean(np.square(first[:count][part] - second[:count][part]), axis=(0, 2))))


def judged(source: np.ndarray, silent: np.ndarray, now: np.ndarray, turns: tuple[Turn, ...], *, still: bool) -> list[dict[str, Any]]:
    """A row a cue: whether the speaker's lips move, and whether the others' are left alone."""
    found = []
    for turn in turns:
        driven, changed = apart(now, silent, turn), apart(now, source, turn)
        speaks = list(PEOPLE).index(turn.speaker) if not turn.off else -1
        left = max((driven if still else changed)[side] for side in (0, 1) if side != speaks)
        moved = float("inf") if turn.off else float(driven[speaks])
        row = {"speaker": turn.speaker, "at": f"{turn.begins:.2f}", "driven": driven, "changed": changed, "moved": moved, "left": float(left)}
        found.append(row | {"moves": moved >= MOVES, "alone": bool(left < ALIKE)})
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
            marks = landmarks(made.film)
            dubbed(made, place / "silent.mp4", "point", still=restless, silent=True)
            before, silent = mouths(made.film, marks), mouths(place / "silent.mp4", marks)
            for way in ("still",) if restless else ("point", "picture", "sound"):
                parts, turns = dubbed(made, place / f"dub-{way}.mp4", "point" if restless else way, still=restless)
                found = judged(before, silent, mouths(place / f"dub-{way}.mp4", marks), turns, still=restless)
                table += [[way, row["speaker"], row["at"], *(f"{v:.2f}" for v in (*row["driven"], *row["changed"])), "yes" if row["moves"] else "NO", "yes" if row["alone"] else "NO"] for row in found]
                on = [row for row in found if row["speaker"] != "NARRATOR"]
                figures |= {f"{way}_lips_move": np.mean([row["moves"] for row in on]), f"{way}_others_alone": np.mean([row["alone"] for row in on]),
                            f"{way}_off_screen_alone": np.mean([row["alone"] for row in found if row["speaker"] == "NARRATOR"]),
                            f"{way}_least_moved": min(row["moved"] for row in on), f"{way}_most_left": max(row["left"] for row in found),
                            f"{way}_certain": float(not any(part.cast.ambiguous for part in parts))}  # fmt: skip
                table += [[way, *part.speakers, part.cast.ambiguous] for part in parts if part.cast.ambiguous]
    rows.add({f"speakers_{name}": ("grey levels" if name.endswith(("_moved", "_left")) else "share", [float(value)]) for name, value in figures.items()})
    columns = ["by", "speaker", "at", "left driven", "right driven", "left changed", "right changed", "speaker moves", "others alone"]
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
