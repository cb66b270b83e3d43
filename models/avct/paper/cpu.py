"""The same networks with less arithmetic, for CPUs: equal up to rounding, not to the bit.

- Batch norm after a convolution is folded into it; where it stands before a 1x1 convolution without activation, too.
- A 3x3 convolution of a picture doubled by nearest neighbours sees each pixel twice along both axes: it is four 2x2 convolutions
  of the small picture, one for each parity of the output, with 4/9 of the products.
- A convolution to three channels leaves most of a vector empty: as one of stride 2 to twelve it does not.
- A 3x3 convolution of many channels is Winograd's F(4x4, 3x3) (Lavin and Gray 2016): a quarter of the products, the rest a
  batch of matrix products; float32 only. Its transforms cost about as much again at 256 channels and 64 x 64 pixels.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from models.avct.paper.blocks import ConvNorm, DownResidual, Residual

# Winograd's F(4, 3) on the points 0, 1, -1, 2, -2 and infinity
INPUT = torch.tensor(
    [[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0], [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1]],
    dtype=torch.float64,
)
KERNEL = torch.tensor(
    [[1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6], [1 / 24, 1 / 12, 1 / 6], [1 / 24, -1 / 12, 1 / 6], [0, 0, 1]],
    dtype=torch.float64,
)
OUTPUT = torch.tensor([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]], dtype=torch.float64)


class Winograd(nn.Module):
    """A 3x3 convolution with padding 1 over [B, C, H, W], H and W multiples of 4."""

    weight: Tensor
    bias: Tensor
    before: Tensor
    after: Tensor

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        weight = torch.einsum("ui,ocij,vj->uvoc", KERNEL, conv.weight.detach().double(), KERNEL)
        self.register_buffer("weight", weight.reshape(36, *weight.shape[2:]).float())
        self.register_buffer("bias", conv.bias.detach().clone() if conv.bias is not None else torch.zeros(conv.out_channels))
        self.register_buffer("before", INPUT.float())
        self.register_buffer("after", OUTPUT.float())

    def forward(self, feature: Tensor) -> Tensor:
        """[B, C, H, W] to [B, outputs, H, W]."""
        batch, channels, height, width = feature.shape
        rows, columns = height // 4, width // 4
        padded = F.pad(feature, (1, 1, 1, 1))
        step = padded.stride()
        # [6, 6, C, B, rows, columns]: every tile of 6 x 6, four pixels apart
        tiles = padded.as_strided((6, 6, channels, batch, rows, columns), (step[2], step[3], step[1], step[0], 4 * step[2], 4 * step[3]))
        moved = self.before @ (self.before @ tiles.reshape(6, -1)).reshape(6, 6, -1)
        made = torch.bmm(self.weight, moved.reshape(36, channels, -1))
        outputs = made.shape[1]
        made = (self.after @ (self.after @ made.reshape(6, -1)).reshape(4, 6, -1)).reshape(4, 4, outputs, batch, rows, columns)
        return made.permute(3, 2, 4, 0, 5, 1).reshape(batch, outputs, height, width) + self.bias[:, None, None]


class GrownConv(nn.Module):
    """Nearest doubling and a 3x3 convolution with padding 1 in one: [B, C, H, W] to [B, outputs, 2 H, 2 W]."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        w = conv.weight.detach()
        # along one axis: an even place sees w0 at the pixel before and w1 + w2 at its own, an odd one w0 + w1 and w2 at the next
        even, odd = torch.tensor([[1.0, 0, 0], [0, 1, 1]]), torch.tensor([[1.0, 1, 0], [0, 0, 1]])
        kernels = [torch.einsum("ai,ocij,bj->ocab", down, w, across) for down in (even, odd) for across in (even, odd)]
        self.outputs = conv.out_channels
        bias = conv.bias.detach() if conv.bias is not None else torch.zeros(self.outputs)
        self.conv = nn.Conv2d(conv.in_channels, 4 * self.outputs, 2, padding=1)
        self.conv.weight = nn.Parameter(torch.cat(kernels), requires_grad=False)
        self.conv.bias = nn.Parameter(bias.repeat(4), requires_grad=False)

    def forward(self, feature: Tensor) -> Tensor:
        """See the class."""
        height, width = feature.shape[-2:]
        made = self.conv(feature)  # [B, 4 outputs, H + 1, W + 1]
        grown = made.new_empty(len(feature), self.outputs, 2 * height, 2 * width)
        if made.is_contiguous(memory_format=torch.channels_last):
            grown = grown.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for part, (down, across) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
            own = made[:, part * self.outputs : (part + 1) * self.outputs]
            grown[:, :, down::2, across::2] = own[:, :, down : down + height, across : across + width]
        return grown


