"""AVCT's transformer: phone and pose tokens against audio and identity tokens, 11 steps a frame, keypoints of the centre step.

The published token encoders are image networks at 256 px; `compact` encodes the same four inputs as vectors. The transformer
between them keeps its published form: DETR-like, post-norm, sine positions added once, decoder start = 0 + positions +
decoder tokens, last LayerNorm, centre step, linear heads for keypoints and Jacobians (SEEDS.md 1.2).

B batch, S steps of the window (11), T frames, K keypoints, D width.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kernels.switch import kernels_run
from models.avct.features import ROWS_PER_FRAME, WIDTH
from models.avct.windowed import centres

PHONES = 41
POSE = 6


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """Sizes of the motion transformer."""

    keypoints: int = 24
    reach: int = 5  # steps on each side of the frame
    width: int = 128
    heads: int = 4
    layers: int = 3
    feed_forward: int = 320
    dropout: float = 0.1


def sine_positions(steps: int, width: int) -> Tensor:
    """Sine and cosine positions [steps, width] (Vaswani et al. 2017, section 3.5)."""
    rate = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000.0) / width))
    angle = torch.arange(steps)[:, None] * rate
    return torch.stack([angle.sin(), angle.cos()], dim=-1).reshape(steps, width)


class MotionTransformer(nn.Module):
    """Head-frame keypoints and Jacobians of one frame from the window about it."""

    audio_mean: Tensor
    audio_scale: Tensor
    values_mean: Tensor
    values_scale: Tensor
    pose_mean: Tensor
    pose_scale: Tensor
    positions: Tensor

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.phone = nn.Embedding(PHONES, width)
        self.pose = nn.Linear(POSE, width)
        self.audio = nn.Sequential(nn.Linear(ROWS_PER_FRAME * WIDTH, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))
        self.identity = nn.Sequential(nn.Linear(2 * config.keypoints, width), nn.ReLU(), nn.Linear(width, width))
        self.no_audio = nn.Parameter(torch.zeros(width))
        encoder = nn.TransformerEncoderLayer(width, config.heads, config.feed_forward, config.dropout, batch_first=True)
        decoder = nn.TransformerDecoderLayer(width, config.heads, config.feed_forward, config.dropout, batch_first=True)
        self.encoder = nn.TransformerEncoder(encoder, config.layers, enable_nested_tensor=False)
        self.decoder = nn.TransformerDecoder(decoder, config.layers, norm=nn.LayerNorm(width))
        self.values = nn.Linear(width, 2 * config.keypoints)
        self.jacobians = nn.Linear(width, 4 * config.keypoints)
        self.register_buffer("audio_mean", torch.zeros(WIDTH))
        self.register_buffer("audio_scale", torch.ones(WIDTH))
        self.register_buffer("values_mean", torch.zeros(config.keypoints, 2))
        self.register_buffer("values_scale", torch.ones(config.keypoints, 2))
        self.register_buffer("pose_mean", torch.zeros(POSE))
        self.register_buffer("pose_scale", torch.ones(POSE))
        self.register_buffer("positions", sine_positions(2 * config.reach + 1, width), persistent=False)
        nn.init.zeros_(self.jacobians.weight)
        nn.init.zeros_(self.jacobians.bias)

    def encoder_tokens(self, phones: Tensor, pose: Tensor) -> Tensor:
        """Phone and pose tokens [..., D] of phones int64 [..., 4] (100 Hz rows of a frame) and poses [..., 6]."""
        return self.phone(phones).mean(-2) + self.pose((pose - self.pose_mean) / self.pose_scale)

    def decoder_tokens(self, audio: Tensor, identity: Tensor, heard: Tensor | None = None) -> Tensor:
        """Audio and identity tokens [..., D] of feature rows [..., 4, 41] and the source's head-frame keypoints [..., K, 2].

        heard: [..., 1] in {0, 1}; where 0 the sound is withheld and the phones must do.
        """
        sound = self.audio(((audio - self.audio_mean) / self.audio_scale).flatten(-2))
        if heard is not None:
            sound = torch.lerp(self.no_audio.expand_as(sound), sound, heard)
        return sound + self.identity(((identity - self.values_mean) / self.values_scale).flatten(-2))

    def forward(self, encoder_tokens: Tensor, decoder_tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Windows of tokens [B, S, D] each to keypoints [B, K, 2] and Jacobians [B, K, 2, 2] of the centre step, head frame."""
        memory = self.encoder(encoder_tokens + self.positions)
        return self.heads(self.decoder(decoder_tokens + self.positions, memory)[:, self.config.reach])

    def of_tokens(self, encoder_tokens: Tensor, decoder_tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens [T + 2 * reach, D] of both, of steps in a row, to keypoints and Jacobians of the T centre steps; inference."""
        if kernels_run(encoder_tokens):
            return self.heads(centres(self.encoder, self.decoder, self.positions, encoder_tokens, decoder_tokens))
        steps = 2 * self.config.reach + 1
        return self(*(tokens.unfold(0, steps, 1).transpose(1, 2) for tokens in (encoder_tokens, decoder_tokens)))

    def heads(self, centre: Tensor) -> tuple[Tensor, Tensor]:
        """Keypoints and Jacobians of the decoder's centre step [B, D]."""
        points = self.config.keypoints
        values = self.values(centre).reshape(-1, points, 2) * self.values_scale + self.values_mean
        jacobians = self.jacobians(centre).reshape(-1, points, 2, 2) + torch.eye(2, device=centre.device)
        return values, jacobians


def held(tokens: Tensor, reach: int) -> Tensor:
    """Tokens [T, D] with the first and the last repeated: [T + 2 * reach, D]."""
    return F.pad(tokens.T[None], (reach, reach), mode="replicate")[0].T


def windows(tokens: Tensor, reach: int) -> Tensor:
    """Every frame's window of tokens: [T, D] to [T, 2 * reach + 1, D], the ends held."""
    return held(tokens, reach).unfold(0, 2 * reach + 1, 1).transpose(1, 2)
