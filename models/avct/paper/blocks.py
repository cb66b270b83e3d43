"""What the published networks are built of; attribute names are the published state-dict keys.

The first-order motion model's blocks (Siarohin et al. 2019) and the token encoders' residual block. B batch, C channels.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kernels.geometry import grid


class ConvNorm(nn.Module):
    """Convolution with bias, batch norm, ReLU; `grow` doubles the size before (nearest), `shrink` halves it after (mean)."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, *, grow: bool = False, shrink: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
        self.norm = nn.BatchNorm2d(outputs)
        self.grow, self.shrink = grow, shrink

    def forward(self, feature: Tensor) -> Tensor:
        """[B, inputs, H, W] to [B, outputs, H', W']."""
        if self.grow:
            feature = F.interpolate(feature, scale_factor=2, mode="nearest")
        feature = F.relu(self.norm(self.conv(feature)))
        return F.avg_pool2d(feature, 2) if self.shrink else feature


class Residual(nn.Module):
    """Two pre-activation 3x3 convolutions added to their input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(channels)
        self.norm2 = nn.BatchNorm2d(channels)

    def forward(self, feature: Tensor) -> Tensor:
        """[B, C, H, W] to the same shape."""
        return feature + self.conv2(F.relu(self.norm2(self.conv1(F.relu(self.norm1(feature))))))


class Hourglass(nn.Module):
    """`blocks` halvings and as many doublings with skips; the input itself is the last skip. Out: `base` + `inputs` channels."""

    def __init__(self, inputs: int, base: int, blocks: int = 5, most: int = 1024) -> None:
        super().__init__()
        widths = [min(most, base * 2**i) for i in range(blocks + 1)]
        down = [ConvNorm(inputs if i == 0 else widths[i], widths[i + 1], shrink=True) for i in range(blocks)]
        up = [ConvNorm(widths[i + 1] * (1 if i == blocks - 1 else 2), widths[i], grow=True) for i in reversed(range(blocks))]
        self.encoder = nn.ModuleDict({"down_blocks": nn.ModuleList(down)})
        self.decoder = nn.ModuleDict({"up_blocks": nn.ModuleList(up)})
        self.channels = base + inputs

    def forward(self, feature: Tensor) -> Tensor:
        """[B, inputs, H, W] to [B, base + inputs, H, W]; H and W divide by 2**blocks."""
        skips = [feature]
        for block in cast(nn.ModuleList, self.encoder["down_blocks"]):
            skips.append(block(skips[-1]))
        feature = skips.pop()
        for block in cast(nn.ModuleList, self.decoder["up_blocks"]):
            feature = torch.cat([block(feature), skips.pop()], dim=1)
        return feature


class AntiAliased(nn.Module):
    """A Gaussian blur and every `stride`th pixel, zeros outside; in checkpoints by four, sigma 1.5, 13x13, the kernel a buffer `weight`."""

    weight: Tensor

    def __init__(self, channels: int, sigma: float = 1.5, reach: int = 6, stride: int = 4) -> None:
        super().__init__()
        self.stride = stride
        line = torch.exp(-(torch.arange(-reach, reach + 1, dtype=torch.float32) ** 2) / (2 * sigma**2))
        kernel = line[:, None] * line
        self.register_buffer("weight", (kernel / kernel.sum()).repeat(channels, 1, 1, 1))

    def forward(self, picture: Tensor) -> Tensor:
        """[B, C, H, W] to [B, C, H/stride, W/stride]; only the pixels that are kept are computed."""
        channels, _, size, _ = self.weight.shape
        return F.conv2d(picture, self.weight, stride=self.stride, padding=size // 2, groups=channels)


class _NormConv(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int, active: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({"norm": nn.BatchNorm2d(inputs), "conv": nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)})
        self.active = active

    def forward(self, feature: Tensor) -> Tensor:
        feature = self.layers["norm"](feature)
        return self.layers["conv"](F.leaky_relu(feature, 0.2) if self.active else feature)


class DownResidual(nn.Module):
    """Token encoders' block: two (batch norm, LeakyReLU 0.2, 3x3), beside (batch norm, 1x1); their sum, halved by the mean."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        hidden = min(inputs, outputs)
        self.conv_block_0 = _NormConv(inputs, hidden, 3, True)
        self.conv_block_1 = _NormConv(hidden, outputs, 3, True)
        self.conv_block_s = _NormConv(inputs, outputs, 1, False)

    def forward(self, feature: Tensor) -> Tensor:
        """[B, inputs, H, W] to [B, outputs, H/2, W/2]."""
        return F.avg_pool2d(self.conv_block_s(feature) + self.conv_block_1(self.conv_block_0(feature)), 2)


def corner_grid(height: int, width: int, like: Tensor) -> Tensor:
    """Places [height, width, 2] (x, y), the outer pixels' centres at -1 and 1, as the published grids are built."""
    return grid(height, width, like, corners=True)
