"""ffmpeg as a process that writes one file: it appears whole or not at all. Inputs are local files in containers that hold their own data."""

import os
import subprocess
from pathlib import Path

from infra.errors import DiskFull, MediaError, SetupError
from infra.media import LONGEST_SECONDS, ffmpeg

PATIENCE = 4 * LONGEST_SECONDS  # seconds


def written(path: Path, arguments: list[str], options: list[str]) -> None:
    """Run ffmpeg with inputs and what to do with them, into `path`. Raises MediaError, DiskFull, SetupError and leaves nothing then.

    options: what stands right before the output's name, its format among it.
    """
    fresh = path.with_name(f".incoming-{path.name}")
    command = [ffmpeg(), "-hide_banner", "-loglevel", "error", "-nostdin", "-y", *arguments, *options, str(fresh.absolute())]
    try:
        done = _run(command, path)
        said = done.stderr.decode(errors="replace").strip()
        if "No space left" in said or "File too large" in said:
            raise DiskFull(f"no space left while writing {path.name}")
        if done.returncode or not fresh.exists():
            step = "Check the disk and the inputs; run again."
            raise MediaError(f"{path.name} could not be written ({said[-300:] or 'ffmpeg ended early'})", code="media.unwritable", next_step=step)
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)


def _run(command: list[str], path: Path) -> "subprocess.CompletedProcess[bytes]":
    try:
        return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=PATIENCE, check=False, cwd=path.parent)
    except subprocess.TimeoutExpired as error:
        raise MediaError(f"{path.name} was not written within {PATIENCE // 3600} hours", code="media.unwritable") from error
    except OSError as error:
        raise SetupError(f"ffmpeg does not start ({error})", code="setup.ffmpeg") from error
