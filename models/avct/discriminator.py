"""What tells painted mouths from filmed ones while the renderer is trained; nothing of it ships.

A patch discriminator (Isola et al. 2017) on the mouth's square, told where the lips are to be, so that a sharp mouth of the wrong
shape is as wrong as a blurred one of the right shape; hinge loss and feature matching (Wang et al. 2018).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.avct.dense_motion import grid, heatmaps

SIZE = 48  # pixels a side of the mouth's square, cut from the picture at its own scale
VARIANCE = 0.01  # of the lips' bumps, in half sides of the mouth's square


class MouthDiscriminator(nn.Module):
    """Mouth squares [B, 3, 48, 48] and lips [B, L, 2] to features and verdicts, a verdict per patch.

    Each square is brought to one brightness and contrast, and its fine detail is given beside it: that is where painted mouths
    differ, and what it then learns in a hundred steps it otherwise does not learn in a thousand.
    """

    def __init__(self, lips: int, width: int = 48) -> None:
        super().__init__()

        def step(inputs: int, outputs: int, stride: int) -> nn.Sequential:
            wide = nn.Conv2d(inputs, outputs, 4 if stride == 2 else 3, stride, 1)
            return nn.Sequential(wide, nn.InstanceNorm2d(outputs), nn.LeakyReLU(0.2))

        first = nn.Sequential(nn.Conv2d(6 + lips, width, 4, 2, 1), nn.LeakyReLU(0.2))
        self.steps = nn.ModuleList([first, step(width, 2 * width, 2), step(2 * width, 3 * width, 1), nn.Conv2d(3 * width, 1, 3, 1, 1)])

    def forward(self, mouths: Tensor, lips: Tensor) -> list[Tensor]:
        """Each layer's output; the last one is the verdict [B, 1, 12, 12], above 0 for filmed."""
        level = mouths.mean((1, 2, 3), keepdim=True)
        mouths = (mouths - level) / (mouths.std((1, 2, 3), keepdim=True) + 0.03)
        detail = 4 * (mouths - F.avg_pool2d(F.pad(mouths, (2, 2, 2, 2), mode="replicate"), 5, 1))
        feature = torch.cat([mouths, heatmaps(lips, SIZE, SIZE, VARIANCE), detail], 1)
        found = []
        for step in self.steps:
            feature = step(feature)
            found.append(feature)
        return found


def cut_mouths(pictures: Tensor, lips: Tensor) -> tuple[Tensor, Tensor]:
    """The squares about the lips [B, L, 2] of pictures [B, C, S, S], and the lips in the squares' own coordinates."""
    half = SIZE / pictures.shape[-1]
    centre = lips.mean(1, keepdim=True)
    where = grid(SIZE, SIZE, lips).reshape(1, -1, 2) * half + centre
    looked = where.reshape(len(pictures), SIZE, SIZE, 2)
    return F.grid_sample(pictures, looked, padding_mode="border", align_corners=False), (lips - centre) / half


def discriminator_loss(filmed: list[Tensor], painted: list[Tensor]) -> Tensor:
    """Hinge loss of the discriminator on its verdicts of both."""
    return F.relu(1 - filmed[-1]).mean() + F.relu(1 + painted[-1]).mean()


def generator_loss(filmed: list[Tensor], painted: list[Tensor], matching: float = 10.0) -> Tensor:
    """What the painter pays: its verdicts, and how far each inner layer's view of its picture is from that of the filmed one."""
    apart = sum(((a.detach() - b).abs().mean() for a, b in zip(filmed[:-1], painted[:-1], strict=True)), torch.zeros(()))
    return matching * apart / (len(filmed) - 1) - painted[-1].mean()
