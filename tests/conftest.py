"""What every test stands on: Triton's interpreter and Prefect's home (set before the first import) and the shared data, where it is."""

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TRITON_INTERPRET", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Where this process's Prefect server keeps its things. Prefect reads it once, at its first import: in the home folder of whichever module
# comes first, the server would lose its database when that module ends.
os.environ["PREFECT_HOME"] = tempfile.mkdtemp(prefix="dubwright-prefect-")
atexit.register(shutil.rmtree, os.environ["PREFECT_HOME"], ignore_errors=True)

import pytest  # noqa: E402 (first the environment)

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
