"""What lipmemory's memory and its visual-visual sync loss are good for: `dubwright evaluate lipmemory --ablation`.

Three ways to learn to hear: whole, without the memory, and without the visual-visual sync loss. All begin from the shipped weights' eyes
and hand (identity encoder and decoder), which take hours and stay as they are, and from one lip encoder a seed, which has learned by itself to read mouths'
shapes: memory and loss are made of what it sees, and one that knows nothing of lips teaches nothing. Ears and memory begin anew, from
the same seeds, and see the same runs of five frames for as many steps, by both paths, under the published losses and weights alone: no
landmarks, no sync expert (it does not ship), no judge. What is compared are held-out clips, re-dubbed by the engine.
"""

import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.avct import spread
from benchmarks.lipmemory import mean, redub
from models import checkpoints
from models.corpus import clips_of, prepare
from models.lipmemory.config import compact
from models.lipmemory.engine import NAME, PART, LipMemoryEngine
from models.lipmemory.losses import Weights
from models.lipmemory.train_renderer import LENGTH, PLAIN, Renderer
from models.training.part import Options, cosine, seed_of, set_rate
from models.training.ranks import Ranks

VARIANTS = ("full", "without_memory", "without_visual_visual")
COMPARED = ("confidence", "lmd", "mouth_psnr_gain_db")
KEPT = ("identity.", "decoder.")  # what variants take from the shipped weights
PUBLISHED = Weights(audio_visual=0.0, adversarial=0.0, shape=0.0, flow=0.0, parts=0.0)
LIP_CLIPS, LIP_RUN, LIP_RATE = 4, 16, 2e-3  # clips a step of the lip encoder, windows of each, learning rate


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How long lip encoder and variants learn, from how many clips (0: all), and on how many they are measured."""

    lips: int = 200  # steps of the lip encoder
    steps: int = 200
    runs: int = 2  # of five frames, a step
    learned: int = 0
    measured: int = 5


class Learner(Renderer):
    """The renderer in training, by runs of five alone: both losses in question need them."""

    ends, squared = (0.0, 0.0), 1.0

    def rest(self) -> None:
        """Eyes and hand stay as they shipped, norms and all: two clips a step are too few to take means of."""
        for part in (self.model.identity, self.model.decoder):
            part.eval().requires_grad_(False)

    def fill(self, batches: int = 4) -> None:
        """As the renderer, at rest afterwards."""
        super().fill(batches)
        self.rest()

    def draw(self, seed: int, ranks: Ranks) -> tuple[torch.Tensor, ...]:
        """Runs of five."""
        self.samples.seed(seed)
        return self.samples.batch(self.batch, LENGTH, PLAIN)


def ablation(grid: Path, *, seeds: int = 3, plan: Plan | None = None, cache: Path | None = None) -> dict[str, Any]:
    """Each variant's figures, and by how much the whole is better than each other one: means and standard deviations over seeds.

    cache: clips that were prepared before (a training run's `clips`); without it they are prepared for this call, and thrown away.
    """
    plan = plan or Plan()
    runs = over_seeds(_seed, grid, cache, plan, seeds)
    figures = {f"{name}_{figure}": round(mean(of_variant(runs, name), figure), 4) for name in VARIANTS for figure in COMPARED}
    return {"figures": figures, "gained": gained(runs), "plan": asdict(plan), "runs": runs}


def over_seeds(seed: Callable[[int, Path, Path, Path, Any], list[dict[str, Any]]], grid: Path, cache: Path | None, plan: Any, seeds: int) -> list[dict[str, Any]]:
    """The rows of every seed, each in a process of its own: `seed` gets its number, the corpus, prepared clips, a folder to work in, the plan."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        clips = cache or prepared(grid, out, plan.learned)
        with ProcessPoolExecutor(min(seeds, os.cpu_count() or 1), mp_context=get_context("spawn")) as pool:
            made = pool.map(seed, range(1, seeds + 1), [grid] * seeds, [clips] * seeds, [out] * seeds, [plan] * seeds)
            return [row for rows in made for row in rows]


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


def prepared(grid: Path, folder: Path, count: int) -> Path:
    """A cache, in a folder, of so many of a speaker's training clips (0: all)."""
    prepare(some(grid, folder / "some", count) if count else grid, folder / "clips", splits=("train",))
    return folder / "clips"


def some(grid: Path, folder: Path, count: int) -> Path:
    """A folder of so many training clips, and of nothing else."""
    speaker = folder / "s1"
    speaker.mkdir(parents=True)
    (speaker / "validation.txt").write_text("")
    for path in spread(clips_of(grid)["train"], count):
        (speaker / f"{path.stem}.mkv").symlink_to(path.resolve())
    return folder


def _seed(seed: int, grid: Path, cache: Path, _: Path, plan: Plan) -> list[dict[str, Any]]:
    """One seed's figures of every variant."""
    torch.set_num_threads(1)
    clips, eyes = spread(clips_of(grid)["validation"], plan.measured), taught_lips(cache, seed, plan)
    rows = []
    for name in VARIANTS:
        engine = LipMemoryEngine(learned(name, cache, seed, plan, eyes).average)
        found = [redub(path, engine) for path in clips]
        rows.append({"variant": name, "seed": seed} | {figure: round(mean(found, figure), 4) for figure in COMPARED})
    return rows


def taught_lips(cache: Path, seed: int, plan: Plan) -> dict[str, torch.Tensor]:
    """The lip encoder that all variants of a seed begin with, which has learned to read the shape of a window's middle mouth."""
    part = begun("full", cache, seed, plan)
    optimiser = torch.optim.Adam([*part.lip.parameters(), *part.reader.parameters()], LIP_RATE)
    for step in range(plan.lips):
        part.samples.seed(seed_of(seed, step, LENGTH))
        seen, _, shapes = part.samples.windows(LIP_CLIPS, LIP_RUN, PLAIN)
        middle = shapes.unflatten(1, (-1, LENGTH))[..., LENGTH // 2]
        loss = F.l1_loss(part.reader(part.lip(seen.transpose(1, 2))), middle)
        set_rate(optimiser, LIP_RATE * cosine(step, step / plan.lips, 10, 0.1))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
    return {key: value.clone() for key, value in part.lip.state_dict().items()}


def begun(name: str, cache: Path, seed: int, plan: Plan) -> Learner:
    """A variant before its first step."""
    preset = compact()
    preset = replace(preset, model=replace(preset.model, memory=name != "without_memory"))
    weights = replace(PUBLISHED, visual_visual=0.0) if name == "without_visual_visual" else PUBLISHED
    part = Learner(Options(cache=cache, out=cache, batch=plan.runs, seed=seed), preset=preset, weights=weights)
    shipped = checkpoints.load(NAME, PART)
    for network in (part.model, part.average):
        network.load_state_dict(network.state_dict() | {key: value for key, value in shipped.items() if key.startswith(KEPT)})
    return part


def learned(name: str, cache: Path, seed: int, plan: Plan, eyes: dict[str, torch.Tensor]) -> Learner:
    """A variant after its steps; eyes: the lip encoder's state that it begins with."""
    part, ranks = begun(name, cache, seed, plan), Ranks()
    part.lip.load_state_dict(eyes)
    part.rest()
    for step in range(plan.steps):
        chance = seed_of(seed, step)
        torch.manual_seed(chance)
        part.pace(step / plan.steps)
        part.update(part.draw(chance, ranks))
    return part
