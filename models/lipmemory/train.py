"""Train lipmemory's compact preset: `dubwright train lipmemory`. The sync expert first, then the renderer; each resumes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from models.lipmemory import train_expert, train_model

PARTS: dict[str, Callable[..., dict[str, Any]]] = {"expert": train_expert.train, "renderer": train_model.train}
SHARES = {"expert": 0.2, "renderer": 0.8}  # of the time given to all
FILES = {"expert": "expert.pt", "renderer": "model.pt"}


def train(cache: Path, out: Path, seconds: float, *, part: str = "", threads: int = 1) -> dict[str, Any]:
    """Train one part, or both in turn, for a time in seconds; returns each part's last figures.

    cache: clips prepared by models/corpus.py; out: checkpoints. Raises ValueError for a part that does not exist.
    """
    if part and part not in PARTS:
        raise ValueError(f"lipmemory has the parts {', '.join(PARTS)}, not {part!r}")
    return {name: PARTS[name](cache, out, seconds * (1 if part else SHARES[name]), threads=threads) for name in ([part] if part else PARTS)}
