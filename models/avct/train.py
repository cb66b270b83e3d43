"""Train AVCT's compact preset: `dubwright train avct`. Clips are prepared once into a cache; each part resumes from its checkpoint."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from models.avct import train_motion, train_painter, train_renderer
from models.avct.transcripts import write_phones
from models.corpus import prepare
from models.publish import publish

PARTS: dict[str, Callable[..., dict[str, Any]]] = {
    "renderer": train_renderer.train,
    "painter": train_painter.train,
    "transformer": train_motion.train_transformer,
    "audio2pose": train_motion.train_pose,
}
SHARES = {"renderer": 0.45, "painter": 0.25, "transformer": 0.25, "audio2pose": 0.05}  # of the time given to all


def train(grid: Path, cache: Path, out: Path, seconds: float, *, part: str = "", threads: int = 1, keep: bool = False) -> dict[str, Any]:
    """Train one part, or all in turn, for a time in seconds; returns each part's last figures.

    grid: a folder of GRID clips; cache: prepared arrays, filled when empty; out: checkpoints. keep: replace the shipped weights.
    Raises ValueError for a part that does not exist.
    """
    if part and part not in PARTS:
        raise ValueError(f"AVCT has the parts {', '.join(PARTS)}, not {part!r}")
    prepare(grid, cache)
    write_phones(grid, cache)
    found = {}
    for name in [part] if part else list(PARTS):
        found[name] = PARTS[name](cache, out, seconds if part else seconds * SHARES[name], threads=threads)
        if keep:
            paints = name in ("renderer", "painter")
            weights = "compact-renderer" if paints else f"compact-{name}"
            publish(out / f"{name}.pt", "avct", weights, f"dubwright train avct --part {name}", found[name], average=paints)
    return found
