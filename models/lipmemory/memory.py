"""The Audio-Lip Memory: lips are stored in slots, and sound recalls them (SEEDS.md 3.3; Park et al. 2022, section 3.2).

Address: a_i = softmax over slots of kappa * cos(W q, m_i). Recall: sum of a_i times the value memory's slot i. Sound addresses the
key memory and lips the value memory; training brings both addresses together, so that at work sound alone recalls lips.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kernels.memory_read import memory_read


class Recall(NamedTuple):
    """A read of the memory: the value memory's slots [B, C] weighted by the address [B, S]."""

    feature: Tensor
    address: Tensor


class AudioLipMemory(nn.Module):
    """Key and value memory, their two embeddings, and the fusion of sound with what was recalled.

    Where the description leaves it open: dropout is on what is fused, before the fusion; fusion is linear without activation.
    1,148,416 parameters with 96 slots and 512 channels.
    """

    def __init__(self, channels: int, slots: int = 96, kappa: float = 16.0, dropout: float = 0.5) -> None:
        super().__init__()
        self.keys = nn.Parameter(torch.randn(slots, channels) * 0.5)
        self.values = nn.Parameter(torch.randn(slots, channels) * 0.5)
        self.embed_audio = nn.Linear(channels, channels)
        self.embed_lip = nn.Linear(channels, channels)
        self.fusion = nn.Linear(2 * channels, channels)
        self.dropout = nn.Dropout(dropout)
        self.kappa = kappa

    def by_key(self, audio: Tensor) -> Recall:
        """The key path, "te", used at work: sound [B, C] addresses the keys."""
        return Recall(*memory_read(self.embed_audio(audio), self.keys, self.values, self.kappa))

    def by_value(self, lip: Tensor) -> Recall:
        """The value path, "tr", used in training: lips [B, C] address the values that they recall."""
        return Recall(*memory_read(self.embed_lip(lip), self.values, self.values, self.kappa))

    def fuse(self, audio: Tensor, recalled: Tensor) -> Tensor:
        """Sound [B, C] with recalled lips [B, C] to what is drawn [B, C]."""
        return self.fusion(self.dropout(torch.cat([audio, recalled], 1)))

    def storage_loss(self, lip: Tensor) -> Tensor:
        """L_store = mean square of A_val . M_value - W_v f_l: the slots learn to hold lips.

        The target is detached and so is the query: what lips are is the encoder's business, the loss teaches slots alone.
        """
        target = self.embed_lip(lip).detach()
        return F.mse_loss(memory_read(target, self.values, self.values, self.kappa)[0], target)

    @torch.no_grad()
    def fill(self, audio: Tensor, lip: Tensor, rounds: int = 6) -> None:
        """Begin with lips in the slots and their sounds in the keys, from features [N, C] of N frames, N at least the slots.

        Not published. Slots of noise are all addressed alike until lips pull them apart, which takes longer than a processor has:
        here embeddings are centred and brought to the slots' spread, slots are the middles of their clusters (k-means by cosine,
        from rows that lie apart), and a key is the mean sound of its slot's lips.
        """
        for layer, feature in ((self.embed_lip, lip), (self.embed_audio, audio)):
            made = feature @ layer.weight.T
            gain = 0.5 / (made - made.mean(0)).std().clamp_min(1e-6)
            layer.weight *= gain
            layer.bias.copy_(-made.mean(0) * gain)
        lips, sounds = self.embed_lip(lip), self.embed_audio(audio)
        self.values.copy_(lips[_apart(F.normalize(lips, dim=1), len(self.values))])
        for _ in range(rounds + 1):
            near = (F.normalize(lips, dim=1) @ F.normalize(self.values, dim=1).T).argmax(1)
            share = F.one_hot(near, len(self.values)).to(lips.dtype)
            count = share.sum(0)[:, None]
            self.values.copy_(torch.where(count > 0, share.T @ lips / count.clamp_min(1), self.values))
        noise = sounds[torch.randperm(len(sounds))[: len(self.keys)]]
        self.keys.copy_(torch.where(count > 0, share.T @ sounds / count.clamp_min(1), noise))

    @staticmethod
    def alignment_loss(by_value: Tensor, by_key: Tensor) -> Tensor:
        """L_align = KL(A_val || A_key), mean over the batch: sound learns to point where lips do; A_val is detached."""
        wanted = by_value.detach()
        return F.kl_div(by_key.clamp_min(1e-12).log(), wanted, reduction="batchmean")


def _apart(rows: Tensor, count: int) -> list[int]:
    """Numbers of `count` of the unit rows [N, C], each as far as can be from those before it."""
    chosen, nearest = [0], rows @ rows[0]
    for _ in range(count - 1):
        chosen.append(int(nearest.argmin()))
        nearest = torch.maximum(nearest, rows @ rows[chosen[-1]])
    return chosen
