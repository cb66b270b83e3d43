"""Distances of video windows to sound windows at a few offsets, in plain PyTorch: the ground truth and the CPU path.

d[i, j] = |v_i - a_(i + j - reach) + 1e-6|, the Euclidean norm, for j = 0 .. 2 * reach. A partner outside the sound gives NaN
(edges="leave", this project's protocol) or the distance to a vector of zeros (edges="zeros", the published SyncNet protocol).
"""

import torch
from torch import Tensor
from torch.nn import functional as F

EPSILON = 1e-6
EDGES = ("leave", "zeros")


def sync_distance(video: Tensor, audio: Tensor, *, reach: int = 15, edges: str = "leave") -> Tensor:
    """Distances [N, 2 * reach + 1] of video [N, E] to audio [M, E], float32 (float64 of float64); one pass over N an offset."""
    wide = torch.promote_types(video.dtype, torch.float32)
    windows, count = video.to(wide), len(video)
    padded = F.pad(audio.to(wide), (0, 0, reach, max(0, count + reach - len(audio))))  # [at least N + 2 * reach, E]
    near = [torch.linalg.vector_norm(windows - padded[j : j + count] + EPSILON, dim=-1) for j in range(2 * reach + 1)]
    distances = torch.stack(near, dim=1)
    if edges == "zeros":
        return distances
    partner = torch.arange(count, device=video.device)[:, None] + torch.arange(-reach, reach + 1, device=video.device)
    return distances.where((partner >= 0) & (partner < len(audio)), torch.nan)
