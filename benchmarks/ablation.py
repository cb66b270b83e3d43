"""What lipmemory's memory and its visual-visual sync loss are good for: `dubwright evaluate lipmemory --ablation`.

Three ways to learn to hear and to draw lips: whole, without the memory, and without the visual-visual sync loss. All begin from the
shipped weights' eyes and hand (identity encoder and decoder), for those take hours; ears, memory and lip encoder begin anew, from the
same seeds, and see the same samples for as many steps. The sync expert, which does not ship, teaches none of them, and no judge does.
What is compared are held-out clips, re-dubbed by the engine; a difference counts where it is larger than its spread over seeds.
"""

import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.avct import spread
from benchmarks.lipmemory import mean, redub
from models import checkpoints
from models.corpus import clips_of, prepare
from models.lipmemory.config import compact
from models.lipmemory.engine import NAME, PART, LipMemoryEngine
from models.lipmemory.losses import Weights
from models.lipmemory.train_renderer import LENGTH, PLAIN, Renderer
from models.training.part import Options, seed_of
from models.training.ranks import Ranks

VARIANTS = ("full", "without_memory", "without_visual_visual")
COMPARED = ("confidence", "lmd", "mouth_psnr_gain_db")
KEPT = ("identity.", "decoder.")  # what variants take from the shipped weights


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How long each variant learns, from how many clips, and on how many it is measured."""

    steps: int = 125
    batch: int = 8
    learned: int = 64
    measured: int = 4


class Learner(Renderer):
    """The renderer in training, whose last steps are of runs alone: the loss in question needs them."""

    ends, squared = (0.64, 0.88), 1.0

    def draw(self, seed: int, ranks: Ranks) -> tuple[torch.Tensor, ...]:
        """Sounds, then single frames, then two runs of five."""
        if self.portion < self.ends[0]:
            return super().draw(seed, ranks)
        self.samples.seed(seed)
        return self.samples.batch(self.batch, 1, PLAIN) if self.portion < self.ends[1] else self.samples.batch(2, LENGTH, PLAIN)


def ablation(grid: Path, *, seeds: int = 3, plan: Plan | None = None) -> dict[str, Any]:
    """Each variant's figures, and by how much the whole is better than each other one: means and standard deviations over seeds."""
    plan = plan or Plan()
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder) / "clips"
        prepare(some(grid, Path(folder) / "some", plan.learned), cache)
        with ProcessPoolExecutor(seeds, mp_context=get_context("spawn")) as pool:
            made = pool.map(_seed, range(1, seeds + 1), [grid] * seeds, [cache] * seeds, [plan] * seeds)
            runs = [row for rows in made for row in rows]
    figures = {f"{name}_{figure}": round(mean(of_variant(runs, name), figure), 4) for name in VARIANTS for figure in COMPARED}
    return {"figures": figures, "gained": gained(runs), "steps": plan.steps, "clips": plan.measured, "runs": runs}


def gained(runs: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """What the whole has over a variant, seed by seed: the mean, and the standard deviation over seeds, of each figure's difference."""
    return {f"{figure}_over_{name}": difference(runs, "full", name, figure) for name in VARIANTS[1:] for figure in COMPARED}


def difference(runs: list[dict[str, Any]], one: str, other: str, figure: str) -> dict[str, float]:
    """What one variant has over another, seed by seed: the mean, and the standard deviation over seeds, of a figure's difference."""
    apart = [a[figure] - b[figure] for a, b in zip(of_variant(runs, one), of_variant(runs, other), strict=True)]
    return {"mean": round(float(np.mean(apart)), 4), "deviation": round(float(np.std(apart, ddof=min(1, len(apart) - 1))), 4)}


def of_variant(runs: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """A variant's rows by seed."""
    return sorted((row for row in runs if row["variant"] == name), key=lambda row: row["seed"])


def some(grid: Path, folder: Path, count: int) -> Path:
    """A folder of so many training clips, and of nothing else."""
    speaker = folder / "s1"
    speaker.mkdir(parents=True)
    (speaker / "validation.txt").write_text("")
    for path in spread(clips_of(grid)["train"], count):
        (speaker / f"{path.stem}.mkv").symlink_to(path.resolve())
    return folder


def _seed(seed: int, grid: Path, cache: Path, plan: Plan) -> list[dict[str, Any]]:
    """One seed's figures of every variant."""
    torch.set_num_threads(1)
    clips = spread(clips_of(grid)["validation"], plan.measured)
    rows = []
    for name in VARIANTS:
        engine = LipMemoryEngine(learned(name, cache, seed, plan).average)
        found = [redub(path, engine) for path in clips]
        rows.append({"variant": name, "seed": seed} | {figure: round(mean(found, figure), 4) for figure in COMPARED})
    return rows


def learned(name: str, cache: Path, seed: int, plan: Plan) -> Learner:
    """A variant after its steps."""
    preset, weights = compact(), Weights(audio_visual=0.0, adversarial=0.0)
    preset = replace(preset, model=replace(preset.model, memory=name != "without_memory"))
    weights = replace(weights, visual_visual=0.0) if name == "without_visual_visual" else weights
    part = Learner(Options(cache=cache, out=cache, batch=plan.batch, seed=seed), preset=preset, weights=weights)
    shipped = checkpoints.load(NAME, PART)
    for network in (part.model, part.average):
        network.load_state_dict(network.state_dict() | {key: value for key, value in shipped.items() if key.startswith(KEPT)})
    ranks = Ranks()
    for step in range(plan.steps):
        chance = seed_of(seed, step)
        torch.manual_seed(chance)
        part.pace(step / plan.steps)
        part.update(part.draw(chance, ranks))
    return part
