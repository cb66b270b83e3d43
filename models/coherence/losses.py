"""What generator, frame discriminator and statistics network pay (SEEDS.md 2).

L = 10 L_rec + lambda_adv L_adv - lambda_MI I. L_rec is L1 on pictures in [0, 1], weighted as attention.py says. The statistics network
never pays for what the generator draws, unless training is `symmetric`, which is there to be compared. Weights are not published.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from models.coherence.information import KINDS
from models.coherence.networks import FrameDiscriminator
from models.lipmemory.networks import lower_half


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Which terms a generator learns by, and what each counts. Raises ValueError for an unknown bound."""

    information: str = "jensen_shannon"  # the bound, or "" for none
    symmetric: bool = False  # the statistics network learns from drawn frames, too, where it goes on learning
    learning: bool = False  # it goes on learning while the generator does
    attention: bool = True
    reconstruction: float = 10.0
    adversarial: float = 0.05
    mutual: float = 0.2
    squares: float = 4.0  # how much squares count beside L1 at the end of a run: decibels are of squares
    # for the preset that blends, in every arm of a comparison alike, as lipmemory's
    flow: float = 30.0  # that the flow takes points of the mouth to where the reference has them
    parts: float = 0.2  # the painted pixels and the moved reference beside the picture they make
    shape: float = 0.2  # that a linear layer can read the mouth's shape from what is drawn from

    def __post_init__(self) -> None:
        if self.information and self.information not in KINDS:
            raise ValueError(f"information is none of {KINDS}, nor empty: {self.information!r}")


def adversarial(judge: FrameDiscriminator, drawn: Tensor, mels: Tensor) -> Tensor:
    """L_adv: what the generator pays for frames [N, 3, H, S] that are told from filmed ones with their sound [N, 1, 80, 16]."""
    found = judge(lower_half(drawn), mels)
    return F.binary_cross_entropy_with_logits(found, torch.ones_like(found))


def judgement(judge: FrameDiscriminator, drawn: Tensor, real: Tensor, mels: Tensor, other: Tensor) -> Tensor:
    """The discriminator's own loss: filmed frames with their sound are 1; drawn ones with it, and filmed with another's, are 0.

    drawn, real [N, 3, H, S] faces or lower halves; mels, other [N, 1, 80, 16].
    """
    count = len(real)
    halves = torch.cat([lower_half(real), lower_half(drawn).detach(), lower_half(real)])
    found = judge(halves, torch.cat([mels, mels, other]))
    right, wrong = found[:count], found[count:]
    paid = F.binary_cross_entropy_with_logits
    return (paid(right, torch.ones_like(right)) + paid(wrong, torch.zeros_like(wrong))) / 2
