"""Convolutions with less arithmetic, for inference on CPUs: equal to plain ones up to rounding.

- A 3x3 convolution of a picture doubled by nearest neighbours sees each pixel twice along both axes: it is four 2x2 convolutions
  of the small picture, one for each parity of the output, with 4/9 of the products.
- A convolution to few channels leaves most of a vector empty: as one of stride 2 to four times as many it does not.
- A 3x3 convolution of many channels is Winograd's F(4x4, 3x3) (Lavin and Gray 2016): a quarter of the products, the rest a
  batch of matrix products; float32 only. Its transforms cost about as much again at 256 channels and 64 x 64 pixels.
"""

import threading
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

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
    """A 3x3 convolution with padding 1 over [B, C, H, W], H and W multiples of 4; its results have channels last.

    The kernel's own transform is four times as large as the kernel: it is made anew each time (a tenth of the time), so that a network
    of these takes no more memory than its weights.
    """

    weight: Tensor
    spread: Tensor
    bias: Tensor
    before: Tensor
    after: Tensor

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.outputs = conv.out_channels
        self.register_buffer("weight", conv.weight.detach().permute(2, 3, 1, 0).reshape(9, -1).contiguous())
        self.register_buffer("spread", torch.kron(KERNEL, KERNEL).float())
        self.register_buffer("bias", conv.bias.detach().clone() if conv.bias is not None else torch.zeros(conv.out_channels))
        self.register_buffer("before", INPUT.float())
        self.register_buffer("after", torch.kron(OUTPUT, OUTPUT).float())

    def forward(self, feature: Tensor) -> Tensor:
        """[B, C, H, W] to [B, outputs, H, W]."""
        batch, channels, height, width = feature.shape
        rows, columns, outputs = height // 4, width // 4, self.outputs
        count = batch * rows * columns
        padded = F.pad(feature.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
        step = padded.stride()
        # [6, 6, B, rows, columns, C]: every tile of 6 x 6, four pixels apart
        tiles = padded.as_strided((6, 6, batch, rows, columns, channels), (step[1], step[2], step[0], 4 * step[1], 4 * step[2], 1))
        one, other = (scratch(number, 36 * count * max(channels, outputs)) for number in (0, 1))
        size = 36 * count * channels
        one[:size].view(tiles.shape).copy_(tiles)
        torch.mm(self.before, one[:size].view(6, -1), out=other[:size].view(6, -1))
        torch.matmul(self.before, other[:size].view(6, 6, -1), out=one[:size].view(6, 6, -1))
        kernel = torch.mm(self.spread, self.weight, out=scratch(2, 36 * self.weight.shape[1]).view(36, -1)).view(36, channels, outputs)
        made = torch.bmm(one[:size].view(36, count, channels), kernel, out=other[: 36 * count * outputs].view(36, count, outputs))
        made = torch.mm(self.after, made.view(36, -1), out=one[: 16 * count * outputs].view(16, -1))
        made = made.view(4, 4, batch, rows, columns, outputs).permute(2, 3, 0, 4, 1, 5).reshape(batch, height, width, outputs)
        return made.add_(self.bias).permute(0, 3, 1, 2)


_own = threading.local()


def scratch(number: int, size: int) -> Tensor:
    """Float32 [size] that this thread writes over again and again: fresh memory costs more than the arithmetic in it."""
    kept = _own.__dict__.setdefault("kept", {})
    if number not in kept or len(kept[number]) < size:
        with torch.inference_mode(False):
            kept[number] = torch.empty(size)
    made: Tensor = kept[number][:size]
    return made


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
        layout = torch.channels_last if feature.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
        grown = torch.empty(len(feature), self.outputs, 2 * height, 2 * width, dtype=feature.dtype, memory_format=layout)
        for part, own in self._parts(feature):
            grown[:, :, part[0] :: 2, part[1] :: 2] = own
        return grown

    def add(self, onto: Tensor, feature: Tensor) -> Tensor:
        """The same, added to what is there, in place."""
        for part, own in self._parts(feature):
            onto[:, :, part[0] :: 2, part[1] :: 2] += own
        return onto

    def _parts(self, feature: Tensor) -> Iterator[tuple[tuple[int, int], Tensor]]:
        height, width = feature.shape[-2:]
        made = self.conv(feature)  # [B, 4 outputs, H + 1, W + 1]
        for number, (down, across) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
            own = made[:, number * self.outputs : (number + 1) * self.outputs]
            yield (down, across), own[:, :, down : down + height, across : across + width]


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


def scale_and_shift(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """A batch norm at work as a factor and a summand for each channel [C]."""
    assert norm.running_var is not None and norm.running_mean is not None
    scale = (norm.weight / torch.sqrt(norm.running_var + norm.eps)).detach()
    return scale, (norm.bias - norm.running_mean * scale).detach()
