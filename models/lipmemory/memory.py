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

    @staticmethod
    def alignment_loss(by_value: Tensor, by_key: Tensor) -> Tensor:
        """L_align = KL(A_val || A_key), mean over the batch: sound learns to point where lips do; A_val is detached."""
        wanted = by_value.detach()
        return F.kl_div(by_key.clamp_min(1e-12).log(), wanted, reduction="batchmean")
