"""What every test stands on: Triton's interpreter (set before the first import) and the shared data, where it is."""

import os
import sys
from pathlib import Path

os.environ.setdefault("TRITON_INTERPRET", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "data"


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """The same random tensors every time, in whatever order tests run."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


def shared_data() -> Path:
    """The folder of real clips beside the checkout; a test that asks for it is left out where a clone has none."""
    if not SHARED.is_dir():
        pytest.skip("left out: ../shared/data is not here")
    return SHARED


@pytest.fixture(name="shared_data")
def shared_data_fixture() -> Path:
    """`shared_data()` as a fixture."""
    return shared_data()
