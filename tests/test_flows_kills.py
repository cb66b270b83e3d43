"""Workers that are killed, cut off and left without store or disk: the trials of trial_cases.py, in a process of their own.

Its workers are forked. What other tests have used by then (networks, their threads) does not survive a fork.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CASES = Path(__file__).with_name("trial_cases.py")


def test_trials_end_well(tmp_path: Path) -> None:
    known = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_") and key != "PREFECT_HOME"}
    words = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'trials'}", str(CASES)]
    done = subprocess.run(words, cwd=CASES.parent.parent, env=known, capture_output=True, text=True, timeout=900, check=False)
    if done.returncode:
        pytest.fail(f"{done.stdout[-6000:]}\n{done.stderr[-2000:]}", pytrace=False)
