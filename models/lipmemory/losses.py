"""SyncTalkFace's losses with the weights of its published training (SEEDS.md 3.4); picture terms are summed over both paths.

L = 10 L1 + 0.2 AV-sync + 0.2 VV-sync + 0.2 GAN + 0.2 (storage + alignment). L1 is on pictures in [0, 1], here [-1, 1] halved.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from models.lipmemory.networks import LipEncoder, QualityDiscriminator, SyncExpert, lower_half


@dataclass(frozen=True, kw_only=True)
class Weights:
    """What each term counts; zero leaves it out, for the ablation. The last three are not published: the preset that blends has them."""

    reconstruction: float = 10.0
    audio_visual: float = 0.2
    visual_visual: float = 0.2
    adversarial: float = 0.2
    memory: float = 0.2
    shape: float = 0.2  # that a linear layer reads the mouth's shape from what is drawn from
    flow: float = 30.0  # that the flow takes points of the mouth to where the reference has them
    parts: float = 0.2  # the painted pixels and the moved reference beside the picture they make


def reconstruction(drawn: Tensor, target: Tensor, weight: Tensor | None = None, squares: float = 0.0) -> Tensor:
    """L1 of pictures [N, 3, H, W] on the scale of [0, 1]; weight [N, 1, H, W] says where it counts more (published: nowhere).

    squares: how much squares count beside it (published: nothing).
    """
    apart = (drawn - target).abs() / 2
    apart = apart + squares * apart.square() if squares else apart
    return apart.mean() if weight is None else (apart * weight).mean() / weight.mean()


def audio_visual(expert: SyncExpert, drawn: Tensor, mels: Tensor) -> Tensor:
    """-log cos(F_a, F_v) of the frozen expert: five drawn faces [G, 5, 3, H, S] against the mel chunk [G, 1, 80, 16] that starts
    with the first.
    """
    likeness = (expert.see(lower_half(drawn)) * expert.hear(mels)).sum(-1)
    return -likeness.clamp(1e-4, 1).log().mean()


def visual_visual(critic: LipEncoder, drawn: Tensor, real: Tensor) -> Tensor:
    """L1 between lip features of the real window about a run's centre frame and of the five drawn faces, both [G, 5, 3, H, S].

    critic: a frozen copy of the lip encoder, so that pictures follow lips and not the other way round.
    """
    with torch.no_grad():
        wanted = critic(lower_half(real).transpose(1, 2))
    return F.l1_loss(critic(lower_half(drawn).transpose(1, 2)), wanted)


def adversarial(judge: QualityDiscriminator, drawn: Tensor) -> Tensor:
    """What the renderer pays for drawn lower halves that the discriminator tells from filmed ones."""
    found = judge(lower_half(drawn))
    return F.binary_cross_entropy_with_logits(found, torch.ones_like(found))


def judgement(judge: QualityDiscriminator, drawn: Tensor, real: Tensor) -> Tensor:
    """The discriminator's own loss: filmed lower halves against drawn ones of both paths."""
    fake, true = judge(lower_half(drawn).detach()), judge(lower_half(real))
    wrong = F.binary_cross_entropy_with_logits(fake, torch.zeros_like(fake))
    return (wrong + F.binary_cross_entropy_with_logits(true, torch.ones_like(true))) / 2
