"""Sizes of the two presets: one code, two configurations.

`paper` is as much of Zhu et al. 2020 (arXiv 1812.06589) as is known: one identity picture in, a U-Net with skips, 256 pixels out, the
whole face painted; widths are not published and are Wav2Lip's, one halving more. `compact` ships: it has the layers of lipmemory's
compact renderer without the memory, so that it can begin from those weights, and sees what that one sees.
"""

from dataclasses import dataclass

from models.lipmemory.config import ExpertConfig, FaceConfig
from models.lipmemory.config import compact as lipmemory_compact


@dataclass(frozen=True, kw_only=True)
class JudgeConfig:
    """Sizes of the frame discriminator, which is used in training alone."""

    widths: tuple[int, ...] = (64, 128, 256, 512)  # a halving each
    audio: tuple[int, ...] = (32, 64, 128, 256)
    channels: int = 256  # of the sound's feature


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A preset's three configurations: generator, frame discriminator, statistics network."""

    name: str
    model: FaceConfig
    judge: JudgeConfig
    statistics: ExpertConfig


def paper() -> Preset:
    """256 pixels, an identity picture alone, the whole face."""
    model = FaceConfig(
        size=256,
        seen=3,
        identity=(16, 32, 64, 128, 256, 512, 512),
        identity_residuals=(0, 2, 3, 2, 2, 1, 1),
        decoder=(32, 64, 128, 256, 384, 512, 512),
        decoder_residuals=(2, 2, 2, 2, 2, 2, 1),
    )
    return Preset(name="paper", model=model, judge=JudgeConfig(), statistics=ExpertConfig(shrink=2, moves=True, signed=True))


def compact() -> Preset:
    """What ships: 128 pixels, about three million parameters at work."""
    like = lipmemory_compact()
    model = FaceConfig(**{name: getattr(like.model, name) for name in FaceConfig.__dataclass_fields__})
    judge = JudgeConfig(widths=(24, 48, 96), audio=(16, 24, 32, 48), channels=64)
    return Preset(name="compact", model=model, judge=judge, statistics=like.expert)
