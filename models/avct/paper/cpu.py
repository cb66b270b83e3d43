"""The same networks with less arithmetic, for CPUs: equal up to rounding, not to the bit.

Batch norm after a convolution is folded into it; where it stands before a 1x1 convolution without activation, too. Convolutions
of doubled pictures, of many channels and to few are exchanged for those of models/avct/convolutions.py.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from infra.memory import give_back
from models.avct.convolutions import GrownConv, PairedConv, Winograd, scale_and_shift
from models.avct.paper.blocks import ConvNorm, DownResidual, Residual


class _Grown(nn.Module):
    def __init__(self, block: ConvNorm) -> None:
        super().__init__()
        self.conv = GrownConv(_folded(block.conv, block.norm))

    def forward(self, feature: Tensor) -> Tensor:
        return F.relu(self.conv(feature), inplace=True)


class _Plain(nn.Module):
    def __init__(self, block: ConvNorm) -> None:
        super().__init__()
        self.conv, self.grow, self.shrink = _folded(block.conv, block.norm), block.grow, block.shrink

    def forward(self, feature: Tensor) -> Tensor:
        if self.grow:
            feature = F.interpolate(feature, scale_factor=2, mode="nearest")
        feature = F.relu(self.conv(feature), inplace=True)
        return F.avg_pool2d(feature, 2) if self.shrink else feature


class _Residual(nn.Module):
    scale: Tensor
    shift: Tensor

    def __init__(self, block: Residual) -> None:
        super().__init__()
        scale, shift = scale_and_shift(block.norm1)
        self.register_buffer("scale", scale[:, None, None].clone())
        self.register_buffer("shift", shift[:, None, None].clone())
        self.conv1, self.conv2 = Winograd(_folded(block.conv1, block.norm2)), Winograd(block.conv2)
        give_back()  # their making takes several times their own memory

    def forward(self, feature: Tensor) -> Tensor:
        feature = feature.contiguous(memory_format=torch.channels_last)
        entered = torch.addcmul(self.shift, feature, self.scale).relu_()
        return self.conv2(self.conv1(entered).relu_()).add_(feature)


def prepared(module: nn.Module, *, often: bool = True) -> nn.Module:
    """The module in eval mode with its blocks exchanged, in place; for inference in float32 on a CPU.

    often: it runs for every frame; else kernels that take more memory in order to save time stay as they are.
    """
    module.eval()
    for name, child in list(module.named_children()):
        fresh: nn.Module | None = None
        if isinstance(child, ConvNorm):
            fresh = _Grown(child) if child.grow and often and not _deep(child) else _Plain(child)
        elif isinstance(child, Residual):
            fresh = _Residual(child)
        elif isinstance(child, nn.Conv2d) and child.out_channels <= 4 and child.padding == (child.kernel_size[0] // 2,) * 2:
            fresh = PairedConv(child)
        elif isinstance(child, DownResidual):
            layers = child.conv_block_s.layers
            layers["conv"], layers["norm"] = _behind_norm(layers["norm"], layers["conv"]), nn.Identity()
        if fresh is not None:
            setattr(module, name, fresh.eval())
        else:
            prepared(child, often=often)
    return module


@torch.no_grad()
def _folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """The convolution with the batch norm after it taken into its own weights, in place: a second copy of them all is much memory."""
    scale, shift = scale_and_shift(norm)
    assert conv.bias is not None
    conv.weight.mul_(scale[:, None, None, None])
    conv.bias.mul_(scale).add_(shift)
    return conv


def _deep(block: ConvNorm) -> bool:
    """Whether it doubles an hourglass's 2 x 2 or 4 x 4 pixels: with their borders, four 2x2 convolutions save next to nothing there,
    and take 16/9 of the memory of the largest weights.
    """
    return block.conv.in_channels * block.conv.out_channels >= 2**20


def _behind_norm(norm: nn.Module, conv: nn.Module) -> nn.Conv2d:
    """A 1x1 convolution that takes the batch norm before it into itself."""
    assert isinstance(norm, nn.BatchNorm2d) and isinstance(conv, nn.Conv2d) and conv.kernel_size == (1, 1)
    assert conv.bias is not None
    scale, shift = scale_and_shift(norm)
    made = nn.Conv2d(conv.in_channels, conv.out_channels, 1)
    weight = conv.weight.detach()[:, :, 0, 0]
    made.weight = nn.Parameter((weight * scale)[:, :, None, None], requires_grad=False)
    made.bias = nn.Parameter(conv.bias.detach() + weight @ shift, requires_grad=False)
    return made
