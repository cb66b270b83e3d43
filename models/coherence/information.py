"""Mutual information of sound and lips, from a statistics network's table T of sounds and windows of pictures.

Joint pairs belong together; marginal ones are other moments of the same clip or other clips. Neighbours a frame apart are neither:
they share four of five pictures. All figures are in nats. sp is softplus.

- Donsker-Varadhan, as MINE has it (Belghazi et al. 2018, eq. 5): I >= E_joint[T] - log E_marginal[exp T].
- Jensen-Shannon, as f-GAN and Deep InfoMax have it: I_JS = E_joint[-sp(-T)] - E_marginal[sp(T)]. Its gradients are bounded. It is
  at most 0; I_JS + log 4 is at most twice the Jensen-Shannon divergence of joint and marginal, and reaches it where T is
  log p(a, v) / (p(a) p(v)), the pointwise mutual information. So T itself, read from a network that was trained this way, says
  how much a window of pictures tells of its sound: its coherence.

That marginal pairs are to a part of the same clip, and that the neighbours are left out, is this project's reading: a network that only
has to tell clips apart learns voices and faces instead of lips.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

KINDS = ("jensen_shannon", "donsker_varadhan")
NEAR = 1  # frames up to which a pair of one clip is neither joint nor marginal


def related(sounds: Tensor, windows: Tensor) -> tuple[Tensor, Tensor]:
    """Which pairs are joint and which are marginal, bool [A, V] each; rows [A, 2] and [V, 2] hold clip and first frame."""
    same = sounds[:, None, 0] == windows[None, :, 0]
    apart = (sounds[:, None, 1] - windows[None, :, 1]).abs()
    return same & (apart == 0), ~same | (apart > NEAR)


def runs(count: int, run: int, device: torch.device | None = None) -> Tensor:
    """Rows [count, 2] of clip and first frame, of windows in runs of `run` consecutive ones a clip."""
    order = torch.arange(count, device=device)
    return torch.stack([order // run, order % run], 1)


def mean_over(values: Tensor, pairs: Tensor) -> Tensor:
    """Mean of a table over the pairs that are meant."""
    return torch.where(pairs, values, 0).sum() / pairs.sum()


def jensen_shannon(table: Tensor, joint: Tensor, marginal: Tensor) -> Tensor:
    """I_JS of a table T [A, V] with its joint and its marginal pairs; -log 4 where T says nothing, 0 at most."""
    return mean_over(-F.softplus(-table), joint) - mean_over(F.softplus(table), marginal)


class RunningMean(nn.Module):
    """A running mean of exp T over marginal pairs, kept as its logarithm: what MINE divides by in place of the batch's own mean."""

    log: Tensor

    def __init__(self, rate: float = 0.05) -> None:
        super().__init__()
        self.rate = rate
        self.register_buffer("log", torch.tensor(math.nan))

    @torch.no_grad()
    def follow(self, log_mean: Tensor) -> Tensor:
        """The mean's logarithm with this batch's in it."""
        blended = torch.logaddexp(self.log + math.log1p(-self.rate), log_mean + math.log(self.rate))
        self.log.copy_(torch.where(self.log.isnan(), log_mean, blended))
        return self.log.clone()


def donsker_varadhan(table: Tensor, joint: Tensor, marginal: Tensor, running: RunningMean | None = None) -> Tensor:
    """The Donsker-Varadhan bound of a table T [A, V] with its joint and its marginal pairs.

    running: corrects the gradient, which a small batch biases (Belghazi et al. 2018, section 3.2); the value stays the bound's.
    """
    wrong = table.masked_fill(~marginal, -math.inf)
    log_mean = torch.logsumexp(wrong.flatten(), 0) - marginal.sum().log()
    value = mean_over(table, joint) - log_mean
    if running is None:
        return value
    corrected = mean_over(table, joint) - (wrong - running.follow(log_mean.detach())).exp().sum() / marginal.sum()
    return corrected + (value - corrected).detach()


def bound(kind: str, table: Tensor, pairs: tuple[Tensor, Tensor], running: RunningMean | None = None) -> Tensor:
    """The bound of a kind, one of KINDS; pairs: the joint and the marginal ones."""
    return jensen_shannon(table, *pairs) if kind == "jensen_shannon" else donsker_varadhan(table, *pairs, running)
