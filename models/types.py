"""What the stages hand to one another: speech, portraits, motion and scores as plain values.

Time axes: `samples` at 16 kHz, `rows` at 100 Hz, `frames` at 25 a second.
"""

from dataclasses import dataclass, field

import numpy as np

from infra.samples import Wave

SAMPLE_RATE = 16_000  # samples a second, mono
ROW_RATE = 100  # audio feature rows a second
FRAME_RATE = 25  # picture frames a second that every engine thinks in


@dataclass(frozen=True, slots=True)  # an hour of speech has forty thousand
class Phone:
    """One phone of the 41-symbol CMU set (SIL and NSN included), in seconds from the start of the speech."""

    symbol: str
    start: float
    end: float


@dataclass(frozen=True)
class Cue:
    """A timed line of a script, in seconds; `end` is where the speech ends once it is known. off: whoever says it is not seen."""

    start: float
    end: float
    text: str
    speaker: str = ""
    off: bool = False


@dataclass(frozen=True)
class Speech:
    """What an engine hears.

    wave: float32 [samples] in [-1, 1], in memory or in a file. phones: in order, gaps are silence. activity: float32 [rows], 1 where a voice
    speaks. notes: what a reader should know (an alignment that is a guess, a cue that overran). apart: each cue was spoken for itself, with
    silence between them, and is heard at its own loudness: so what one cue does to lips does not hang on another.
    """

    wave: Wave
    phones: tuple[Phone, ...]
    activity: np.ndarray
    cues: tuple[Cue, ...] = ()
    notes: tuple[str, ...] = ()
    apart: bool = False

    @property
    def seconds(self) -> float:
        """Length of the sound."""
        return len(self.wave) / SAMPLE_RATE

    @property
    def frames(self) -> int:
        """Picture frames that cover the sound, the last one counted whole."""
        return -(-len(self.wave) * FRAME_RATE // SAMPLE_RATE)


@dataclass(frozen=True)
class Portrait:
    """A picture of one face: picture uint8 RGB [H, W, 3]; landmarks float32 [478, 3] in pixels, face-mesh order."""

    picture: np.ndarray
    landmarks: np.ndarray


@dataclass(frozen=True)
class Motion:
    """Driving keypoints in the portrait's face square, [-1, 1]: values [frames, K, 2], jacobians [frames, K, 2, 2].

    anchor: the frame of the predicted motion that stands for the portrait's own expression.
    """

    values: np.ndarray
    jacobians: np.ndarray
    anchor: int

    @property
    def frames(self) -> int:
        """Number of frames."""
        return len(self.values)


@dataclass(frozen=True)
class SyncScore:
    """How well lips and speech agree. Offsets in frames at 25 a second; positive: the audio leads, as SyncNet counts.

    distances: float32 [31], mean distance at offsets -15..+15. window_confidence: of each 5-frame window as played (offset 0);
    seconds: per second of video (its own offset, confidence as played). scorable: False when no face or no speech was found, and
    `reason` says which. The numbers are this project's scorer's own, not LSE-C or LSE-D. features: what else the gate weighs, by name
    (models/quality/features.py). closures: where the phones are known, each /p b m/ that is seen as (sound, seconds, least gap between
    the lips in mouth widths), with their part that is closed in `extra` (models/quality/closures.py).
    """

    offset: int
    distance: float
    confidence: float
    distances: np.ndarray
    window_confidence: np.ndarray
    seconds: tuple[tuple[int, float], ...] = ()
    scorable: bool = True
    reason: str = ""
    scorer: str = ""
    extra: dict[str, float] = field(default_factory=dict)
    features: dict[str, float] = field(default_factory=dict)
    closures: tuple[tuple[str, float, float], ...] = ()
