"""A lock with hashes of what pip would install of a list of pins here: `python -m infra.lock constraints-cpu.txt > lock.txt`.

It holds the one file of each package that suits this platform and Python, with its SHA-256 as the index tells it. `pip install --require-hashes
--no-deps -r lock.txt` then installs these files or nothing. What follows the file goes to pip: an index of your own, `--no-index --find-links wheels`.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from infra.errors import DubwrightError, SetupError

REPORT = ("install", "--dry-run", "--ignore-installed", "--no-deps", "--quiet", "--disable-pip-version-check", "--no-input", "--report", "-")
LONGEST = 3600  # seconds


def lock(pins: Path, more: Sequence[str] = ()) -> str:
    """The lock's text, a line for each package. more: options of pip. Raises SetupError."""
    words = [sys.executable, "-m", "pip", *REPORT, *more, "-r", str(pins.absolute())]
    step = "Check the pins, the index and the options, which are pip's own."
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=LONGEST, check=False)
        if done.returncode:
            raise SetupError(f"pip finds no files for {pins.name}: {' '.join(done.stderr.split())[-400:]}", code="setup.lock", next_step=step)
        rows = [_row(one) for one in json.loads(done.stdout)["install"]]
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError) as error:
        raise SetupError(f"pip's report of {pins.name} cannot be read ({error})", code="setup.lock", next_step="pip 22.2 and newer write one.") from error
    return "".join(f"{row}\n" for row in sorted(rows, key=str.lower))


def _row(one: dict[str, Any]) -> str:
    """A package's line. Raises KeyError for one without a hash."""
    told, archive = one["metadata"], one["download_info"]["archive_info"]
    digest = archive["hashes"]["sha256"] if "hashes" in archive else archive["hash"].removeprefix("sha256=")  # pip before 23.1
    return f"{told['name']}=={told['version']} --hash=sha256:{digest}"


def main(words: Sequence[str]) -> int:
    """Write the lock of a file of pins to standard output."""
    if not words:
        sys.stderr.write("usage: python -m infra.lock PINS [options of pip]\n")
        return 2
    try:
        sys.stdout.write(lock(Path(words[0]), words[1:]))
    except DubwrightError as error:
        sys.stderr.write(f"{error.message}\nnext: {error.next_step}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
