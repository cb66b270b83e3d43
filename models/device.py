"""Where networks run: a GPU when there is one, else the processor."""

import functools

import torch


@functools.cache
def best_device() -> torch.device:
    """The first GPU that this process may use, or the CPU."""
    return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
