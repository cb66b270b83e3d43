"""Weights by state-dict key alone, under which the published networks' outputs are known; for tests and benchmarks, without files."""

import fnmatch
import math
import zlib

import numpy as np
import torch
from torch import nn

from models.avct.paper.audio2pose import AudioToPose
from models.avct.paper.generator import Generator
from models.avct.paper.keypoints import KeypointDetector
from models.avct.paper.transformer import PaperTransformer

BUILT = ("*num_batches_tracked", "*pos_table", "*.down.weight", "*down_pose.weight")
Filled = tuple[KeypointDetector, PaperTransformer, Generator, AudioToPose]
GAINS = {"generator.": 1.6, "audio2pose.": 0.3}


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


def networks() -> Filled:
    """The four networks of the preset paper, filled."""
    parts = (KeypointDetector(), "kp_detector."), (PaperTransformer(), "ph2kp."), (Generator(), "generator."), (AudioToPose(), "audio2pose.")
    return tuple(fill(module, prefix) for module, prefix in parts)  # type: ignore[return-value]
