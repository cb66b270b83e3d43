"""The features by name: unit, on which side of its limit a good take lies, and what a take beyond it is told. Light: the gate reads it."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Feature:
    """unit; good: on which side of its limit a good take lies; what it is; fault: what a take beyond the limit is told; against: what it is
    compared with, if anything; instead: the feature against a source that speaks for it where it is known, since what the source has is
    no fault of the take; limited: whether it may have a limit.
    """

    unit: str
    good: Literal["below", "above"]
    what: str
    fault: str
    against: str = ""
    instead: str = ""
    limited: bool = True


FEATURES: dict[str, Feature] = {
    "silent_motion": Feature("mouth widths a frame", "below", "how fast the lips open and close in silence", "the mouth moves where nobody speaks"),
    "spoken_motion": Feature("mouth widths a frame", "above", "how fast the lips open and close in speech", "the mouth stands still where somebody speaks"),
    "sharpness": Feature("dB", "above", "the fine detail of the mouth over that of eyes and cheeks", "the mouth is blurred beside the rest of the face", instead="sharpness_kept"),
    "sharpness_kept": Feature("dB", "above", "the same over the source's own", "the mouth is more blurred than in the source", "source"),
    "flicker": Feature("ratio", "below", "the jumps of the skin about the mouth over those of the upper face", "the lower face flickers", instead="flicker_added"),
    "flicker_added": Feature("ratio", "below", "the same over the source's own", "the lower face flickers more than in the source", "source"),
    "seam": Feature("grey levels", "below", "the steepest edge along a redrawn area's border on the cheeks", "an edge runs across the cheeks", instead="seam_added", limited=False),
    "seam_added": Feature("grey levels", "below", "the same less the source's own", "an edge that the source does not have runs across the cheeks", "source"),
    "likeness": Feature("correlation", "above", "how like the source the face is", "the face has become another", "source"),
    "confidence_kept": Feature("ratio", "above", "the scorer's confidence over that of the source's own sound", "lips and speech agree far less than in the source", "source"),
    "coherence": Feature("nats", "above", "the information that lips and sound share, a second opinion", "the second opinion hears another speech than it sees", limited=False),
}  # fmt: skip
