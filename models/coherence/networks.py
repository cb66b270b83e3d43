"""The generator, the frame discriminator that is told the sound, and the statistics network of the mutual information.

B batch, C channels, S pixels a side of the face. Pictures are BGR in [-1, 1]. What hears, looks and paints is shared with lipmemory;
between its ears and its hand there is one linear layer in place of a memory.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.coherence.config import JudgeConfig
from models.lipmemory.config import ExpertConfig, FaceConfig
from models.lipmemory.networks import AudioEncoder, FaceRenderer, SyncExpert, lower_half
from models.lipmemory.networks import Renderer as LipMemoryRenderer


class Generator(FaceRenderer):
    """What is used at work: face encoder, audio encoder, one linear fusion, decoder with skips."""

    def __init__(self, config: FaceConfig) -> None:
        super().__init__(config)
        self.fusion = nn.Linear(config.channels, config.channels)

    def hear(self, mels: Tensor) -> Tensor:
        """Mel chunks [B, 1, 80, 16] to what the decoder draws from [B, C]."""
        return self.fusion(self.audio(mels))

    @torch.no_grad()
    def begin(self, other: LipMemoryRenderer, mels: Tensor) -> None:
        """Begin as a lipmemory renderer: its ears, eyes and hand, and for its memory the linear layer that comes nearest to it.

        mels [N, 1, 80, 16]: sounds that the layer is fitted to.
        """
        for name in ("audio", "identity", "decoder"):
            getattr(self, name).load_state_dict(getattr(other, name).state_dict())
        other.eval()
        heard = other.audio(mels)
        wanted = other.memory.fuse(heard, other.recall(heard).feature)
        become(self.fusion, heard, wanted, 1e-3)


@torch.no_grad()
def become(layer: nn.Linear, inputs: Tensor, wanted: Tensor, ridge: float) -> None:
    """Let a layer be what takes inputs [N, A] nearest to what is wanted [N, B], by least squares.

    ridge: how much small weights are wanted, in mean squares of the inputs; without, a layer with large ones may fly apart as it learns on.
    """
    a, b = inputs - inputs.mean(0), wanted - wanted.mean(0)
    damped = a.T @ a + ridge * a.square().sum(0).mean() * torch.eye(a.shape[1])
    weight = torch.linalg.solve(damped, a.T @ b).T
    layer.weight.copy_(weight)
    layer.bias.copy_(wanted.mean(0) - weight @ inputs.mean(0))


class FrameDiscriminator(nn.Module):
    """Does this frame belong to this sound? Lower halves [B, 3, S / 2, S] and mel chunks [B, 1, 80, 16] to a verdict a patch.

    Published is what it judges (Zhu et al. 2020, figure 2). Ours: a projection discriminator (Miyato and Koyama 2018), whose verdict of
    a patch is w . f(patch) + phi(x) . psi(a): how real the patch looks, and how well the whole half goes with the sound. Halves come
    at one brightness and contrast with their fine detail beside them, without which so small a discriminator learns nothing in a
    short run. Training only.
    """

    def __init__(self, config: JudgeConfig, size: int = 128) -> None:
        super().__init__()
        steps = [nn.Conv2d(a, b, 4, 2, 1) for a, b in pairwise((6, *config.widths))]
        for step in steps:  # without norms torch's own beginning leaves little of a picture (He et al. 2015)
            nn.init.kaiming_normal_(step.weight, 0.2)
        self.look = nn.Sequential(*(layer for step in steps for layer in (step, nn.LeakyReLU(0.2))))
        left = size // 2 ** len(steps)
        self.whole = nn.Conv2d(config.widths[-1], config.channels, (left // 2, left))
        self.audio = AudioEncoder(config.audio, (0, 0, 0, 0), config.channels)
        self.told = nn.Linear(config.channels, config.channels)
        self.verdict = nn.Conv2d(config.widths[-1], 1, 1)

    def forward(self, halves: Tensor, mels: Tensor) -> Tensor:
        """Logits [B, h, w], above 0 for a filmed frame with its own sound."""
        level = halves.mean((1, 2, 3), keepdim=True)
        even = (halves - level) / (halves.std((1, 2, 3), keepdim=True) + 0.05)
        detail = 4 * (even - F.avg_pool2d(F.pad(even, (2, 2, 2, 2), mode="replicate"), 5, 1))
        feature = self.look(torch.cat([even, detail], 1))
        matched = (self.whole(feature).flatten(1) * self.told(self.audio(mels))).sum(1) / self.told.out_features**0.5
        return self.verdict(feature)[:, 0] + matched[:, None, None]


class StatisticsNetwork(SyncExpert):
    """T(a, v) = exp(k) cos(u(a), w(v)) + b of a sound a and a window v of five lower halves.

    Layers are those of lipmemory's sync expert, the weights are its own. Ours: T is separable, so that all pairs of N sounds and N
    windows cost N passes of each side; a cosine alone could neither reach the nats that T is to be, nor be balanced about 0.
    """

    def __init__(self, config: ExpertConfig, size: int = 128) -> None:
        super().__init__(config, size)
        self.log_scale = nn.Parameter(torch.tensor(2.0))
        self.bias = nn.Parameter(torch.tensor(-2.0))

    def table(self, heard: Tensor, seen: Tensor) -> Tensor:
        """T [A, V] of unit vectors of sounds [A, C] and of windows [V, C]."""
        return self.log_scale.exp() * heard @ seen.T + self.bias

    def forward(self, mels: Tensor, halves: Tensor) -> Tensor:
        """T [A, V] of mel chunks [A, 1, 80, 16] and windows of lower halves [V, 5, 3, S / 2, S]."""
        return self.table(self.hear(mels), self.see(lower_half(halves)))
