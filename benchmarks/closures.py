"""Mouth closures of p, b and m on real clips and on what engines render: `python -m benchmarks.closures [CLIPS] [--grid FOLDER]`.

GRID's held-out clips, their phones by alignment of their words, as `dubwright score --transcript` has them. The half that sets the gate's limits shows
where the lips of real people stand at these consonants and at the widest of vowels, between which SHUT lies; the other half measures: with the
clip's own sound, and with the sound moved by the frames that the gate is asked of as well. CLIPS of each half; all when left out.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import rows
from models.corpus import read_clip
from models.faces.mesh import FaceMesh
from models.quality.closures import SHUT, closures, elsewhere, gaps_of
from models.quality.watch import Watcher
from models.types import FRAME_RATE, Phone
from tasks.gating.clips import halves
from tasks.gating.rendered import rendered, spoken
from tasks.gating.spoilt import SHIFTS

GRID = Path(__file__).resolve().parents[2] / "shared" / "data" / "grid"
OPEN = ("AA", "AE", "AH", "AO", "AW", "AY", "EH", "EY")  # vowels for which the lips part
ENGINES = ("avct", "lipmemory", "coherence")
RENDERED = 9  # clips that each engine renders
LONG = 4  # clips of three seconds that are one take


@dataclass(frozen=True)
class Clip:
    """A clip's speaker, the gaps of its lips [T] in mouth widths, and its phones."""

    speaker: str
    gaps: np.ndarray
    phones: tuple[Phone, ...]

    def later(self, frames: int) -> "Clip":
        """It with its sound so many frames later."""
        by = frames / FRAME_RATE
        return Clip(self.speaker, self.gaps, tuple(Phone(one.symbol, one.start + by, one.end + by) for one in self.phones))


def looked_at(paths: Sequence[Path]) -> Iterator[Clip]:
    """Each clip that shows a face throughout and holds such a consonant."""
    for path in paths:
        frames, sound = read_clip(path)
        watcher = Watcher(second_opinion=False)
        with FaceMesh(video=True) as mesh:
            for frame in frames:
                watcher.add(frame, next(iter(mesh(frame)), None))
        clip = Clip(path.parent.name, gaps_of(watcher.rows), spoken(path, sound.astype(np.float32) / 32768).phones)
        if closures(clip.gaps, clip.phones):
            yield clip


def drawn(paths: Sequence[Path], engine: str) -> Iterator[Clip]:
    """Clips as an engine renders them, encoded as deliveries are."""
    for path in paths:
        made = rendered(path, engine)
        yield Clip(path.parent.name, gaps_of(made.seen.rows), spoken(path, made.heard.wave).phones)


def closed(clips: Sequence[Clip]) -> float:
    """The part of all consonants of some clips at which the lips come together; NaN where none is seen."""
    found = [gap <= SHUT for clip in clips for _, _, gap in closures(clip.gaps, clip.phones)]
    return float(np.mean(found)) if found else np.nan


def by_chance(clips: Sequence[Clip]) -> float:
    """The same of the consonants moved to where somebody speaks."""
    found = [shut for clip in clips for shut in elsewhere(clip.gaps, clip.phones)]
    return float(np.mean(found)) if found else np.nan


def takes(clips: Sequence[Clip], length: int) -> list[list[Clip]]:
    """Clips of one speaker, so many a take."""
    found = []
    for _, group in groupby(clips, key=lambda clip: clip.speaker):
        mine = list(group)
        found += [mine[at : at + length] for at in range(0, len(mine) - length + 1, length)]
    return found


def told_apart(clips: Sequence[Clip], length: int) -> float:
    """Area under the ROC of telling takes with their own sound from the same takes shifted, by the part that is closed less the chance."""
    own, other = [], []
    for take in takes(clips, length):
        own.append(closed(take) - by_chance(take))
        for by in SHIFTS:
            late = [clip.later(by) for clip in take]
            other.append(closed(late) - by_chance(late))
    good, bad = np.array([v for v in own if np.isfinite(v)]), np.array([v for v in other if np.isfinite(v)])
    return float(np.mean((good[:, None] > bad) + 0.5 * (good[:, None] == bad)))


def widest(clips: Sequence[Clip]) -> np.ndarray:
    """The widest gap of each open vowel."""
    found = (clip.gaps[int(one.start * FRAME_RATE) : int(np.ceil(one.end * FRAME_RATE))] for clip in clips for one in clip.phones if one.symbol in OPEN)
    return np.array([np.nanmax(part) for part in found if np.isfinite(part).any()])


def run(clips: int = 0, grid: Path = GRID) -> dict[str, Any]:
    """Both halves, shifts, engines."""
    paths = {half: [path for path in several if path.with_suffix(".align").is_file()] for half, several in halves(grid).items()}
    paths = {half: several[:: max(1, len(several) // clips)][:clips] if clips else several for half, several in paths.items()}
    setting, measuring = (list(looked_at(paths[half])) for half in ("set", "measure"))
    least = np.array([gap for clip in setting for _, _, gap in closures(clip.gaps, clip.phones)])
    open_ = widest(setting)
    moved = {by: closed([clip.later(by) for clip in measuring]) for by in SHIFTS}
    figures = {
        "set_consonants": len(least), "set_p50": np.quantile(least, 0.5), "set_p90": np.quantile(least, 0.9), "set_p95": np.quantile(least, 0.95),
        "set_vowels": len(open_), "set_vowels_p05": np.quantile(open_, 0.05), "set_vowels_p50": np.quantile(open_, 0.5), "shut": SHUT,
        "consonants": sum(len(closures(clip.gaps, clip.phones)) for clip in measuring), "closed": closed(measuring), "closed_elsewhere": by_chance(measuring),
        "closed_shifted": float(np.mean(list(moved.values()))), "auc_3s": told_apart(measuring, 1), "auc_12s": told_apart(measuring, LONG),
    }  # fmt: skip
    table = [[f"sound {by:+d} frames" if by else "as filmed", f"{value:.2f}", ""] for by, value in sorted((moved | {0: figures["closed"]}).items())]
    few = paths["measure"][:: max(1, len(paths["measure"]) // RENDERED)][:RENDERED]
    for engine in ENGINES:
        made = list(drawn(few, engine))
        figures |= {f"closed_{engine}": closed(made), f"closed_elsewhere_{engine}": by_chance(made)}
        table.append([engine, f"{figures[f'closed_{engine}']:.2f}", f"{figures[f'closed_elsewhere_{engine}']:.2f}"])
    rows.add({f"closures_{name}": ("share", [float(figures[name])]) for name in ("closed", "closed_elsewhere", "closed_shifted", "auc_3s", "auc_12s")})
    return {"figures": {name: round(float(value), 4) for name, value in figures.items()}, "tables": [{"title": "", "columns": ["clips", "closed", "elsewhere"], "rows": table}]}


def main() -> None:
    """Print the table and the figures."""
    import cv2
    import torch

    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("clips", type=int, nargs="?", default=0)
    asked.add_argument("--grid", type=Path, default=GRID)
    given = asked.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    tree = run(given.clips, given.grid)
    sys.stdout.write("\n".join("  ".join(cell.ljust(18) for cell in row) for row in [tree["tables"][0]["columns"], *tree["tables"][0]["rows"]]) + "\n\n")
    sys.stdout.write("\n".join(f"{name:28} {value:g}" for name, value in tree["figures"].items()) + "\n")


if __name__ == "__main__":
    main()
