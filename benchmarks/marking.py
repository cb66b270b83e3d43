"""Marks, measured: `python -m benchmarks.marking`. What the watermark survives, how often one is seen where none is, what marking costs.

Marked clips are the demo's jobs, spoken and rendered by the engine, and clips of the corpus as re-dubs' stand-ins; each is encoded as deliveries
are, then attacked. Unmarked ones are clips of the corpus, and their mirror images where it has too few.
"""

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import rows
from infra.marking import Watermark, detect
from infra.media import VideoWriter, ffmpeg, iter_frames
from models.types import FRAME_RATE
from tasks.manifest import load_manifest
from tasks.rows import JobRow

ROOT = Path(__file__).resolve().parent.parent
GRID = ROOT.parent / "shared" / "data" / "grid"
CROP = "crop=trunc(iw*0.45)*2:trunc(ih*0.45)*2"  # nine tenths of each side, from the middle
HALF = "scale=trunc(iw/4)*2:trunc(ih/4)*2"
ATTACKS = {"crf28": ("", 28), "half": (HALF, 18), "crop10": (CROP, 18), "all_three": (f"{CROP},{HALF}", 28)}
MOST = 150  # frames of a clip
Clip = tuple[str, list[np.ndarray]]


def demo_clips() -> Iterator[Clip]:
    """The demo's jobs as the engine renders them, without any mark: a name, and frames uint8 RGB."""
    from models.avct.engine import AvctEngine
    from tasks.faces import read_portrait
    from tasks.speech import from_recording, synthesise

    manifest = load_manifest(ROOT / "demo" / "demo.yaml")
    engine = AvctEngine.load()
    for number, row in enumerate(manifest.jobs):
        place = {role: ROOT / "demo" / getattr(row, role) for role in ("portrait", "script", "audio", "transcript") if getattr(row, role)}
        speech = from_recording(place["audio"], place["transcript"].read_text(), row.locale, row.voice) if row.audio else synthesise(_cues(row, place), row.locale, row.voice)
        face = read_portrait(place["portrait"])
        frames = engine.render(face, engine.motion(face, speech.speech, seed=number))
        yield f"{row.title}/{row.locale}", list(itertools.islice(frames, MOST))


def _cues(row: JobRow, place: dict[str, Path]) -> Any:
    from tasks.scripts import from_text, read_script

    return from_text(row.text) if row.text else read_script(place["script"])


