"""Sizes of the two presets: one code, two configurations.

`paper` has the published sizes. `compact` ships: it takes and paints two by two pixels at a time, paints the lower half alone (the
only one that is used), and paints over the reference moved by a small flow, so that a face never seen keeps its own skin.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class FaceConfig:
    """Sizes of what hears, looks and paints, with or without a memory. Widths run from fine to coarse, one a halving."""

    size: int = 128  # pixels a side of the face
    seen: int = 6  # channels that the identity encoder sees: 6 are the target's upper half and a reference, 3 a reference alone
    patch: int = 1  # pixels a side that the first layer takes, and the last one paints, at a time
    lower: bool = False  # paint the lower half alone
    blend: bool = False  # paint over the reference moved by a flow, where it does not know better
    channels: int = 512  # of audio, lip, identity and memory features
    first: int = 7  # kernel of the identity encoder's first layer
    audio: tuple[int, ...] = (32, 64, 128, 256)
    audio_residuals: tuple[int, ...] = (2, 2, 2, 1)
    identity: tuple[int, ...] = (16, 32, 64, 128, 256, 512)
    identity_residuals: tuple[int, ...] = (0, 2, 3, 2, 2, 1)
    decoder: tuple[int, ...] = (64, 128, 256, 384, 512, 512)
    decoder_residuals: tuple[int, ...] = (2, 2, 2, 2, 2, 1)
    told: bool = False  # every size of the decoder is scaled and shifted by what is drawn from, not the first one alone
    finish: int = 32  # channels before the last layer


@dataclass(frozen=True, kw_only=True)
class LipMemoryConfig(FaceConfig):
    """Sizes of everything that renders, and of the lip encoder that teaches it."""

    lip: tuple[int, ...] = (64, 64, 128, 256, 512)
    lip_residuals: tuple[int, ...] = (0, 3, 2, 2, 1)
    slots: int = 96
    kappa: float = 16.0
    dropout: float = 0.5
    memory: bool = True  # without: the audio feature alone is fused, for the ablation


@dataclass(frozen=True, kw_only=True)
class JudgeConfig:
    """Sizes of the quality discriminator, which is used in training alone. Widths as of the published one's seven stages."""

    widths: tuple[int, ...] = (32, 64, 128, 256, 512, 512)
    kernels: tuple[int, ...] = (7, 5, 5, 5, 3, 3)


@dataclass(frozen=True, kw_only=True)
class ExpertConfig:
    """Sizes of the sync expert, which is used in training alone and is never the gate's scorer."""

    shrink: int = 1  # lower halves are shrunk by this much first
    moves: bool = False  # sees grey halves without their brightness, and how they move, in place of colours
    signed: bool = False  # embeddings end in a linear layer, so that their cosine lies in [-1, 1]
    channels: int = 512
    video: tuple[int, ...] = (32, 64, 128, 256, 512, 512)
    video_residuals: tuple[int, ...] = (0, 2, 3, 2, 2, 2)
    audio: tuple[int, ...] = (32, 64, 128, 256)
    audio_residuals: tuple[int, ...] = (2, 2, 2, 2)


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A preset's three configurations."""

    name: str
    model: LipMemoryConfig = field(default_factory=LipMemoryConfig)
    judge: JudgeConfig = field(default_factory=JudgeConfig)
    expert: ExpertConfig = field(default_factory=ExpertConfig)


def paper() -> Preset:
    """The published sizes: 42.95 million parameters at work (SEEDS.md 3.2)."""
    return Preset(name="paper")


def compact() -> Preset:
    """What ships: 128 pixels, about three million parameters at work."""
    model = LipMemoryConfig(
        patch=2,
        lower=True,
        blend=True,
        told=True,
        channels=192,
        first=3,
        audio=(16, 32, 64, 128),
        audio_residuals=(0, 0, 1, 1),
        identity=(24, 40, 80, 112, 144),
        identity_residuals=(0, 1, 1, 1, 0),
        decoder=(40, 64, 96, 128, 144),
        decoder_residuals=(1, 1, 1, 1, 0),
        finish=32,
        lip=(32, 48, 96, 144),
        lip_residuals=(0, 0, 1, 0),
        dropout=0.1,
    )
    judge = JudgeConfig(widths=(8, 16, 24, 40, 64, 96), kernels=(3, 3, 3, 3, 3, 3))
    expert = ExpertConfig(
        shrink=2,
        moves=True,
        signed=True,
        channels=192,
        video=(16, 32, 64, 96, 160),
        video_residuals=(0, 0, 1, 0, 0),
        audio=(16, 32, 64, 128),
        audio_residuals=(0, 0, 1, 1),
    )
    return Preset(name="compact", model=model, judge=judge, expert=expert)
