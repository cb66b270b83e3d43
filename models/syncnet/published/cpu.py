"""The published network rearranged for processors: the same numbers up to rounding, in less time.

The published order cuts each window out and runs it alone. Nothing it computes twice could be shared: the first layer spans five
frames at a stride of one, so each of a frame's five products with the kernel serves one window; what comes after is a window's own.
What is left is to compute less for each:

- The first layer (over half of the products) sees 8-bit pictures. Where the processor multiplies 8-bit numbers (VNNI), it runs in
  integers: sums are exact, and each kernel is split into two 8-bit parts, rounded to 15 bits and a sign in all. Elsewhere it is one 2D convolution of
  fifteen channels.
- Batch norms are folded into the convolutions; what a norm and a ReLU do to all pixels is done to the few that pooling leaves.
- 3x3 convolutions are Winograd's F(4x4, 3x3), whose 36 matrix products are one grouped 1x1 convolution (oneDNN); all windows of a
  batch lie in one picture, a row and a column of zeros between them, so that no tile is spent on margins. The 5x5 convolution of
  stride 2 is a 3x3 one over blocks of 2 x 2 pixels.
- Channels lie last throughout.
"""

import math
import platform

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.avct.convolutions import INPUT, KERNEL, OUTPUT, scratch
from models.syncnet.published.network import EMBEDDING, FRAMES, PublishedSyncNet

LAST = torch.channels_last
PART = 4  # windows whose first layer's maps lie in the cache at once
TILES = 250  # of a batch, about: what kernels are packed for


class FastSyncNet:
    """Both towers of a network that is at work and stays as it is; float32 on a processor. Not safe to share between threads."""

    @torch.no_grad()
    def __init__(self, network: PublishedSyncNet) -> None:
        lip, sound = network.netcnnlip, network.netcnnaud
        kernel, bias = folded(lip[0], lip[1])
        # [96, 15, 7, 7]: a window's frames one after another, their colours last
        stacked = kernel.permute(0, 2, 1, 3, 4).flatten(1, 2)
        self.first: Integers | Plain = Integers(stacked, bias) if integers_run() else Plain(F.pad(stacked, (0, 0, 0, 0, 0, 1)), bias, 2, 0)
        self.second = Halved(*folded(lip[4], lip[5]))
        self.lips = [Tiled(*folded(lip[at], lip[at + 1])) for at in (8, 11, 14)]
        self.lip_head = Dense(lip[18], lip[19], network.netfclip)
        self.heard_first = Plain(*folded(sound[0], sound[1]), 1, 1)
        self.heard_second = Plain(*folded(sound[4], sound[5]), 1, 1)
        self.sounds = [Tiled(*folded(sound[at], sound[at + 1])) for at in (8, 11, 14)]
        self.sound_head = Dense(sound[18], sound[19], network.netfcaud)

    def see(self, run: Tensor) -> Tensor:
        """A run of faces uint8 [T, 224, 224, 3] to embeddings [T - 4, 1024] of its windows."""
        pooled = [self._begin(run[start : start + PART + FRAMES - 1]) for start in range(0, len(run) - FRAMES + 1, PART)]
        feature = F.max_pool2d(self.second(torch.cat(pooled)), 3, 2, 1).relu_()
        for layer in self.lips:
            feature = layer(feature)
        return self.lip_head(F.max_pool2d(feature, 3, 2))

    def _begin(self, run: Tensor) -> Tensor:
        """Windows of a short run through the first layer: [B, 96, 54, 54]."""
        count = len(run) - FRAMES + 1
        wide = F.pad(run.permute(1, 2, 0, 3).flatten(2), (0, 1))  # [224, 224, 3 T + 1]: a window is sixteen neighbours, the last unheeded
        windows = wide.unfold(2, 3 * FRAMES + 1, 3)[:, :, :count].permute(2, 3, 0, 1).contiguous(memory_format=LAST)
        return F.max_pool2d(self.first(windows), 3, 2).relu_()

    def hear(self, windows: Tensor) -> Tensor:
        """Windows of cepstra [B, 1, 13, 20] to embeddings [B, 1024]."""
        feature = self.heard_second(self.heard_first(windows.contiguous(memory_format=LAST)).relu_())
        feature = F.max_pool2d(feature, 3, (1, 2)).relu_()
        for layer in self.sounds:
            feature = layer(feature)
        return self.sound_head(F.max_pool2d(feature, 3, 2))


def runs_here() -> bool:
    """Whether this process can run it: oneDNN does the products."""
    return torch.backends.mkldnn.is_available() and platform.machine().lower() in ("x86_64", "amd64")


def integers_run() -> bool:
    """Whether convolutions in 8-bit integers are exact and fast here: without VNNI oneDNN's sums of two products saturate."""
    return bool(torch.cpu._is_vnni_supported()) and hasattr(torch.ops.onednn, "qconv2d_pointwise")