class PairedConv(nn.Module):
    """A convolution to few channels as one of stride 2 to four times as many, whose vectors it fills; equal to the bit."""

    weight: Tensor
    bias: Tensor

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        outputs, inputs, size, _ = conv.weight.shape
        kernel = conv.weight.new_zeros(4 * outputs, inputs, size + 1, size + 1)
        for part, (down, across) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
            kernel[part::4, :, down : down + size, across : across + size] = conv.weight.detach()
        assert conv.bias is not None
        self.register_buffer("weight", kernel)
        self.register_buffer("bias", conv.bias.detach().repeat_interleave(4))
        self.padding = size // 2

    def forward(self, feature: Tensor) -> Tensor:
        """[B, C, H, W], H and W even, to [B, outputs, H, W]."""
        return F.pixel_shuffle(F.conv2d(feature, self.weight, self.bias, stride=2, padding=self.padding), 2)


class _Grown(nn.Module):
    def __init__(self, block: ConvNorm) -> None:
        super().__init__()
        self.conv = GrownConv(fuse_conv_bn_eval(block.conv, block.norm))

    def forward(self, feature: Tensor) -> Tensor:
        return F.relu(self.conv(feature), inplace=True)


class _Plain(nn.Module):
    def __init__(self, block: ConvNorm) -> None:
        super().__init__()
        self.conv, self.shrink = fuse_conv_bn_eval(block.conv, block.norm), block.shrink

    def forward(self, feature: Tensor) -> Tensor:
        feature = F.relu(self.conv(feature), inplace=True)
        return F.avg_pool2d(feature, 2) if self.shrink else feature


class _Residual(nn.Module):
    scale: Tensor
    shift: Tensor

    def __init__(self, block: Residual) -> None:
        super().__init__()
        scale, shift = _scale_and_shift(block.norm1)
        self.register_buffer("scale", scale[:, None, None].clone())
        self.register_buffer("shift", shift[:, None, None].clone())
        self.conv1, self.conv2 = Winograd(fuse_conv_bn_eval(block.conv1, block.norm2)), Winograd(block.conv2)

    def forward(self, feature: Tensor) -> Tensor:
        return feature + self.conv2(F.relu(self.conv1(F.relu(torch.addcmul(self.shift, feature, self.scale)))))


def prepared(module: nn.Module) -> nn.Module:
    """The module in eval mode with its blocks exchanged, in place; for inference in float32 on a CPU."""
    module.eval()
    for name, child in list(module.named_children()):
        fresh: nn.Module | None = None
        if isinstance(child, ConvNorm):
            fresh = _Grown(child) if child.grow else _Plain(child)
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
            prepared(child)
    return module


def _behind_norm(norm: nn.Module, conv: nn.Module) -> nn.Conv2d:
    """A 1x1 convolution that takes the batch norm before it into itself."""
    assert isinstance(norm, nn.BatchNorm2d) and isinstance(conv, nn.Conv2d) and conv.kernel_size == (1, 1)
    assert conv.bias is not None
    scale, shift = _scale_and_shift(norm)
    made = nn.Conv2d(conv.in_channels, conv.out_channels, 1)
    weight = conv.weight.detach()[:, :, 0, 0]
    made.weight = nn.Parameter((weight * scale)[:, :, None, None], requires_grad=False)
    made.bias = nn.Parameter(conv.bias.detach() + weight @ shift, requires_grad=False)
    return made


def _scale_and_shift(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """A batch norm at work as a factor and a summand for each channel [C]."""
    assert norm.running_var is not None and norm.running_mean is not None
    scale = (norm.weight / torch.sqrt(norm.running_var + norm.eps)).detach()
    return scale, (norm.bias - norm.running_mean * scale).detach()
