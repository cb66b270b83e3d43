"""Deterministic weights by state-dict key, under which the published networks' outputs are known (shared parity vectors)."""

import fnmatch
import math
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

FOLDER = Path(__file__).resolve().parent.parent.parent / "shared" / "parity"
BUILT = ("*num_batches_tracked", "*pos_table", "*.down.weight", "*down_pose.weight")
GAINS = {"generator.": 1.6, "audio2pose.": 0.3}
needs_vectors = pytest.mark.skipif(not FOLDER.is_dir(), reason="left out: the parity vectors are not here (../shared/parity)")


def fill(module: nn.Module, prefix: str, seed: int = 1) -> nn.Module:
    """Weights from each entry's prefixed name and shape alone; the module in eval mode."""
    state = module.state_dict()
    for key, value in state.items():
        name = prefix + key
        if any(fnmatch.fnmatch(name, pattern) for pattern in BUILT):
            continue
        noise = np.random.RandomState(zlib.crc32(f"{seed}:{name}".encode())).standard_normal(value.shape)
        if name.endswith("running_mean"):
            made = 0.1 * noise
        elif name.endswith("running_var"):
            made = 1 + 0.2 * np.abs(noise)
        elif value.dim() >= 2:
            made = noise * math.sqrt(GAINS.get(prefix, 1.0) / math.prod(value.shape[1:]))
        elif name.endswith("weight"):
            made = 1 + 0.1 * noise
        else:
            made = 0.1 * noise
        if name == "kp_detector.jacobian.weight":
            made = made * 0.02
        if name == "ph2kp.jacobian.weight":
            made = made * 0.1
        if name in ("kp_detector.jacobian.bias", "ph2kp.jacobian.bias"):
            made = np.tile([1.0, 0.0, 0.0, 1.0], len(noise) // 4)
        state[key] = torch.from_numpy(np.asarray(made, np.float32))
    module.load_state_dict(state, strict=True)
    return module.eval()


def vectors(name: str) -> dict[str, np.ndarray]:
    """The arrays of one parity file."""
    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as data:
        return {key: data[key] for key in data.files}


def near(found: np.ndarray | torch.Tensor, expected: np.ndarray) -> None:
    """At most 1e-3 of the range (at least 1) apart."""
    found = found.detach().numpy() if isinstance(found, torch.Tensor) else found
    assert found.shape == expected.shape, (found.shape, expected.shape)
    apart, limit = float(np.abs(found - expected).max()), 1e-3 * max(1.0, float(np.abs(expected).max()))
    assert apart <= limit, f"{apart:.3g} apart, over {limit:.3g}"
