"""LayerNorm of a sum, in plain PyTorch: the ground truth and the CPU path.

z = x + residual, out = (z - mean(z)) / sqrt(var(z) + eps) * weight + bias, mean and variance (not Bessel's) over the last axis
(Ba et al. 2016; after a residual as in Vaswani et al. 2017, section 3.1).
"""

from torch import Tensor
from torch.nn import functional as F


def residual_norm(x: Tensor, residual: Tensor, weight: Tensor, bias: Tensor, *, eps: float = 1e-5) -> Tensor:
    """LayerNorm over the last axis of x + residual, both [..., W], with weight and bias [W]: [..., W]."""
    return F.layer_norm(x + residual, x.shape[-1:], weight, bias, eps)
