"""Dynamic attention (DA): the lips of the input picture are faded at first, and count more and more in what is drawn.

Published is that attention selects the lip area of the input image, dynamically, while training (Zhu et al. 2020); neither formula
nor schedule is. Here, with p the part of the run that is over, u = min(1, p / 0.7), c the middle and w the width of the mouth:

    G(x) = exp(-|x - c|^2 / (2 (w / 2)^2))                     a Gaussian about the lips, from landmarks
    input(x)  = picture(x) (1 - s(p) G(x))                     s(p) = 0.9 (1 + cos(pi u)) / 2: from 0.9 to 0
    weight(x) = 1 + m(p) B(x)                                  m(p) = 14 u: from 0 to 14

So the lips of the reference cannot be copied while the generator learns to hear, and are there again well before the run ends, as they
are at work; mid-grey, 0, takes their place. Reconstruction looks at the whole face first and at the mouth in the end. B is lipmemory's
flat-topped bump. Without attention the input is as it is and every pixel counts the same.

In the preset that blends, the picture that the flow moves is never faded: what is taken away is what the generator knows of it.
"""

import math

import torch
from torch import Tensor

from models.avct.dense_motion import grid
from models.lipmemory.samples import LIPS

FADED = 0.9  # how much of the lips is taken away at first
MOST = 14.0  # how much more the mouth counts in the end
SETTLED = 0.7  # share of the run after which nothing changes
SPREAD = 0.5  # the Gaussian's standard deviation, in widths of the mouth


def settled(portion: float) -> float:
    """How far the schedule is, 0 to 1."""
    return min(1.0, portion / SETTLED)


def fading(portion: float) -> float:
    """s(p): how much is taken from the middle of the reference's lips."""
    return FADED * 0.5 * (1 + math.cos(math.pi * settled(portion)))


def emphasis(portion: float) -> float:
    """m(p): how much more than the rest the middle of the mouth counts in the reconstruction."""
    return MOST * settled(portion)


def gaussian(lips: Tensor, size: int) -> Tensor:
    """G [N, 1, S, S] about lips [N, K, 2] in half sides of the face, the first two of which are the corners."""
    centre = lips[:, : len(LIPS)].mean(1)[:, None, None]
    width = (lips[:, 1] - lips[:, 0]).norm(dim=-1)[:, None, None]
    away = (grid(size, size, lips)[None] - centre).square().sum(-1)
    return torch.exp(-away / (2 * (SPREAD * width).square().clamp_min(1e-6)))[:, None]


def faded(pictures: Tensor, lips: Tensor, portion: float) -> Tensor:
    """Input pictures [N, 3, S, S] in [-1, 1] without as much of their lips [N, K, 2] as the schedule says."""
    strength = fading(portion)
    return pictures * (1 - strength * gaussian(lips, pictures.shape[-1])) if strength else pictures
