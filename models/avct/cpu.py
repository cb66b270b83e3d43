"""The compact renderer with less arithmetic and less copying, for CPUs: equal to generator.py up to rounding, inference only.

- Everything lies with channels last, as its convolutions want it; nothing is turned round on the way.
- A convolution of an upsampled map beside a skip is the sum of two: of the skip, and of the small map (convolutions.py, GrownConv).
- A portrait's features are the same for all frames: a warp is a weighted sum of four rows of one table (`embedding_bag`), with
  occlusion in the weights.
- Only what composition at the portrait's own resolution needs is made: flow, painted pixels, alpha.

B batch, C channels, S side of the networks' picture, h = S/2 side of the motion grid, K keypoints.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kernels.geometry import affine_maps
from models.avct.convolutions import GrownConv, PairedConv, scale_and_shift
from models.avct.dense_motion import bumps
from models.avct.generator import Generator
from models.avct.layers import Hourglass, Residual, fuse


class Drawn(NamedTuple):
    """What composition needs of a batch of frames."""

    flow: Tensor  # [B, h, h, 2] in [-1, 1]
    paint: Tensor  # [B, S, S, 4]: generated pixels in [0, 1], and how much of them is used


class Scene(NamedTuple):
    """What a portrait gives once for all its frames; tables hold a row of channels for each pixel."""

    grey: Tensor  # [1, 1, h, h]
    heat: Tensor  # [h, h, K], the source's heat maps
    source: tuple[Tensor, Tensor]  # keypoints [1, K, 2] and Jacobians [1, K, 2, 2]
    full: Tensor  # [S * S, C]
    half: Tensor
    quarter: Tensor


def best_dtype() -> torch.dtype:
    """bfloat16 where the processor has products of its own for it (twice as many at once), else float32.

    Its loss, over the demo's speech: 2 values of the face square in 10,000 more than one level from float32's, none by more than 3.
    """
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if native else torch.float32


class CpuGenerator(nn.Module):
    """A trained generator, folded and rearranged. The one given is used up."""

    def __init__(self, generator: Generator, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        fuse(generator.eval())
        self.source, self.config, self.dtype = generator, generator.config, dtype
        dense = generator.motion
        self.variance = dense.variance
        self.hourglass = _Hourglass(dense.hourglass)
        self.masks = _joined(dense.mask, dense.occlusion)
        middle, low = generator.config.widths[1], generator.config.widths[0]
        self.fuse, self.residuals, self.refine_half, self.refine_full = generator.fuse, *(
            nn.Sequential(*(_Residual(block) for block in blocks.children())) for blocks in (generator.residuals, generator.refine_half, generator.refine_full)
        )  # fmt: skip
        self.up_half, self.up_full = _Grown(generator.squeeze_half, generator.up_half, middle), _Grown(generator.squeeze_full, generator.up_full, low)
        self.paint = _paired(generator.paint)
        for part in (self.hourglass, self.masks, self.fuse, self.residuals, self.up_half, self.refine_half, self.up_full, self.refine_full, self.paint):
            part.to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.eval()

    def scene(self, picture: Tensor, source: tuple[Tensor, Tensor]) -> Scene:
        """A portrait [1, 3, S, S] in [0, 1] and its keypoints [1, K, 2] and Jacobians, ready for all its frames."""
        encoded = self.source.encode(picture.contiguous(memory_format=torch.channels_last))
        half = self.config.size // 2
        tables = (feature.permute(0, 2, 3, 1).reshape(-1, feature.shape[1]).contiguous() for feature in encoded[:3])
        return Scene(encoded.small.mean(1, keepdim=True).contiguous(), _heat(source[0], half, self.variance)[0], source, *tables)

    def forward(self, scene: Scene, driving: tuple[Tensor, Tensor]) -> Drawn:
        """Frames of driving keypoints [B, K, 2] and Jacobians [B, K, 2, 2]."""
        size, config = self.config.size, self.config
        values, jacobians = driving
        maps = affine_maps(scene.source[0], values, scene.source[1], jacobians)
        flow, shown = self.dense_flow(scene, values, maps)
        planes = flow.permute(0, 3, 1, 2).contiguous()
        flows = F.interpolate(planes, size=(size, size), mode="bilinear"), planes, F.avg_pool2d(planes, 2)
        lips = values[:, : config.lip_keypoints]
        quarter = _rows(scene.quarter, flows[2], F.avg_pool2d(shown, 2))
        feature = self.fuse(_beside(quarter, _heat(lips, size // 4, config.lip_variance * 2)).to(self.dtype))
        half = _beside(_rows(scene.half, flows[1], shown), _heat(lips, size // 2, config.lip_variance)).to(self.dtype)
        feature = self.refine_half(self.up_half(self.residuals(feature), half))
        full = _rows(scene.full, flows[0]).to(self.dtype).permute(0, 3, 1, 2)
        made = _unpaired(self.paint(self.refine_full(self.up_full(feature, full)))).float()
        prior = Generator.mouth_prior(lips, size)[:, 0]
        gate = F.interpolate(self.source.moved(scene.source[0], values, size // 2), scale_factor=2, mode="bilinear")[:, 0]
        made[..., 3] += 5.0 * prior - 3.5
        made = made.sigmoid_()
        made[..., 3] *= gate
        return Drawn(flow, made)

    def dense_flow(self, scene: Scene, values: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Flow [B, h, h, 2] and occlusion [B, 1, h, h] of keypoints [B, K, 2] and their affine maps [B, K+1, 6]."""
        batch, points = maps.shape[:2]
        side = scene.grey.shape[-1]
        entered = values.new_empty(batch, side, side, 2 * points)
        entered[..., 0] = 0
        torch.sub(_heat(values, side, self.variance), scene.heat, out=entered[..., 1:points])
        a, b, c, d, e, f = (part[:, None, None] for part in maps.unbind(-1))  # [B, 1, 1, K+1]
        line = (torch.arange(side, dtype=values.dtype) * 2 + 1) / side - 1
        x, y = line[:, None], line[:, None, None]
        places = values.new_empty(batch, side, side, points, 2)
        torch.add(b * y + e, a * x, out=places[..., 0])
        torch.add(d * y + f, c * x, out=places[..., 1])
        moved = F.grid_sample(scene.grey.expand(batch, -1, -1, -1), places.flatten(1, 2), align_corners=False)
        entered[..., points:] = moved.reshape(batch, side, side, points)
        made = self.masks(self.hourglass(entered.to(self.dtype).permute(0, 3, 1, 2))).permute(0, 2, 3, 1).float()
        share = torch.softmax(made[..., :points], -1).flatten(1, 2)
        a, b, c, d, e, f = (share @ maps).reshape(batch, side, side, 6).unbind(-1)
        y = line[:, None]
        return torch.stack([a * line + b * y + e, c * line + d * y + f], -1), torch.sigmoid(made[..., points:]).permute(0, 3, 1, 2)


