"""Turn a training run's checkpoint into weights with a card."""

from pathlib import Path
from typing import Any

import torch

from models import checkpoints

GRID = (
    "Contains material from the GRID audiovisual sentence corpus: M. Cooke, J. Barker, S. Cunningham, X. Shao, "
    '"An audio-visual corpus for speech perception and automatic speech recognition", JASA 120(5), 2006, 2421-2424; '
    "The Grid Audio-Visual Speech Corpus, Zenodo, doi:10.5281/zenodo.3625687, licensed CC BY 4.0 "
    "(https://creativecommons.org/licenses/by/4.0/). Changes: cropped, re-encoded, used to train networks."
)
DATA = "GRID corpus, speaker s1 only (834 clips, 41 minutes): a one-speaker model"


def publish(
    checkpoint: Path, engine: str, name: str, command: str, metrics: dict[str, Any], *,
    average: bool = False, also: tuple[Path, ...] = (), data: str = DATA,
) -> checkpoints.Card:
    """Write a checkpoint's model (or its running average) as half-precision weights of a preset `compact`.

    also: checkpoints of other runs from the same start; the mean of all runs' weights is written, which does better on voices and
    faces that none of them saw (Wortsman et al. 2022).
    """
    states = [torch.load(path, weights_only=True, map_location="cpu")["average" if average else "model"] for path in (checkpoint, *also)]
    mean = {key: torch.stack([s[key] for s in states]).mean(0) if value.is_floating_point() else value for key, value in states[0].items()}
    kept = {key: value.half() if value.is_floating_point() else value for key, value in mean.items()}
    return checkpoints.save(
        kept,
        name=name,
        engine=engine,
        preset="compact",
        licence="Apache-2.0 (weights); training data CC BY 4.0",
        licence_class="open",
        data=data,
        attribution=GRID,
        command=command,
        metrics=metrics,
    )
