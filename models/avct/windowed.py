"""AVCT's transformer over a clip's windows straight from the tokens that they share, by the kernels; inference only.

The networks are `nn.TransformerEncoder` and `nn.TransformerDecoder` (post-norm, ReLU), whose weights are used as they are. What
neighbouring windows have in common is computed once: the first layers' queries, keys and values, since a projection of token plus
position is the sum of the two projections. Of the decoder's last layer only the centre step is asked for.

T windows, S = 2 reach + 1 steps, D width.
"""

from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from kernels.attention import attention
from kernels.residual_norm import residual_norm
from kernels.window_attention import window_attention
from kernels.window_attention.reference import windows


def centres(encoder: nn.Module, decoder: nn.Module, positions: Tensor, seen: Tensor, heard: Tensor) -> Tensor:
    """The decoder's centre step [T, D] of every window over the encoder's and the decoder's tokens [T + 2 reach, D].

    positions [S, D] are added to the tokens of both once.
    """
    reach = len(positions) // 2
    memory = windows(seen, positions, reach)
    for number, layer in enumerate(_layers(encoder)):
        looked = _own(layer.self_attn, memory, memory) if number else _shared(layer.self_attn, seen, positions)
        memory = _norm(layer.norm1, memory, looked)
        memory = _norm(layer.norm2, memory, _forward(layer, memory))
    found, layers = windows(heard, positions, reach), _layers(decoder)
    for number, layer in enumerate(layers):
        last = number + 1 == len(layers)
        asked = found[:, reach : reach + 1] if last else found
        looked = _own(layer.self_attn, asked, found) if number else _shared(layer.self_attn, heard, positions, centre=last)
        asked = _norm(layer.norm1, asked, looked)
        asked = _norm(layer.norm2, asked, _own(layer.multihead_attn, asked, memory))
        found = _norm(layer.norm3, asked, _forward(layer, asked))
    return cast(nn.LayerNorm, decoder.norm)(found[:, 0])


def _layers(stack: nn.Module) -> list:
    return list(cast(nn.ModuleList, stack.layers))


def _norm(norm: nn.LayerNorm, x: Tensor, residual: Tensor) -> Tensor:
    return residual_norm(x, residual, norm.weight, norm.bias, eps=norm.eps)


def _forward(layer: nn.TransformerEncoderLayer, x: Tensor) -> Tensor:
    return layer.linear2(F.relu(layer.linear1(x)))


def _projected(heads: nn.MultiheadAttention, number: int, x: Tensor, *, bias: bool = True) -> Tensor:
    """Queries (0), keys (1) or values (2) of x [..., D] as [..., heads, D / heads]."""
    part = slice(number * heads.embed_dim, (number + 1) * heads.embed_dim)
    made = F.linear(x, heads.in_proj_weight[part], heads.in_proj_bias[part] if bias else None)
    return made.unflatten(-1, (heads.num_heads, heads.head_dim))


def _shared(heads: nn.MultiheadAttention, tokens: Tensor, positions: Tensor, *, centre: bool = False) -> Tensor:
    """Self-attention inside the windows over tokens: [T, S, D], or with the centre's queries alone [T, 1, D]."""
    q, k, v = (_projected(heads, number, tokens) for number in range(3))
    terms = (_projected(heads, number, positions, bias=False) for number in range(3))
    made = window_attention(q, k, v, *terms, reach=len(positions) // 2, centre=centre)
    return heads.out_proj((made[:, None] if centre else made).flatten(-2))


def _own(heads: nn.MultiheadAttention, asking: Tensor, asked: Tensor) -> Tensor:
    """Attention of steps [T, M, D] over windows' own steps [T, S, D]."""
    q, k, v = (_projected(heads, number, x).transpose(1, 2) for number, x in enumerate((asking, asked, asked)))
    return heads.out_proj(attention(q, k, v).transpose(1, 2).flatten(-2))
