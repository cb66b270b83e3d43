"""The coherence engine: lips drawn by a generator that learned by mutual information and dynamic attention.

Where faces come from, how they are heard, brought to their reference and composed back is what lipmemory's engine does.
"""

import functools

from models import checkpoints
from models.coherence.config import compact
from models.coherence.networks import Generator
from models.lipmemory.engine import LipEngine

NAME, PART = "coherence", "compact"


class CoherenceEngine(LipEngine):
    """Preset `compact`. Get it by `load`."""

    @classmethod
    def load(cls, preset: str = "compact") -> "CoherenceEngine":
        """The engine with its shipped weights, checked by hash and kept for the life of the process.

        Raises WeightsError when a file is missing or is not what its card says, ValueError for a preset that does not exist.
        """
        if preset != "compact":
            raise ValueError(f"coherence has weights of the preset 'compact', not {preset!r}")
        return _load()


@functools.cache
def _load() -> CoherenceEngine:
    generator = Generator(compact().model)
    generator.load_state_dict(checkpoints.load(NAME, PART), strict=True)
    return CoherenceEngine(generator, (checkpoints.sha256(NAME, PART),))
