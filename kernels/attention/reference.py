"""Multi-head attention, in plain PyTorch: the ground truth and the CPU path.

out[b, h, m] = sum over the visible keys n of softmax over them of (q[b, h, m] . k[b, h, n] / sqrt(D)) * v[b, h, n]
(Vaswani et al. 2017, equation 1). A query that sees no key gives zeros, and so do its gradients.
"""

import torch
from torch import Tensor


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, *, causal: bool = False) -> Tensor:
    """Attention of q [B, H, M, D] over k, v [B, H, N, D]: [B, H, M, D].

    mask: boolean [B, N], true where a key may be seen. causal: query m sees the keys up to m, counted from the first of each.
    """
    scores = q @ k.transpose(2, 3) * max(q.shape[-1], 1) ** -0.5  # [B, H, M, N]
    hidden = torch.zeros(scores.shape[-2:], dtype=torch.bool, device=q.device)
    if causal:
        hidden = hidden.logical_not().triu(1)
    if mask is not None:
        hidden = hidden | mask.logical_not()[:, None, None]
    shares = scores.masked_fill(hidden, torch.finfo(q.dtype).min).softmax(-1).masked_fill(hidden, 0.0)
    return shares @ v
