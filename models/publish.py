"""Turn a training run's checkpoint into weights with a card."""

from pathlib import Path
from typing import Any

import torch

from models import checkpoints
from models.training.loop import read

GRID = (
    "Contains material from the GRID audiovisual sentence corpus: M. Cooke, J. Barker, S. Cunningham, X. Shao, "
    '"An audio-visual corpus for speech perception and automatic speech recognition", JASA 120(5), 2006, 2421-2424; '
    "The Grid Audio-Visual Speech Corpus, Zenodo, doi:10.5281/zenodo.3625687, licensed CC BY 4.0 "
    "(https://creativecommons.org/licenses/by/4.0/). Changes: cropped, re-encoded, used to train networks."
)
GRID_DATA = "GRID corpus, speaker s1 only (834 clips, 41 minutes): a one-speaker model"


def publish(
    checkpoint: Path, network: str, engine: str, preset: str, name: str, command: str, metrics: dict[str, Any], corpus: Path,
    *, also: tuple[Path, ...] = (), config: dict[str, Any] | None = None,
) -> checkpoints.Card:  # fmt: skip
    """Write a network of a checkpoint as weights: a preset `compact` in half precision in the project, `paper` in full in the home folder.

    corpus: the clips that it learned from; of others than GRID the card knows no licence and allows no commercial use. also:
    checkpoints of other runs from the same start; the mean of all runs' weights is written, which does better on voices and
    faces that none of them saw (Wortsman et al. 2022).
    """
    states = [read(path)[network] for path in (checkpoint, *also)]
    mean = {key: torch.stack([s[key] for s in states]).mean(0) if value.is_floating_point() else value for key, value in states[0].items()}
    small = preset == "compact"
    kept = {key: value.half() if small and value.is_floating_point() else value for key, value in mean.items()}
    return checkpoints.save(
        kept, imported=not small, name=name, engine=engine, preset=preset, command=command, metrics=metrics, config=config or {}, **_terms(corpus)
    )


def _terms(corpus: Path) -> dict[str, str]:
    if (corpus / "s1" / "validation.txt").exists():
        return {"licence": "Apache-2.0 (weights); training data CC BY 4.0", "licence_class": "open", "data": GRID_DATA, "attribution": GRID}
    return {
        "licence": "as the owners of the clips allow; not known to this project", "licence_class": "research",
        "data": f"clips of the folder {corpus.name}", "attribution": "that of the clips",
    }  # fmt: skip
