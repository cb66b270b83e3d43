"""How good coherence's compact preset is, on clips and faces that it never saw: the figures of `dubwright evaluate coherence`.

Clips are re-dubbed and measured as lipmemory's are (benchmarks/lipmemory.py). Beside these figures stands what the statistics network
finds in real lips, in drawn ones, and in real ones with their sound shifted. It taught the generator, so its word on drawn lips is
partial; confidence is not, for the scorer's network taught nobody.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import lipmemory
from benchmarks.lipmemory import mean
from models.coherence.engine import CoherenceEngine
from models.coherence.estimator import Estimator, faces_of
from models.coherence.estimator import mean as mean_nats
from models.lipmemory.engine import tracked
from models.types import FRAME_RATE, SAMPLE_RATE

SHIFT = 10  # frames that sound is shifted by, round the clip's end


def run(grid: Path, *, clips: int = 16, ablate: bool = False, cache: Path | None = None) -> dict[str, Any]:
    """What `dubwright evaluate coherence` prints: the figures, or the ablation's."""
    if ablate:
        from benchmarks.coherence_ablation import ablation

        return ablation(grid, cache=cache)
    return evaluate(grid, clips=clips)


def evaluate(grid: Path, *, clips: int = 16, others: int | None = None, engine: CoherenceEngine | None = None) -> dict[str, Any]:
    """Every figure of lipmemory's evaluation, and the means of nats over clips."""
    found = lipmemory.evaluate(grid, clips=clips, others=others, engine=engine or CoherenceEngine.load(), also=coherence_of(Estimator.load()))
    several = (("", "clips"), ("unseen_", "unseen"))
    for prefix, rows in several:
        found["figures"] |= {f"{prefix}{name}_nats": round(mean(found[rows], f"{name}_nats"), 4) for name in ("real", "made", "shifted")}
    return found


def coherence_of(estimator: Estimator) -> Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], dict[str, float]]:
    """What gives rows their nats: of made and real frames [T, H, W, 3] with their sound, and of real ones with it shifted."""

    def nats(made: np.ndarray, real: np.ndarray, marks: np.ndarray, voice: np.ndarray) -> dict[str, float]:
        late = np.roll(voice, SHIFT * SAMPLE_RATE // FRAME_RATE)
        several = {"real_nats": (real, voice), "made_nats": (made, voice), "shifted_nats": (real, late)}
        return {name: mean_nats(estimator.coherence(faces_of(tracked(frames, marks)), sound)) for name, (frames, sound) in several.items()}

    return nats
