"""The engines by name, loaded once a process, with as many threads as the settings allow."""

import functools
from typing import Any

from infra.settings import get_settings
from models import checkpoints
from models.imports import PAPER

WEIGHTS = {  # of what can render: the weights that it needs
    ("avct", "compact"): ("compact-renderer", "compact-transformer", "compact-audio2pose"),
    ("avct", "paper"): PAPER,
    ("lipmemory", "compact"): ("compact",),
    ("coherence", "compact"): ("compact",),
}
LIPS = ("lipmemory", "coherence")  # engines that draw lips alone: over a video's faces, or over a portrait that another moves


@functools.cache
def engine(name: str, preset: str) -> Any:
    """What a job's engine is. Raises WeightsError, ValueError for one that does not exist."""
    import torch

    torch.set_num_threads(get_settings().threads)
    if name == "lipmemory":
        from models.lipmemory.engine import LipMemoryEngine

        return LipMemoryEngine.load(preset)
    if name == "coherence":
        from models.coherence.engine import CoherenceEngine

        return CoherenceEngine.load(preset)
    if name != "avct":
        raise ValueError(f"there is no engine {name!r}")
    if preset == "paper":
        from models.avct.paper.engine import PaperEngine

        return PaperEngine.load()
    from models.avct.engine import AvctEngine

    return AvctEngine.load(preset)


def usable(preset: str, *, video: bool, commercial: bool = True) -> tuple[str, ...]:
    """The engines whose weights of a preset are here and, for commercial use, may be used so; for a video or for a portrait."""
    there = [name for (name, size), parts in WEIGHTS.items() if size == preset and all(checkpoints.place(name, part).exists() for part in parts)]
    return tuple(name for name in there if (not video or name in LIPS) and not (commercial and unlicensed(name, preset, video=video)))


def unlicensed(name: str, preset: str, *, video: bool) -> list[checkpoints.Card]:
    """The cards of weights by which a job of an engine (`auto`: of any) is made and which may not be used commercially, as far as they are here."""
    makers = [one for one, size in WEIGHTS if size == preset and (not video or one in LIPS)] if name == "auto" else [name, *(["avct"] if not video and name in LIPS else [])]
    parts = [(one, part) for one in makers for part in WEIGHTS.get((one, preset), ())] + [("syncnet", "compact")]
    there = [checkpoints.card(one, part) for one, part in dict.fromkeys(parts) if checkpoints.place(one, part).exists()]
    return [card for card in there if card.licence_class != "open"]


def mover(name: str, preset: str) -> Any:
    """The engine that moves a portrait for a job's engine: one that draws lips alone does so over what `avct` moves."""
    return engine("avct" if name in LIPS else name, preset)


def weights_of(name: str, preset: str, *, video: bool) -> tuple[str, ...]:
    """Hashes of all weights that a job of an engine renders with."""
    own = tuple(engine(name, preset).weights)
    return own if video or name not in LIPS else (*own, *mover(name, preset).weights)
