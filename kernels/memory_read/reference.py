"""A read of the audio-lip memory, in plain PyTorch: the ground truth and the CPU path (SyncTalkFace's Audio-Lip Memory).

address[b, i] = softmax over slots i of kappa * cos(query[b], keys[i]), recall[b] = sum over i of address[b, i] * values[i],
with cos(x, y) = x . y / (max(|x|, 1e-8) * max(|y|, 1e-8)), as torch.nn.functional.cosine_similarity has it.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

EPSILON = 1e-8


def memory_read(query: Tensor, keys: Tensor, values: Tensor, kappa: float = 16.0) -> tuple[Tensor, Tensor]:
    """Recall [B, C'] and address [B, S] of query [B, C] in a memory of keys [S, C] and values [S, C'].

    Arithmetic is float32 at least, so that a short type's query of zeros has an address; recall comes back in the values' type,
    address in the query's.
    """
    wide = torch.promote_types(query.dtype, torch.float32)
    unit, slots = (F.normalize(rows.to(wide), dim=-1, eps=EPSILON) for rows in (query, keys))
    address = torch.softmax(kappa * unit @ slots.T, dim=-1)
    return (address @ values.to(wide)).to(values.dtype), address.to(query.dtype)
