"""Blocks of the published networks: convolution with bias, batch norm, ReLU, some with a shortcut. B batch, C channels."""

from torch import Tensor, nn
from torch.nn import functional as F

Size = int | tuple[int, int]


class Unit(nn.Module):
    """Convolution, batch norm, ReLU; with `shortcut` the input is added before the ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: Size = 3, stride: Size = 1, padding: Size = 1, *, shortcut: bool = False) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, padding), nn.BatchNorm2d(outputs))
        self.shortcut = shortcut

    def forward(self, feature: Tensor) -> Tensor:
        """[B, inputs, H, W] to [B, outputs, H', W']."""
        made = self.body(feature)
        return F.relu(made + feature if self.shortcut else made)


class Grow(nn.Module):
    """Transposed convolution, batch norm, ReLU: twice the size, or from 1 x 1 to `kernel` where that is given."""

    def __init__(self, inputs: int, outputs: int, kernel: Size | None = None) -> None:
        super().__init__()
        wide = nn.ConvTranspose2d(inputs, outputs, kernel) if kernel else nn.ConvTranspose2d(inputs, outputs, 3, 2, 1, 1)
        self.body = nn.Sequential(wide, nn.BatchNorm2d(outputs))

    def forward(self, feature: Tensor) -> Tensor:
        """[B, inputs, H, W] to [B, outputs, 2 H, 2 W]."""
        return F.relu(self.body(feature))


def residuals(channels: int, count: int) -> list[Unit]:
    """`count` units that keep their input's shape and add it."""
    return [Unit(channels, channels, shortcut=True) for _ in range(count)]


def stage(inputs: int, outputs: int, count: int, stride: Size = 2) -> nn.Sequential:
    """A unit with a stride, then `count` residual ones."""
    return nn.Sequential(Unit(inputs, outputs, 3, stride), *residuals(outputs, count))
