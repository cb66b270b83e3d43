"""The published AVCT transformer: phone and pose pictures against audio and identity maps; 49,323,113 parameters.

Eleven steps a frame; encoder input = tokens + positions, decoder start = 0 + positions + decoder tokens, both added once; the
last decoder layer's centre step gives keypoints and Jacobians. The published loop encodes every step's tokens anew for each of
the eleven windows that hold it; here `encoder_tokens` and `decoder_tokens` run once a step. B batch, T steps, S window, D 512.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kernels.switch import kernels_run
from models.avct.paper.blocks import AntiAliased, DownResidual
from models.avct.paper.keypoints import KEYPOINTS, Keypoints
from models.avct.transformer import sine_positions
from models.avct.windowed import centres

REACH = 5
PHONES, SIDE, WIDTH = 41, 16, 512


class _Positions(nn.Module):
    pos_table: Tensor

    def __init__(self, steps: int = 20) -> None:
        super().__init__()
        self.register_buffer("pos_table", sine_positions(steps, WIDTH)[None])


def _token_encoder(channels: int) -> nn.Sequential:
    widths = (channels, 32, 64, 128, 256, 512)
    return nn.Sequential(*(DownResidual(a, b) for a, b in pairwise(widths)), nn.AvgPool2d(2))


class PaperTransformer(nn.Module):
    """Tokens of each step, and keypoints of each frame from the window about it."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(PHONES, SIDE * SIDE)
        self.pos_enc = _Positions()
        self.down_pose = AntiAliased(1)
        self.feature_extract = _token_encoder(2)
        self.audio_embedding = nn.Sequential(
            nn.ConvTranspose2d(1, 8, (29, 14), padding=(0, 11)), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 35, 13, padding=6)
        )
        self.decodefeature_extract = _token_encoder(70)
        encoder = nn.TransformerEncoderLayer(WIDTH, 8, 2048, 0.1, batch_first=True)
        decoder = nn.TransformerDecoderLayer(WIDTH, 8, 2048, 0.1, batch_first=True)
        layers = nn.TransformerEncoder(encoder, 6, enable_nested_tensor=False), nn.TransformerDecoder(decoder, 6, norm=nn.LayerNorm(WIDTH))
        self.transformer = nn.ModuleDict(dict(zip(("encoder", "decoder"), layers, strict=True)))
        self.kp = nn.Linear(WIDTH, 2 * KEYPOINTS)
        self.jacobian = nn.Linear(WIDTH, 4 * KEYPOINTS)
        nn.init.zeros_(self.jacobian.weight)
        with torch.no_grad():
            self.jacobian.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 1.0]).repeat(KEYPOINTS))

    def encoder_tokens(self, phones: Tensor, pose_pictures: Tensor) -> Tensor:
        """Tokens [T, 512] of phones int64 [T] and pose pictures [T, 1, 256, 256] in 0..255."""
        spoken = F.interpolate(self.embedding(phones).reshape(-1, 1, SIDE, SIDE), scale_factor=4, mode="nearest")
        return self.feature_extract(torch.cat([self.down_pose(pose_pictures), spoken], dim=1)).flatten(1)

    def decoder_tokens(self, audio: Tensor, feature_map: Tensor) -> Tensor:
        """Tokens [T, 512] of feature rows [T, 4, 41] and the source's keypoint feature map [1, 35, 64, 64]."""
        heard = F.interpolate(self.audio_embedding(audio[:, None]), scale_factor=2, mode="nearest")
        both = torch.cat([heard, feature_map.expand(len(audio), -1, -1, -1)], dim=1)
        return self.decodefeature_extract(both).flatten(1)

    def forward(self, encoder_tokens: Tensor, decoder_tokens: Tensor) -> Keypoints:
        """Windows of tokens [B, 11, 512] each to keypoints [B, 10, 2] and Jacobians [B, 10, 2, 2] of the centre step."""
        positions = self.pos_enc.pos_table[:, : encoder_tokens.shape[1]]
        memory = self.transformer["encoder"](encoder_tokens + positions)
        return self.heads(self.transformer["decoder"](decoder_tokens + positions, memory)[:, encoder_tokens.shape[1] // 2])

    def of_tokens(self, encoder_tokens: Tensor, decoder_tokens: Tensor) -> Keypoints:
        """Tokens [T + 10, 512] of both, of steps in a row, to keypoints and Jacobians of the T centre steps; inference."""
        if kernels_run(encoder_tokens):
            positions, parts = self.pos_enc.pos_table[0, : 2 * REACH + 1], self.transformer
            return self.heads(centres(parts["encoder"], parts["decoder"], positions, encoder_tokens, decoder_tokens))
        return self(*(tokens.unfold(0, 2 * REACH + 1, 1).transpose(1, 2) for tokens in (encoder_tokens, decoder_tokens)))

    def heads(self, centre: Tensor) -> Keypoints:
        """Keypoints and Jacobians of the decoder's centre step [B, 512]."""
        return Keypoints(self.kp(centre).reshape(-1, KEYPOINTS, 2), self.jacobian(centre).reshape(-1, KEYPOINTS, 2, 2))
