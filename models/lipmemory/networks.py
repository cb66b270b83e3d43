"""The networks of SyncTalkFace, written from their description (SEEDS.md 3.2); sizes come from a configuration.

Suffix-free shapes: B batch, C channels, S pixels a side of the face. Pictures are BGR in [-1, 1]; mid-grey, 0, is what is masked.
Layers that the description leaves open are chosen so that parameters come out as published, which fixes them all: every
convolution has a bias; batch norm follows each but the lip encoder's first and the discriminator's.
"""

from abc import ABC, abstractmethod
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kernels.warp import warp
from models.avct.dense_motion import grid
from models.lipmemory.config import ExpertConfig, FaceConfig, JudgeConfig, LipMemoryConfig
from models.lipmemory.layers import Grow, Unit, residuals, stage
from models.lipmemory.memory import AudioLipMemory, Recall

REACH = 0.25  # how far, in half sides of the face, the blend's flow can move the reference


def lower_half(pictures: Tensor) -> Tensor:
    """The lower half [..., S / 2, S] of square pictures [..., S, S]; what is a lower half already stays."""
    return pictures if pictures.shape[-2] * 2 == pictures.shape[-1] else pictures[..., pictures.shape[-2] // 2 :, :]


class AudioEncoder(nn.Sequential):
    """Mel chunks [B, 1, 80, 16] to [B, channels], as Wav2Lip's: 2,812,672 parameters at the published size."""

    def __init__(self, widths: tuple[int, ...], counts: tuple[int, ...], channels: int) -> None:
        first, second, third, fourth = widths
        super().__init__(
            stage(1, first, counts[0], 1),
            stage(first, second, counts[1], (3, 1)),
            stage(second, third, counts[2], 3),
            stage(third, fourth, counts[3], (3, 2)),
            Unit(fourth, channels, 3, 1, 0),
            Unit(channels, channels, 1, 1, 0),
            nn.Flatten(),
        )


class LipEncoder(nn.Module):
    """Five lower halves [B, 3, 5, S / 2, S] to [B, channels]: 10,043,520 parameters at the published size; training only.

    Published, the upper half is there and zero. The first layer spans all five frames, so what follows has no time; it has no
    norm, which the parameter count says.
    """

    def __init__(self, config: LipMemoryConfig) -> None:
        super().__init__()
        self.patch, self.lower = config.patch, config.lower
        widths = config.lip
        self.enter = nn.Conv3d(3, widths[0], (5, 7, 7), (1, 2, 2), (0, 3, 3))
        self.stages = nn.Sequential(*(stage(a, b, n) for (a, b), n in zip(pairwise(widths), config.lip_residuals[1:], strict=True)))
        height, width = _left(config, len(widths))
        self.leave = nn.Sequential(Unit(widths[-1], config.channels, (height, width), 1, 0), Unit(config.channels, config.channels, 1, 1, 0))

    def forward(self, halves: Tensor) -> Tensor:
        """[B, 3, 5, S / 2, S] in [-1, 1] to [B, channels]."""
        if not self.lower:
            halves = F.pad(halves, (0, 0, halves.shape[-2], 0))
        if self.patch > 1:
            halves = F.avg_pool3d(halves, (1, self.patch, self.patch))
        feature = F.relu(self.enter(halves))[:, :, 0]
        return self.leave(self.stages(feature)).flatten(1)


def _left(config: LipMemoryConfig, halvings: int) -> tuple[int, int]:
    """Height and width that are left of the face, or its lower half, after the patches and so many halvings."""
    width = config.size // config.patch // 2**halvings
    return (width // 2 if config.lower else width), width


class IdentityEncoder(nn.Module):
    """Masked target and reference [B, 6, S, S] to a skip a size, fine to coarse, the last [B, C, 1, 1]: 10,006,064 parameters."""

    def __init__(self, config: FaceConfig) -> None:
        super().__init__()
        widths, self.patch = config.identity, config.patch
        enter = Unit(config.seen * self.patch**2, widths[0], config.first, 1, config.first // 2)
        stages = [nn.Sequential(enter, *residuals(widths[0], config.identity_residuals[0]))]
        stages += [stage(a, b, n) for (a, b), n in zip(pairwise(widths), config.identity_residuals[1:], strict=True)]
        left = config.size // self.patch // 2 ** (len(widths) - 1)
        stages.append(nn.Sequential(Unit(widths[-1], config.channels, left, 1, 0), Unit(config.channels, config.channels, 1, 1, 0)))
        self.stages = nn.ModuleList(stages)

    def forward(self, faces: Tensor) -> list[Tensor]:
        """Skips of faces [B, 6 or 3, S, S]."""
        feature = F.pixel_unshuffle(faces, self.patch) if self.patch > 1 else faces
        skips = []
        for step in self.stages:
            feature = step(feature)
            skips.append(feature)
        return skips


class Decoder(nn.Module):
    """Fused features [B, C] and skips to what is painted: 28,984,323 parameters at the published size, where tanh ends it."""

    def __init__(self, config: FaceConfig) -> None:
        super().__init__()
        self.config = config
        channels = config.channels
        wide = (*config.decoder, channels)
        skip = (*config.identity, channels)
        left = config.size // config.patch // 2 ** (len(config.decoder) - 1)
        height = left // 2 if config.lower else left
        steps = [nn.Sequential(Unit(channels, channels, 1, 1, 0))]
        for level in reversed(range(len(config.decoder))):
            kernel = (height, left) if level == len(config.decoder) - 1 else None
            grown = Grow(wide[level + 1] + skip[level + 1], wide[level], kernel)
            steps.append(nn.Sequential(grown, *residuals(wide[level], config.decoder_residuals[level])))
        self.steps = nn.ModuleList(steps)
        self.told = nn.ModuleList(nn.Linear(channels, 2 * width) for width in reversed(config.decoder) if config.told)
        for value in self.told.parameters():  # begin without a say
            nn.init.zeros_(value)
        outputs = 4 * config.patch**2 + 2 if config.blend else 3 * config.patch**2
        last = nn.Conv2d(config.finish, outputs, 1)
        if config.blend:  # begin with the reference where it lies
            with torch.no_grad():
                last.weight[-2:] *= 0.1
                last.bias[-2:] = 0.0  # type: ignore[index]
                last.bias[3 * config.patch**2 : -2] = -1.5  # type: ignore[index]
        self.finish = nn.Sequential(Unit(wide[0] + skip[0], config.finish), last)

    def forward(self, fused: Tensor, skips: list[Tensor]) -> Tensor:
        """[B, outputs, H, W] before tanh; H is half of W where the lower half alone is painted."""
        feature = fused[..., None, None]
        for at, (step, skip) in enumerate(zip(self.steps, reversed(skips), strict=True)):
            feature = step(feature)
            if at and self.config.told:
                scale, shift = self.told[at - 1](fused)[..., None, None].chunk(2, 1)
                feature = feature * (1 + scale) + shift
            if self.config.lower and skip.shape[-1] > 1:
                skip = lower_half(skip)
            feature = torch.cat([feature, skip], 1)
        return self.finish(feature)


class Picture(NamedTuple):
    """What was drawn [B, 3, H, S], and, where the preset blends, its parts: whole = moved + alpha (painted - moved)."""

    whole: Tensor
    painted: Tensor
    moved: Tensor | None = None  # the reference, moved by the flow
    alpha: Tensor | None = None  # [B, 1, H, S]
    flow: Tensor | None = None  # [B, H, S, 2] what is added to a place, in half sides of the face


class FaceRenderer(nn.Module, ABC):
    """What hears, looks and paints; what it paints from what it hears is a subclass's to say."""

    def __init__(self, config: FaceConfig) -> None:
        super().__init__()
        self.config = config
        self.audio = AudioEncoder(config.audio, config.audio_residuals, config.channels)
        self.identity = IdentityEncoder(config)
        self.decoder = Decoder(config)

    @abstractmethod
    def hear(self, mels: Tensor) -> Tensor:
        """Mel chunks [B, 1, 80, 16] to what the decoder draws from [B, C]."""

    def look(self, target: Tensor, reference: Tensor) -> list[Tensor]:
        """Skips of target faces [B, 3, S, S], of which the upper half alone is seen, with reference faces; or of these alone."""
        if self.config.seen == 3:
            return self.identity(reference)
        upper = torch.cat([target[:, :, : target.shape[2] // 2], torch.zeros_like(lower_half(target))], 2)
        return self.identity(torch.cat([upper, reference], 1))

    def draw(self, fused: Tensor, skips: list[Tensor], reference: Tensor) -> Picture:
        """The face, or its lower half where the configuration says so, in [-1, 1]."""
        made, patch = self.decoder(fused, skips), self.config.patch
        if not self.config.blend:
            whole = torch.tanh(F.pixel_shuffle(made, patch) if patch > 1 else made)
            return Picture(whole, whole)
        painted, flow = F.pixel_shuffle(made[:, :-2], patch), REACH * torch.tanh(made[:, -2:])
        painted, alpha = torch.tanh(painted[:, :3]), torch.sigmoid(painted[:, 3:])
        flow = F.interpolate(flow, scale_factor=patch, mode="bilinear").permute(0, 2, 3, 1)
        size = self.config.size
        moved = warp(reference, grid(size, size, flow)[-flow.shape[1] :] + flow, padding="border")
        return Picture(moved + alpha * (painted - moved), painted, moved, alpha, flow)

    def forward(self, mels: Tensor, target: Tensor, reference: Tensor) -> Tensor:
        """Faces drawn for mel chunks [B, 1, 80, 16], as at work."""
        return self.draw(self.hear(mels), self.look(target, reference), reference).whole


class Renderer(FaceRenderer):
    """What is used at work: audio and identity encoder, memory, decoder; 42.95 million parameters at the published size."""

    config: LipMemoryConfig

    def __init__(self, config: LipMemoryConfig) -> None:
        super().__init__(config)
        self.memory = AudioLipMemory(config.channels, config.slots, config.kappa, config.dropout)

    def recall(self, audio: Tensor) -> Recall:
        """What sound [B, C] recalls; nothing, where the configuration has no memory."""
        recalled = self.memory.by_key(audio)
        return recalled if self.config.memory else Recall(torch.zeros_like(recalled.feature), recalled.address)

    def hear(self, mels: Tensor) -> Tensor:
        """Mel chunks [B, 1, 80, 16] to what the decoder draws from [B, C], by the key path."""
        audio = self.audio(mels)
        return self.memory.fuse(audio, self.recall(audio).feature)


class QualityDiscriminator(nn.Module):
    """Lower halves [B, 3, 64, 128] to a verdict [B], above 0 for filmed: Wav2Lip's, 15,948,801 parameters; training only."""

    def __init__(self, config: JudgeConfig, size: int = 128) -> None:
        super().__init__()
        parts: list[nn.Module] = [_bare(3, config.widths[0], config.kernels[0], 1)]
        for at, (a, b) in enumerate(pairwise(config.widths)):
            kernel = config.kernels[at + 1]
            parts += [_bare(a, b, kernel, (1, 2) if at == 0 else 2), _bare(b, b, kernel, 1)]
        last, left = config.widths[-1], size // 2 ** (len(config.widths) - 1)
        parts += [_bare(last, last, left, 1, 0), _bare(last, last, 1, 1, 0), nn.Conv2d(last, 1, 1)]
        self.body = nn.Sequential(*parts)

    def forward(self, halves: Tensor) -> Tensor:
        """Logits [B]; published, a sigmoid follows, which here is part of the loss."""
        return self.body(halves).flatten()


def _bare(inputs: int, outputs: int, kernel: int, stride: int | tuple[int, int], padding: int | None = None) -> nn.Sequential:
    wide = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2 if padding is None else padding)
    with torch.no_grad():  # torch's own beginning leaves nothing of a picture after a dozen layers without norms (He et al. 2015)
        wide.weight *= 6**0.5
        nn.init.zeros_(wide.bias)  # type: ignore[arg-type]
    return nn.Sequential(wide, nn.LeakyReLU(0.01))


class SyncExpert(nn.Module):
    """Do five lower halves and 0.2 s of sound belong together? Wav2Lip's expert with one more stage: 22,991,744 parameters.

    Embeddings end in ReLU, so their cosine lies in [0, 1], but where the configuration has them signed. It teaches the renderer and
    is another network than the gate's scorer.
    """

    def __init__(self, config: ExpertConfig, size: int = 128) -> None:
        super().__init__()
        self.shrink, self.moves, self.signed = config.shrink, config.moves, config.signed
        widths, counts = config.video, config.video_residuals
        parts: list[nn.Module] = [Unit(9 if self.moves else 15, widths[0], 7, 1, 3)]
        for at, (a, b) in enumerate(pairwise(widths)):
            first = Unit(a, b, 5, (1, 2), 1) if at == 0 else Unit(a, b, 3, 2)
            parts += [first, *residuals(b, counts[at + 1])]
        left = size // self.shrink // 2 ** (len(widths) - 1)
        parts += [Unit(widths[-1], config.channels, left, 1, 0), Unit(config.channels, config.channels, 1, 1, 0), nn.Flatten()]
        self.video = nn.Sequential(*parts)
        self.audio = AudioEncoder(config.audio, config.audio_residuals, config.channels)
        self.last = nn.ModuleList(nn.Linear(config.channels, config.channels) if config.signed else nn.Identity() for _ in range(2))

    def see(self, halves: Tensor) -> Tensor:
        """Five lower halves [B, 5, 3, S / 2, S] in [-1, 1] to unit vectors [B, C]."""
        if self.moves:
            grey = halves.mean(2)
            level = (grey - grey.mean((1, 2, 3), keepdim=True)) / (grey.std((1, 2, 3), keepdim=True) + 0.04)
            stacked = torch.cat([level, 3 * level.diff(dim=1)], 1)
        else:
            stacked = halves.flatten(1, 2)
        return F.normalize(self.last[0](self.video(F.avg_pool2d(stacked, self.shrink) if self.shrink > 1 else stacked)), dim=-1)

    def hear(self, mels: Tensor) -> Tensor:
        """Mel chunks [B, 1, 80, 16] that start with the first of the five frames to unit vectors [B, C]."""
        return F.normalize(self.last[1](self.audio(mels)), dim=-1)
