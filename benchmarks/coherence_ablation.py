"""What dynamic attention and mutual information are good for: `dubwright evaluate coherence --ablation`.

Arms are a generator with its frame discriminator and uniform L1 (`baseline`), with attention, with information, and with both; and both
by the Donsker-Varadhan bound, and with a statistics network that learns from drawn frames, too. Every arm begins from the same weights,
the shipped lipmemory renderer's (with `sounds`, its ears learn anew first, from sounds alone, once a seed), sees the same samples for as
many steps, and is paid alike for all that arms do not differ in. Statistics networks begin from the shipped one and go on learning,
each by its arm's own bound. What is compared are held-out clips, re-dubbed by the engine. Nats are the shipped network's, which taught
the arms that have information: confidence, distance of lips and decibels are what counts.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.ablation import difference, of_variant, over_seeds
from benchmarks.avct import spread
from benchmarks.coherence import coherence_of
from benchmarks.lipmemory import mean, redub
from models.coherence.engine import CoherenceEngine
from models.coherence.estimator import Estimator
from models.coherence.losses import Settings
from models.coherence.networks import Generator as Network
from models.coherence.train_generator import Generator
from models.corpus import clips_of
from models.training.loop import read
from models.training.part import Options, seed_of
from models.training.ranks import Ranks

PLAIN, INFORMED = Settings(information="", attention=False, learning=True), "jensen_shannon"
ARMS = {
    "baseline": PLAIN,
    "attention": replace(PLAIN, attention=True),
    "information": replace(PLAIN, information=INFORMED),
    "both": replace(PLAIN, information=INFORMED, attention=True),
    "both_dv": replace(PLAIN, information="donsker_varadhan", attention=True),
    "both_symmetric": replace(PLAIN, information=INFORMED, attention=True, symmetric=True),
}
OWN = ("psnr_gain_db", "mouth_psnr_gain_db", "ssim", "lmd", "confidence", "made_nats")  # of held-out clips
OTHERS = ("lmd", "confidence")  # of clips of people that nothing learned from
COMPARED = (*OWN, *(f"unseen_{name}" for name in OTHERS))
EVERY = 3  # of the other people's clips one is taken
PAIRS = (
    ("attention", "baseline"), ("information", "baseline"), ("both", "baseline"), ("both", "attention"), ("both", "information"),
    ("both", "both_dv"), ("both", "both_symmetric"),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How long each arm learns, from how many clips, at which rate and weight, and on how many clips it is measured."""

    steps: int = 100
    batch: int = 8
    learned: int = 0  # all
    measured: int = 4
    sounds: int = 60  # steps of sounds alone that ears learn anew by before arms part; 0 keeps the shipped ears
    rate: float = 4e-4
    mutual: float = Settings.mutual
    arms: tuple[str, ...] = tuple(ARMS)


class Learner(Generator):
    """The generator in training, whose runs of frames come by turns with single ones from the first step."""

    ends = (0.0, 0.0)


class Listener(Generator):
    """The same, which hears sounds alone."""

    ends = (1.0, 1.0)


def ablation(grid: Path, *, seeds: int = 3, plan: Plan | None = None, cache: Path | None = None) -> dict[str, Any]:
    """Each arm's figures, and what one arm has over another: means and standard deviations over seeds.

    cache: clips that were prepared before (a training run's `clips`); without it they are prepared for this call, and thrown away.
    """
    plan = plan or Plan()
    runs = over_seeds(_seed, grid, cache, plan, seeds)
    figures = {f"{name}_{figure}": round(mean(of_variant(runs, name), figure), 4) for name in plan.arms for figure in COMPARED}
    return {"figures": figures, "gained": gained(runs), "plan": asdict(plan), "runs": runs}


def gained(runs: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """What one arm of each pair has over the other, seed by seed."""
    there = {row["variant"] for row in runs}
    pairs = [pair for pair in PAIRS if there.issuperset(pair)]
    return {f"{figure}_of_{a}_over_{b}": difference(runs, a, b, figure) for a, b in pairs for figure in COMPARED}


def _seed(seed: int, grid: Path, cache: Path, out: Path, plan: Plan) -> list[dict[str, Any]]:
    """One seed's figures of every arm."""
    torch.set_num_threads(1)
    found, also = clips_of(grid), coherence_of(Estimator.load())
    clips, others = spread(found["validation"], plan.measured), found["unseen"][::EVERY]
    start = begun(cache, out, seed, plan)
    rows = []
    for arm in plan.arms:
        engine = CoherenceEngine(learned(arm, cache, seed, plan, start).average)
        own, unseen = ([redub(path, engine, also=also) for path in paths] for paths in (clips, others))
        row = {name: mean(own, name) for name in OWN} | {f"unseen_{name}": mean(unseen, name) for name in OTHERS}
        rows.append({"variant": arm, "seed": seed} | {figure: round(value, 4) for figure, value in row.items()})
    return rows


def begun(cache: Path, out: Path, seed: int, plan: Plan) -> Path:
    """The checkpoint that all arms of a seed begin from."""
    part = Listener(Options(cache=cache, out=out, batch=plan.batch, seed=seed), settings=PLAIN)
    if plan.sounds:
        torch.manual_seed(seed)
        fresh = Network(part.preset.model)
        for name in ("audio", "fusion"):
            getattr(part.model, name).load_state_dict(getattr(fresh, name).state_dict())
        part.reader.reset_parameters()
        taught(part, seed, plan.sounds, 1e-3)
    for slow, fast in zip(part.average.state_dict().values(), part.model.state_dict().values(), strict=True):
        slow.copy_(fast)
    path = out / f"start-{seed}.pt"
    torch.save({name: network.state_dict() for name, network in part.networks.items()}, path)
    return path


def learned(name: str, cache: Path, seed: int, plan: Plan, start: Path) -> Generator:
    """An arm after its steps."""
    part = Learner(Options(cache=cache, out=cache, batch=plan.batch, seed=seed, start=start), settings=replace(ARMS[name], mutual=plan.mutual))
    part.begin(read(start))
    return taught(part, seed, plan.steps, plan.rate)


def taught(part: Generator, seed: int, steps: int, rate: float) -> Generator:
    """A part after so many steps."""
    ranks, part.rate = Ranks(), rate
    for step in range(steps):
        chance = seed_of(seed, step)
        torch.manual_seed(chance)
        part.pace(step / steps)
        part.update(part.draw(chance, ranks))
    return part
