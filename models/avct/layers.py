"""Blocks that the convolutional networks of AVCT share."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval


def conv_unit(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution without bias, batch norm, ReLU; the size is kept but for the stride."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class Residual(nn.Module):
    """Pre-activation residual block of two 3x3 convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, feature: Tensor) -> Tensor:
        """[B, C, H, W] to the same shape."""
        return feature + self.body(feature)


class Hourglass(nn.Module):
    """Encoder and decoder with skips: `blocks` halvings from `inputs` channels, widths doubling from `base` up to `most`."""

    def __init__(self, inputs: int, base: int, blocks: int, most: int) -> None:
        super().__init__()
        widths = [min(most, base * 2**i) for i in range(blocks + 1)]
        self.enter = conv_unit(inputs, widths[0])
        self.down = nn.ModuleList(conv_unit(a, b) for a, b in pairwise(widths))
        rising = list(reversed(widths))
        self.squeeze = nn.ModuleList(conv_unit(a, b, 1) for a, b in pairwise(rising))
        self.up = nn.ModuleList(conv_unit(2 * b, b) for b in rising[1:])
        self.channels = widths[0]

    def forward(self, feature: Tensor) -> Tensor:
        """[B, inputs, H, W] to [B, channels, H, W]; H and W divide by 2**blocks."""
        feature = self.enter(feature)
        skips = []
        for block in self.down:
            skips.append(feature)
            feature = block(F.avg_pool2d(feature, 2))
        for squeeze, block in zip(self.squeeze, self.up, strict=True):
            feature = F.interpolate(squeeze(feature), scale_factor=2, mode="nearest")
            feature = block(torch.cat([feature, skips.pop()], dim=1))
        return feature


def fuse(module: nn.Module) -> nn.Module:
    """Fold every batch norm that follows a convolution into it, in place; for inference, equal up to rounding."""
    for child in module.children():
        fuse(child)
    if isinstance(module, nn.Sequential):
        for at in range(len(module) - 1):
            first, second = module[at], module[at + 1]
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                module[at], module[at + 1] = fuse_conv_bn_eval(first.eval(), second.eval()), nn.Identity()
    return module
