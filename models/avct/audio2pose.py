"""Audio to head pose: an autoregressive LSTM after the published one, with a spread so that idle motion can be drawn from it.

The published network maps audio codes and its own last output to six pose values and is deterministic. Trained on a speaker
whose head hardly moves, its mean stands still; `compact` therefore predicts mean and spread of the next step's change
and draws from them, pulled gently back to the start so that no head drifts away.
"""

import numpy as np
import torch
from torch import Tensor, nn

from models.avct.features import WIDTH

POSE = 6


class AudioToPose(nn.Module):
    """Change of pose from one frame to the next, given the sound and how far the pose is from its start."""

    audio_mean: Tensor
    audio_scale: Tensor
    pose_scale: Tensor
    step_scale: Tensor

    def __init__(self, hidden: int = 96) -> None:
        super().__init__()
        self.hidden = hidden
        self.audio = nn.Sequential(nn.Linear(WIDTH, 48), nn.Tanh())
        self.lstm = nn.LSTMCell(48 + 2 * POSE, hidden)
        self.out = nn.Linear(hidden, 2 * POSE)
        self.register_buffer("audio_mean", torch.zeros(WIDTH))
        self.register_buffer("audio_scale", torch.ones(WIDTH))
        self.register_buffer("pose_scale", torch.ones(POSE))
        self.register_buffer("step_scale", torch.ones(POSE))

    def codes(self, rows: Tensor) -> Tensor:
        """Sound of each frame [..., T, 48] from its feature rows [..., T, 4, 41]."""
        return self.audio(((rows - self.audio_mean) / self.audio_scale).mean(-2))

    def step(self, code: Tensor, away: Tensor, last: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """Mean and log spread [B, 6] of the next change, in units of `step_scale`; away: pose less start [B, 6]; last: last change."""
        state = self.lstm(torch.cat([code, away / self.pose_scale, last / self.step_scale], -1), state)
        mean, spread = self.out(state[0]).chunk(2, -1)
        return mean, spread.clamp(-4, 1), state

    def start(self, batch: int) -> tuple[Tensor, Tensor]:
        """The state before the first frame."""
        zero = torch.zeros(batch, self.hidden, device=self.pose_scale.device)
        return zero, zero

    @torch.no_grad()
    def draw(self, rows: Tensor, seed: int, *, warmth: float = 0.8, spring: float = 0.04) -> np.ndarray:
        """Pose less its start [T, 6] for feature rows [T, 4, 41]; `warmth` scales the drawn spread, `spring` pulls back per frame."""
        generator = torch.Generator().manual_seed(seed)
        codes = self.codes(rows)
        away, last, state = torch.zeros(1, POSE), torch.zeros(1, POSE), self.start(1)
        poses = []
        for code in codes:
            mean, spread, state = self.step(code[None], away, last, state)
            noise = torch.randn(1, POSE, generator=generator) * warmth
            last = (mean + spread.exp() * noise) * self.step_scale - spring * away
            away = away + last
            poses.append(away[0])
        return torch.stack(poses).numpy() if poses else np.zeros((0, POSE), np.float32)
