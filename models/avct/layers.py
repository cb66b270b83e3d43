"""Blocks that the convolutional networks of AVCT share."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


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
        self.down = nn.ModuleList(conv_unit(a, b) for a, b in zip(widths[:-1], widths[1:], strict=True))
        rising = list(reversed(widths))
        self.squeeze = nn.ModuleList(conv_unit(a, b, 1) for a, b in zip(rising[:-1], rising[1:], strict=True))
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
