"""Attention inside every frame's window of steps, in plain PyTorch: the ground truth and the CPU path.

T windows of S = 2 * reach + 1 steps lie over sequences of T + 2 * reach tokens: step s of window t is token t + s. With
q[t, s] = q[t + s] + pq[s], and k and v likewise, for every window t, step s and head,
out[t, s] = sum over steps u of softmax over u of (q[t, s] . k[t, u] / sqrt(D)) * v[t, u].
A position's term is its embedding, projected: projection is linear, so tokens are projected once and not once a window.
"""

import torch
from torch import Tensor


def windows(tokens: Tensor, positions: Tensor | None, reach: int) -> Tensor:
    """Every window's steps [T, S, H, D] of tokens [T + 2 * reach, H, D], with the positions' terms [S, H, D] added."""
    first = torch.arange(tokens.shape[0] - 2 * reach, device=tokens.device)
    steps = tokens[first[:, None] + torch.arange(2 * reach + 1, device=tokens.device)]
    return steps if positions is None else steps + positions


def window_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    pq: Tensor | None = None,
    pk: Tensor | None = None,
    pv: Tensor | None = None,
    *,
    reach: int = 5,
    centre: bool = False,
) -> Tensor:
    """Attention inside the windows over q, k, v [T + 2 * reach, H, D] with positions' terms [S, H, D]: [T, S, H, D].

    centre: only the middle step asks: [T, H, D]. q may come from another sequence than k and v.
    """
    if centre:
        query = q[reach : q.shape[0] - reach, None]  # [T, 1, H, D]
        query = query if pq is None else query + pq[reach]
    else:
        query = windows(q, pq, reach)
    query, key, value = (steps.transpose(1, 2) for steps in (query, windows(k, pk, reach), windows(v, pv, reach)))  # [T, H, S, D]
    shares = (query @ key.transpose(2, 3) * max(q.shape[-1], 1) ** -0.5).softmax(-1)
    out = (shares @ value).transpose(1, 2)
    return out[:, 0] if centre else out
