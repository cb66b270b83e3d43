"""The second opinion on sync: nats of information between lips and sound by the engine coherence's estimator, where it is installed.

The estimator is not part of this room. `models/coherence/opinion.py`, once it exists with its weights, gives a class `Opinion` with
`load()`, and `WEIGHTS`, the engine and the name of its file; without it the feature `coherence` is not there, and the gate does without.
"""

import importlib
import importlib.util
from typing import Protocol

import numpy as np

from infra.samples import Wave

MODULE = "models.coherence.opinion"


class Opinion(Protocol):
    """One face's second opinion, picture by picture."""

    def add(self, picture: np.ndarray, landmarks: np.ndarray | None) -> None:
        """The next picture uint8 RGB [H, W, 3] and its face's landmarks [478, 2+] in its pixels, None where no face is seen."""

    def nats(self, wave: Wave) -> np.ndarray:
        """Nats of each window [windows] with a sound float32 [samples] at 16 kHz that begins with the first picture; NaN where unknown."""


def installed() -> bool:
    """Whether there is an estimator with weights."""
    from models import checkpoints

    if importlib.util.find_spec("models.coherence") is None or importlib.util.find_spec(MODULE) is None:
        return False
    module = importlib.import_module(MODULE)
    return checkpoints.place(*module.WEIGHTS).exists()


def version() -> str:
    """SHA-256 of the estimator's weights, "" where there is none."""
    from models import checkpoints

    return checkpoints.sha256(*importlib.import_module(MODULE).WEIGHTS) if installed() else ""


def opinion() -> Opinion | None:
    """A fresh second opinion, or None where there is no estimator. Raises WeightsError for weights that are damaged."""
    if not installed():
        return None
    made: Opinion = importlib.import_module(MODULE).Opinion.load()
    return made