class _Hourglass(nn.Module):
    def __init__(self, plain: Hourglass) -> None:
        super().__init__()
        self.enter, self.down = plain.enter, plain.down
        units = list(zip(plain.squeeze, plain.up, strict=True))
        self.up = nn.ModuleList(_Grown(squeeze, up, squeeze[0].out_channels) for squeeze, up in units)  # type: ignore[index,arg-type,union-attr]

    def forward(self, feature: Tensor) -> Tensor:
        feature, skips = self.enter(feature), []
        for block in self.down:
            skips.append(feature)
            feature = block(F.avg_pool2d(feature, 2))
        for block in self.up:
            feature = block(feature, skips.pop())
        return feature


class _Grown(nn.Module):
    """squeeze, nearest doubling, a skip beside it, 3x3 convolution, ReLU; the first `own` inputs of the convolution are the doubled."""

    def __init__(self, squeeze: nn.Module, unit: nn.Module, own: int) -> None:
        super().__init__()
        conv = unit[0]  # type: ignore[index]
        self.squeeze = squeeze
        part = nn.Conv2d(own, conv.out_channels, 3, padding=1, bias=False)
        part.weight = nn.Parameter(conv.weight.detach()[:, :own], requires_grad=False)
        self.grown = GrownConv(part)
        self.skip = nn.Conv2d(conv.in_channels - own, conv.out_channels, 3, padding=1)
        self.skip.weight = nn.Parameter(conv.weight.detach()[:, own:].clone(), requires_grad=False)
        self.skip.bias = conv.bias

    def forward(self, feature: Tensor, skip: Tensor) -> Tensor:
        return self.grown.add(self.skip(skip), self.squeeze(feature)).relu_()


