"""The shared parity vectors: what the published networks give under deterministic weights (benchmarks/deterministic.py)."""

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.deterministic import fill

__all__ = ["FOLDER", "fill", "near", "needs_vectors", "vectors"]

FOLDER = Path(__file__).resolve().parent.parent.parent / "shared" / "parity"
needs_vectors = pytest.mark.skipif(not FOLDER.is_dir(), reason="left out: the parity vectors are not here (../shared/parity)")


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
