"""What following faces costs and how well it knows people: `python -m benchmarks.tracks [GRID folder]`, one JSON object.

Milliseconds are of this process's own time (both cores counted), so that what else runs on the machine tells less: the least of five
rounds, with the 20th, 50th and 80th percentile in results.csv. GRID's clips are cut one after another for identities: each cut is one
between two people, or between two clips of one. A join is false where two speakers get one identity.
"""

import itertools
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks import rows
from infra.media import iter_frames
from tasks.dubbing.tracks import TrackFile, follow

GRID = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "grid"
ROUNDS = 5
SHOWN = 25  # pictures of each clip that identities are told from


@dataclass(frozen=True)
class Still:
    """A picture of a scene made here."""

    number: int
    time: Fraction
    picture: np.ndarray

    def rgb(self, quick: bool = False) -> np.ndarray:
        """As infra.video.Picture's."""
        return self.picture


def run(grid: Path = GRID) -> dict[str, Any]:
    """All figures."""
    one, other = (list(iter_frames(clips(grid)[name][0])) for name in ("s4", "s20"))
    scenes = {"follow_ms_one_face_360x288": one, "follow_ms_two_faces_1280x720": [_pair(a, b) for a, b in zip(one, other, strict=False)]}
    spent: dict[str, list[float]] = {name: [] for name in scenes}
    for name, frames in [*scenes.items()] * (ROUNDS + 1):  # interleaved; the first round warms up
        spent[name].append(_milliseconds(lambda frames=frames: _tracks(frames)) / len(frames))  # type: ignore[misc]
    spent = {name: values[1:] for name, values in spent.items()}
    rows.add({name: ("ms", values) for name, values in spent.items()})
    return {"figures": {name: round(min(values), 2) for name, values in spent.items()} | identities(grid)}


def clips(grid: Path) -> dict[str, list[Path]]:
    """Clips by speaker: all originals, and every 60th of s1's."""
    found: dict[str, list[Path]] = {}
    for path in [*sorted(grid.glob("s*/*.mpg")), *sorted(grid.glob("s1/*.mkv"))[::60]]:
        found.setdefault(path.parent.name, []).append(path)
    return found


def identities(grid: Path) -> dict[str, float]:
    """How the clips of all speakers, cut one after another, are told apart."""
    told = [(who, path) for who, paths in clips(grid).items() for path in paths]
    told = [told[i] for i in np.random.default_rng(0).permutation(len(told))]
    found = _tracks(frame for _, path in told for frame in itertools.islice(iter_frames(path), SHOWN))
    who = {track.number: told[(track.first + track.last) // 2 // SHOWN][0] for track in found}
    pairs = [(who[a.number] == who[b.number], a.identity == b.identity) for a, b in itertools.combinations(found, 2)]
    same, apart = [joined for one, joined in pairs if one], [joined for one, joined in pairs if not one]
    return {
        "clips": len(told), "tracks": len(found), "identities": len({track.identity for track in found}), "people": len(set(who.values())),
        "false_joins": sum(apart), "pairs_of_two": len(apart), "true_joins": sum(same), "pairs_of_one": len(same),
    }  # fmt: skip


def _tracks(frames: Iterable[np.ndarray]) -> tuple[Any, ...]:
    with tempfile.TemporaryDirectory() as folder:
        follow(filmed(frames), Path(folder) / "x.tracks")
        with TrackFile(Path(folder) / "x.tracks") as found:
            return found.tracks


def filmed(frames: Iterable[np.ndarray], fps: int = 25) -> Iterator[Still]:
    """Frames uint8 RGB [H, W, 3] as pictures with numbers and times."""
    for number, frame in enumerate(frames):
        yield Still(number, Fraction(number, fps), frame)


def _pair(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Two people in 1280 x 720."""
    wall = (90, 90, 60)
    return cv2.copyMakeBorder(np.hstack([one, other]), 200, 232, 300, 260, cv2.BORDER_CONSTANT, value=wall)


def _milliseconds(work: Callable[[], Any]) -> float:
    begun = time.process_time()
    work()
    return (time.process_time() - begun) * 1e3


if __name__ == "__main__":
    cv2.setNumThreads(1)
    sys.stdout.write(json.dumps(run(Path(sys.argv[1]) if len(sys.argv) > 1 else GRID)) + "\n")