def folded(conv: nn.Module, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Kernel and bias of a convolution and the batch norm that follows it, as one convolution, of two dimensions where it spans one frame."""
    assert isinstance(conv, nn.Conv2d | nn.Conv3d) and isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d) and conv.bias is not None
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    bias = (conv.bias.double() - norm.running_mean.double()) * scale + norm.bias.double()
    kernel = conv.weight.double() * scale.view(-1, *[1] * (conv.weight.dim() - 1))
    return (kernel.squeeze(2) if kernel.dim() == 5 else kernel).detach().float(), bias.detach().float()


class Plain:
    """A 2D convolution over channels last."""

    def __init__(self, kernel: Tensor, bias: Tensor, stride: int, padding: int) -> None:
        self.kernel, self.bias, self.stride, self.padding = kernel.contiguous(memory_format=LAST), bias, stride, padding

    def __call__(self, feature: Tensor) -> Tensor:
        """[B, C, H, W] to [B, outputs, ...]."""
        return F.conv2d(feature.float(), self.kernel, self.bias, self.stride, self.padding)


class Integers:
    """A convolution of stride 2 over uint8 [B, 16, H, W], the last channel unheeded: two of 8-bit kernels, exact sums, float32 results.

    w is s (h + l / 254) up to s / 508, h and l whole numbers from -127 to 127 and s a 127th of the largest of an output's weights.
    """

    def __init__(self, kernel: Tensor, bias: Tensor) -> None:
        wide = F.pad(kernel.double(), (0, 0, 0, 0, 0, 1))
        scale = wide.abs().flatten(1).amax(1).clamp_min(1e-30) / 127
        high = torch.round(wide / scale.view(-1, 1, 1, 1))
        low = torch.round((wide / scale.view(-1, 1, 1, 1) - high) * 254)
        self.bias, self.zero = bias, torch.zeros(len(bias), dtype=torch.int64)
        self.parts = [(self._packed(part, by), by) for part, by in ((high, scale.float()), (low, (scale / 254).float()))]

    @staticmethod
    def _packed(part: Tensor, scale: Tensor) -> Tensor:
        return torch.ops.onednn.qconv_prepack(part.to(torch.int8), scale, 1.0, 0, [2, 2], [0, 0], [1, 1], 1, [1, part.shape[1], 224, 224])

    def __call__(self, windows: Tensor) -> Tensor:
        """See the class."""
        (high, big), (low, small) = self.parts
        how = [2, 2], [0, 0], [1, 1], 1, 1.0, 0, torch.float32
        made = torch.ops.onednn.qconv2d_pointwise(windows, 1.0, 0, high, big, self.zero, self.bias, *how, "none", [], "")
        return torch.ops.onednn.qconv2d_pointwise.binary(windows, 1.0, 0, low, small, self.zero, made, None, *how, 1.0, 0, "sum", 1.0, "none", [], "")


class Products:
    """Winograd's F(4x4, 3x3): tiles of 6 x 6 pixels to the 4 x 4 results of a 3x3 convolution."""

    def __init__(self, kernel: Tensor) -> None:
        self.outputs, self.inputs = kernel.shape[:2]
        spread = torch.einsum("ai,ocij,bj->aboc", KERNEL, kernel.double(), KERNEL).float().reshape(36 * self.outputs, self.inputs, 1, 1)
        shape = [1, 36 * self.inputs, TILES, 1]
        self.packed = torch.ops.mkldnn._reorder_convolution_weight(spread, [0, 0], [1, 1], [1, 1], 36, shape)
        self.before, self.after = torch.kron(INPUT, INPUT).float(), torch.kron(OUTPUT, OUTPUT).float()

    def __call__(self, spread: Tensor) -> Tensor:
        """Tiles [N, 36, inputs] after `before` to results [N, 16, outputs]: the 36 products are the groups of one 1x1 convolution."""
        count = len(spread)
        wide = spread.view(1, count, 1, 36 * self.inputs).permute(0, 3, 1, 2)
        made = torch.ops.mkldnn._convolution_pointwise(wide, self.packed, None, [0, 0], [1, 1], [1, 1], 36, "none", [], "")
        return torch.matmul(self.after, made.permute(0, 2, 3, 1).view(count, 36, self.outputs))


class Tiled:
    """A 3x3 convolution with padding 1 and a ReLU, over many windows at once."""

    def __init__(self, kernel: Tensor, bias: Tensor) -> None:
        self.products, self.bias = Products(kernel), bias

    def __call__(self, feature: Tensor) -> Tensor:
        """[B, C, H, W] to [B, outputs, H, W]."""
        batch, channels, height, width = feature.shape
        across = math.ceil(math.sqrt(batch * (height + 1) / (width + 1)))
        down = math.ceil(batch / across)
        rows, columns = (-(-(count * (size + 1)) // 4) for count, size in ((down, height), (across, width)))
        # one picture of all windows, zeros around each: [4 rows + 2, 4 columns + 2, C]
        sheet = feature.new_zeros(4 * rows + 2, 4 * columns + 2, channels)
        cells = sheet[1 : 1 + down * (height + 1), 1 : 1 + across * (width + 1)].unflatten(1, (across, width + 1)).unflatten(0, (down, height + 1))
        for row in range(down):
            mine = feature[row * across : (row + 1) * across]
            cells[row, :height, : len(mine), :width] = mine.permute(2, 0, 3, 1)
        step = sheet.stride()
        tiles = sheet.as_strided((rows, columns, 6, 6, channels), (4 * step[0], 4 * step[1], step[0], step[1], 1))
        made = self.products(torch.matmul(self.products.before, tiles.reshape(rows * columns, 36, channels)))
        whole = made.view(rows, columns, 4, 4, -1).transpose(1, 2).reshape(4 * rows, 4 * columns, -1)
        found = whole[: down * (height + 1), : across * (width + 1)].unflatten(1, (across, width + 1)).unflatten(0, (down, height + 1))
        found = found[:, :height, :, :width].transpose(1, 2).reshape(down * across, height, width, -1)[:batch]
        return found.add_(self.bias).relu_().permute(0, 3, 1, 2)


class Halved:
    """A 5x5 convolution of stride 2 with padding 1: a 3x3 one over blocks of 2 x 2 pixels, whose channels are four times as many."""

    def __init__(self, kernel: Tensor, bias: Tensor) -> None:
        blocks = F.pad(kernel, (0, 1, 0, 1)).unflatten(3, (3, 2)).unflatten(2, (3, 2))  # [O, C, 3, 2, 3, 2], the sixth tap is zero
        self.products, self.bias = Products(blocks.permute(0, 3, 5, 1, 2, 4).flatten(1, 3)), bias

    def __call__(self, feature: Tensor) -> Tensor:
        """[B, C, H, W], H and W even, to [B, outputs, H / 2 - 1, W / 2 - 1]."""
        batch, channels, height, width = feature.shape
        high, wide = height // 2 - 1, width // 2 - 1
        rows, columns = -(-high // 4), -(-wide // 4)
        size = batch, 8 * rows + 4, 8 * columns + 4, channels
        sheet = scratch(3, math.prod(size)).view(size).zero_()
        sheet[:, 1 : 1 + height, 1 : 1 + width] = feature.permute(0, 2, 3, 1)
        each, down, right, _ = sheet.stride()
        shape, steps = (rows, columns, 6, 6, 2, 2, channels), (8 * down, 8 * right, 2 * down, 2 * right, down, right, 1)
        count = rows * columns
        tiles = scratch(4, math.prod(shape)).view(shape)
        spread = scratch(5, batch * count * 36 * 4 * channels).view(batch * count, 36, 4 * channels)
        for at in range(batch):  # one window's tiles lie in the cache
            tiles.copy_(sheet.as_strided(shape, steps, at * each))
            torch.matmul(self.products.before, tiles.view(count, 36, 4 * channels), out=spread[at * count : (at + 1) * count])
        made = self.products(spread).view(batch, rows, columns, 4, 4, -1).transpose(2, 3).reshape(batch, 4 * rows, 4 * columns, -1)
        return made[:, :high, :wide].add_(self.bias).permute(0, 3, 1, 2)


class Dense:
    """The last convolution, which covers its whole map, and the head: three matrix products."""

    def __init__(self, conv: nn.Module, norm: nn.Module, head: nn.Sequential) -> None:
        kernel, bias = folded(conv, norm)
        self.layers = [(kernel.permute(0, 2, 3, 1).flatten(1).contiguous(), bias), _folded_line(head[0], head[1])]
        assert isinstance(head[3], nn.Linear) and head[3].out_features == EMBEDDING
        self.last = head[3].weight.detach(), head[3].bias.detach()

    def __call__(self, feature: Tensor) -> Tensor:
        """[B, C, H, W] to [B, 1024]."""
        made = feature.permute(0, 2, 3, 1).flatten(1)
        for weight, bias in self.layers:
            made = F.linear(made, weight, bias).relu_()
        return F.linear(made, *self.last)


def _folded_line(line: nn.Module, norm: nn.Module) -> tuple[Tensor, Tensor]:
    assert isinstance(line, nn.Linear) and isinstance(norm, nn.BatchNorm1d) and norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return (line.weight * scale[:, None]).detach(), ((line.bias - norm.running_mean) * scale + norm.bias).detach()
