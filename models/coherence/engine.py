"""The coherence engine: lips drawn by a generator that learned by mutual information and dynamic attention.

Where faces come from, how they are heard, brought to their reference and composed back is what lipmemory's engine does.
"""

from models.coherence.config import compact
from models.coherence.networks import Generator
from models.lipmemory.engine import LipEngine


class CoherenceEngine(LipEngine):
    """Preset `compact`: lips drawn by sound alone."""

    name = "coherence"

    @staticmethod
    def bare() -> Generator:
        """The renderer without its weights."""
        return Generator(compact().model)