def corpus(grid: Path, most: int) -> list[Path]:
    """So many clips of the corpus, every speaker's."""
    found = sorted(path for kind in ("*.mpg", "*.mkv") for path in grid.glob(f"s*/{kind}"))
    return found[:: max(1, len(found) // most)][:most] if most < len(found) else found


def psnr(before: list[np.ndarray], after: list[np.ndarray]) -> float:
    """PSNR in dB over all frames and channels, before the encode."""
    return float(10 * np.log10(255**2 / np.mean([np.mean((a.astype(np.float32) - b) ** 2) for a, b in zip(before, after, strict=True)])))


def survived(clips: Iterator[Clip], seed: int, payloads: int) -> dict[str, Any]:
    """By attack, which of the clips still give their payload; PSNR of marking; seconds of a detection."""
    draw = np.random.default_rng(seed)
    found: dict[str, list[bool]] = {name: [] for name in ("none", *ATTACKS)}
    quality, seconds, missed = [], [], []
    for name, frames in clips:
        for _ in range(payloads):
            payload = int(draw.integers(0, 2**64, dtype=np.uint64))
            mark = Watermark(payload, *frames[0].shape[:2])
            marked = [mark.on_rgb(frame, number / FRAME_RATE) for number, frame in enumerate(frames)]
            quality.append(psnr(frames, marked))
            with tempfile.TemporaryDirectory() as folder:
                film = written(Path(folder) / "film.mp4", marked)
                for attack in found:
                    path = film if attack == "none" else attacked(film, *ATTACKS[attack])
                    started = time.perf_counter()
                    found[attack].append(detect.read(path).payload == payload)
                    seconds.append((time.perf_counter() - started) / (len(frames) / FRAME_RATE))
                    missed += [] if found[attack][-1] else [f"{name} {attack}"]
        sys.stderr.write(f"{name}: {psnr(frames, marked):.1f} dB, " + ", ".join(f"{attack} {sum(hits)}/{len(hits)}" for attack, hits in found.items()) + "\n")
    return {"found": found, "quality": quality, "seconds": seconds, "missed": missed}


def written(path: Path, frames: list[np.ndarray]) -> Path:
    """Frames encoded as deliveries are."""
    height, width = frames[0].shape[:2]
    with VideoWriter(path, width, height, Fraction(FRAME_RATE), None) as out:
        for frame in frames:
            out.write(frame)
    return path


def attacked(film: Path, filters: str, crf: int, path: Path | None = None) -> Path:
    """The film encoded again by x264 (medium), after filters."""
    path = path or film.with_name("attacked.mp4")
    command = [ffmpeg(), "-v", "error", "-y", "-i", str(film), *(["-vf", filters] if filters else []), "-c:v", "libx264", "-crf", str(crf), str(path)]
    subprocess.run(command, check=True)
    return path


def unmarked_clips(grid: Path, most: int, folder: Path) -> Iterator[Path]:
    """So many clips without a mark: the corpus's and, once they are used up, their mirror images, each made as it is asked for."""
    found = corpus(grid, most)
    yield from found
    for path in found[: max(0, most - len(found))]:
        yield attacked(path, "hflip", 12, folder / "mirrored.mp4")


def alarms(paths: Iterable[Path]) -> dict[str, Any]:
    """How many of unmarked clips give a payload, and how high the strongest of them correlates."""
    read, strongest, number = 0, 0.0, 0
    for number, path in enumerate(paths, 1):
        found = detect.read(path)
        read, strongest = read + (found.payload is not None), max(strongest, found.strength)
        if number % 50 == 0:
            sys.stderr.write(f"{number} unmarked clips, {read} alarms, strongest {strongest:.3f}\n")
    return {"clips": number, "alarms": read, "strongest": strongest}


def costs(frames: list[np.ndarray], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of a frame: marking alone, and writing with marks less writing without, taken in turn."""
    mark = Watermark(1, *frames[0].shape[:2])
    found: dict[str, list[float]] = {"mark_ms": [], "write_ms": [], "write_marked_ms": []}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            started = time.perf_counter()
            marked = [mark.on_rgb(frame, number / FRAME_RATE) for number, frame in enumerate(frames)]
            found["mark_ms"].append((time.perf_counter() - started) / len(frames) * 1000)
            for name, pictures in (("write_ms", frames), ("write_marked_ms", marked)):
                started = time.perf_counter()
                written(Path(folder) / "film.mp4", pictures)
                found[name].append((time.perf_counter() - started) / len(frames) * 1000)
    return found


def run(grid: Path = GRID, unmarked: int = 1000, redubs: int = 20, payloads: int = 3, rounds: int = 5, seed: int = 20261126, jobs: int = 99) -> dict[str, Any]:
    """Everything; `missed` names what was not read. A part of which no clips are asked is left out."""
    first: list[list[np.ndarray]] = []

    def kept() -> Iterator[Clip]:
        for name, frames in itertools.islice(demo_clips(), jobs):
            if not first:
                first.append(frames[:50])
            yield name, frames

    demo = survived(kept(), seed, payloads)
    real = survived(((path.stem, list(itertools.islice(iter_frames(path), MOST))) for path in corpus(grid, redubs)), seed + 1, 1)
    with tempfile.TemporaryDirectory() as folder:
        quiet = alarms(unmarked_clips(grid, unmarked, Path(folder)) if unmarked else ())
    cost = costs(first[0], rounds)
    rate = {f"marking_{attack}": statistics.mean(found) for attack, found in demo["found"].items() if found}
    rate |= {f"marking_{attack}_corpus": statistics.mean(found) for attack, found in real["found"].items() if found}
    figures = {
        **{name: round(value, 4) for name, value in rate.items()},
        "marking_psnr_least_db": round(min(demo["quality"] + real["quality"]), 2),
        "marking_psnr_db": round(statistics.median(demo["quality"]), 2),
        "marking_unmarked_clips": quiet["clips"], "marking_false_alarms": quiet["alarms"], "marking_unmarked_strongest": round(quiet["strongest"], 3),
        "marking_ms": round(min(cost["mark_ms"]), 3), "marking_write_ratio": round(min(cost["write_marked_ms"]) / min(cost["write_ms"]), 3),
        "marking_detect_ratio": round(statistics.median(demo["seconds"]), 3),
    }  # fmt: skip
    rows.add({"marking_ms": ("ms/frame", cost["mark_ms"]), "marking_psnr_db": ("dB", demo["quality"])})
    return {"figures": figures, "clips": {"demo": len(demo["quality"]), "corpus": len(real["quality"])}, "missed": demo["missed"] + real["missed"]}


def main() -> None:
    """The command."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--grid", type=Path, default=GRID)
    for name, default in (("unmarked", 1000), ("redubs", 20), ("payloads", 3), ("rounds", 5), ("seed", 20261126), ("jobs", 99)):
        options.add_argument(f"--{name}", type=int, default=default)
    sys.stdout.write(json.dumps(run(**vars(options.parse_args())), indent=2) + "\n")


if __name__ == "__main__":
    main()