class _Residual(nn.Module):
    scale: Tensor
    shift: Tensor

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        assert isinstance(block, Residual)
        norm, self.first, self.second = block.body[0], block.body[2], block.body[5]
        assert isinstance(norm, nn.BatchNorm2d)
        scale, shift = scale_and_shift(norm)
        self.register_buffer("scale", scale[:, None, None].clone())
        self.register_buffer("shift", shift[:, None, None].clone())

    def forward(self, feature: Tensor) -> Tensor:
        entered = torch.addcmul(self.shift, feature, self.scale).relu_()
        return self.second(self.first(entered).relu_()).add_(feature)


def _joined(first: nn.Conv2d, second: nn.Conv2d) -> nn.Conv2d:
    """Two convolutions of one map as one; the first one's outputs come first."""
    made = nn.Conv2d(first.in_channels, first.out_channels + second.out_channels, first.kernel_size, padding=first.padding)  # type: ignore[arg-type]
    made.weight = nn.Parameter(torch.cat([first.weight, second.weight]).detach(), requires_grad=False)
    made.bias = nn.Parameter(torch.cat([first.bias, second.bias]).detach(), requires_grad=False)  # type: ignore[list-item]
    return made


def _paired(conv: nn.Conv2d) -> nn.Conv2d:
    """PairedConv's, with the parity of a pixel before its channels."""
    paired = PairedConv(conv)
    made = nn.Conv2d(conv.in_channels, 4 * conv.out_channels, paired.weight.shape[-1], 2, paired.padding)
    order = torch.arange(4 * conv.out_channels).reshape(-1, 4).T.flatten()
    made.weight = nn.Parameter(paired.weight[order], requires_grad=False)
    made.bias = nn.Parameter(paired.bias[order], requires_grad=False)
    return made


def _unpaired(made: Tensor) -> Tensor:
    """[B, 4 C, h, w] of `_paired` as [B, 2 h, 2 w, C]."""
    batch, channels, height, width = made.shape
    parts = made.permute(0, 2, 3, 1).reshape(batch, height, width, 2, 2, channels // 4)
    return parts.transpose(2, 3).reshape(batch, 2 * height, 2 * width, channels // 4)


def _heat(values: Tensor, size: int, variance: float) -> Tensor:
    """Gaussians about keypoints [B, K, 2] as [B, size, size, K], peak 1."""
    across, down = (bumps(values[..., axis], size, variance).transpose(1, 2) for axis in (0, 1))
    return down[:, :, None] * across[:, None]


def _beside(rows: Tensor, others: Tensor) -> Tensor:
    """[B, h, w, C] and [B, h, w, D] as a map [B, C + D, h, w] with channels last."""
    return torch.cat([rows, others], -1).permute(0, 3, 1, 2)


def _rows(table: Tensor, flow: Tensor, shown: Tensor | None = None) -> Tensor:
    """A map given as rows [S * S, C], sampled at flow [B, 2, S, S], times occlusion [B, 1, S, S]: [B, S, S, C].

    kernels/warp/reference.py says what is computed; what lies outside counts as zero.
    """
    batch, _, side, _ = flow.shape
    place = (flow + 1) * (side / 2) - 0.5
    low = place.floor()
    share = place - low
    shares = (1 - share) * ((low >= 0) & (low < side)), share * ((low >= -1) & (low < side - 1))
    places = [edge.clamp(0, side - 1).int() for edge in (low, low + 1)]
    index = torch.empty(batch, side, side, 4, dtype=torch.int32)
    weight = flow.new_empty(batch, side, side, 4)
    for down in (0, 1):
        line, part = places[down][:, 1] * side, shares[down][:, 1]
        if shown is not None:
            part = part * shown[:, 0]
        for across in (0, 1):
            torch.add(line, places[across][:, 0], out=index[..., 2 * down + across])
            torch.mul(part, shares[across][:, 0], out=weight[..., 2 * down + across])
    sampled = F.embedding_bag(index.flatten(0, 2), table, per_sample_weights=weight.flatten(0, 2), mode="sum")
    return sampled.reshape(batch, side, side, -1)
