"""What is installed, what is missing, what that costs, and how to get it."""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from infra.errors import SetupError
from infra.settings import Settings

Row = dict[str, Any]


def examine(settings: Settings) -> list[Row]:
    """One row a part: name, ok, needed, detail; and for what is missing, cost and fix."""
    return [
        _row("python", True, _python, "Nothing runs.", "Install Python 3.11."),
        _row("ffmpeg", True, ffmpeg_works, "No video can be written.", "pip install imageio-ffmpeg"),
        _row("media guard", True, _guard, "No portrait, video or recording is read.", "Free memory, and let processes be started; docs/hostile.md says what it needs."),
        _row("speech (espeak-ng)", True, _espeak, "Only recordings can be dubbed.", "pip install espeakng-loader"),
        _row("voice activity", True, lambda: _version("silero-vad", "onnxruntime"), "Silence cannot be told from speech.", "pip install silero-vad onnxruntime"),
        _row("face landmarks", True, lambda: _version("mediapipe"), "Portraits cannot be read.", "pip install mediapipe==0.10.14"),
        _row("torch", True, _torch, "Nothing can be rendered.", "pip install -c constraints-cpu.txt torch"),
        _row("weights", True, _weights, "Nothing can be rendered or scored.", "Install the package anew; `dubwright models verify` names the file."),
        _row("gate thresholds", True, _thresholds, "No video passes the gate.", "dubwright calibrate"),
        _row("ledger (Postgres)", True, lambda: _ledger(settings), "No batch can run.", "Correct DUBWRIGHT_DATABASE_URL, or unset it for the embedded server."),
        _row("artifact store", True, lambda: _store(settings), "No batch can run.", "Correct DUBWRIGHT_STORE_URL and credentials, or unset it for a folder."),
        _row("disk space", True, lambda: _space(settings.home), "Runs end with disk.full.", "Free space, or point DUBWRIGHT_HOME elsewhere."),
        _row("conductor (Prefect)", True, lambda: _version("prefect", "fastapi"), "No batch can run.", "pip install -c constraints-cpu.txt prefect"),
        _row("GPU", False, _gpu, "The CPU renders; slower.", "Install with constraints-gpu.txt on a machine with an NVIDIA GPU."),
        _row("phone decoder", False, lambda: _version("pocketsphinx"), "Recordings need a transcript.", "pip install pocketsphinx"),
        _row("face-alignment weights", False, _face_alignment, "The landmark model of the mediapipe wheel is used.", "Put 2DFAN4-11f355bf06.pth.tar and s3fd-619a316812.pth into torch's hub/checkpoints."),
    ]


def _row(name: str, needed: bool, look: Callable[[], str], cost: str, fix: str) -> Row:
    try:
        return {"name": name, "ok": True, "needed": needed, "detail": look(), "cost": "", "fix": ""}
    except Exception as error:  # whatever it is, it is what the table shows
        return {"name": name, "ok": False, "needed": needed, "detail": " ".join(str(error).split())[:160] or type(error).__name__, "cost": cost, "fix": fix}


def _python() -> str:
    if sys.version_info[:2] != (3, 11):
        raise RuntimeError(f"Python {platform.python_version()} runs; the pinned parts are built for 3.11")
    return platform.python_version()


def _version(*names: str) -> str:
    return ", ".join(f"{name} {metadata.version(name)}" for name in names)


def ffmpeg_works() -> str:
    """The first line that ffmpeg says of itself. Raises SetupError when it is not there or does not start."""
    from infra.media import ffmpeg

    path = ffmpeg()
    try:
        said = subprocess.run([path, "-hide_banner", "-version"], capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        step = "pip install imageio-ffmpeg, and unset IMAGEIO_FFMPEG_EXE if it is set."
        raise SetupError(f"ffmpeg does not start ({error})", code="setup.ffmpeg", next_step=step) from error
    return said.partition("\n")[0].partition(" Copyright")[0]


def _guard() -> str:
    from infra.guard.door import shut_in

    return "shut in by the kernel" if shut_in() else "within limits; this kernel filters no system calls"


def _espeak() -> str:
    from tasks.speech.espeak import voices

    return f"{len(voices())} languages"


def _torch() -> str:
    from tasks.engines import engine

    engine("avct", "compact")
    return _version("torch")


def _weights() -> str:
    from models import checkpoints

    found = checkpoints.verify()
    wrong = [f"{name}: {problem}" for name, problem in found if problem]
    if wrong or not found:
        raise RuntimeError("; ".join(wrong) or "there are none")
    return f"{len(found)} files as their cards say"


def _thresholds() -> str:
    from tasks.gate import load_thresholds

    return f"false-pass rate {load_thresholds().false_pass_rate:.0%}"


def _ledger(settings: Settings) -> str:
    from db.session import Database
    from infra.postgres import embedded_url

    own = settings.database_url.get_secret_value()
    database = Database(own or embedded_url(settings.home))
    try:
        at = database.standing()
    finally:
        database.close()
    if at.refuses:
        raise RuntimeError(f"its schema {at.found} is too new for this version, which knows {at.known[-1]}")
    place = "given by DUBWRIGHT_DATABASE_URL" if own else f"embedded, under {settings.home}"
    return f"{place}; schema {at.found or 'made on first use'}" + (f", {at.behind} behind" if at.found and at.behind else "")


def _store(settings: Settings) -> str:
    from infra.artifacts import open_artifacts

    artifacts = open_artifacts(settings)
    made = artifacts.put(b"dubwright doctor\n", "doctor.txt")
    return str(artifacts.store.url(made.key))


def _space(home: Path) -> str:
    free = shutil.disk_usage(home).free
    if free < 2 * 2**30:
        raise RuntimeError(f"{free / 2**30:.1f} GiB free under {home}; at least 2 are wanted")
    return f"{free / 2**30:.0f} GiB free"


def _gpu() -> str:
    import torch

    if not torch.cuda.is_available():
        raise RuntimeError("no CUDA device")
    return str(torch.cuda.get_device_name(0))


def _face_alignment() -> str:
    folder = Path(os.environ.get("TORCH_HOME", Path.home() / ".cache" / "torch")) / "hub" / "checkpoints"
    names = ("2DFAN4-11f355bf06.pth.tar", "s3fd-619a316812.pth")
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise RuntimeError(f"not installed: {', '.join(missing)}")
    return str(folder)
