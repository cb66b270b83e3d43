"""Videos made for tests by the ffmpeg program, and results read back by it: what checks a reader and a writer is neither of them."""

import hashlib
import re
import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np

from infra.media import ffmpeg, write_wav
from infra.video import DubWriter, pictures


def run(*arguments: str | Path) -> bytes:
    """What ffmpeg prints on its standard output."""
    done = subprocess.run([ffmpeg(), "-hide_banner", "-v", "error", "-y", *map(str, arguments)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout


def film(path: Path, size: str = "66x50", rate: str = "25", seconds: float = 1, *more: str) -> Path:
    """Moving test pictures; `more` goes before the output."""
    run("-f", "lavfi", "-i", f"testsrc=s={size}:r={rate}:d={seconds}", *(more or ("-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "ultrafast")), path)
    return path


def planes(path: Path) -> np.ndarray:
    """Pictures as ffmpeg decodes them, uint8 [pictures, bytes of yuv420p]."""
    shown = pictures(path).__next__()
    data = run("-i", path, "-map", "0:v:0", "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "yuv420p", "-")
    return np.frombuffer(data, np.uint8).reshape(-1, shown.y.size + 2 * shown.u.size)


def shown(path: Path) -> list[tuple[float, float]]:
    """(seconds, mean luma) of every picture, on the container's own timeline."""
    said = run("-copyts", "-i", path, "-map", "0:v:0", "-vf", "signalstats,metadata=print:key=lavfi.signalstats.YAVG:file=-", "-fps_mode", "passthrough", "-f", "null", "-").decode()
    return [(float(time), float(luma)) for time, luma in re.findall(r"pts_time:(\S+)\s+lavfi.signalstats.YAVG=(\S+)", said)]


def heard(path: Path, track: int = 0) -> np.ndarray:
    """A sound track as float32 at 48 kHz, from the container's time 0."""
    data = run("-copyts", "-i", path, "-map", f"0:a:{track}", "-af", "aresample=48000:async=1:first_pts=0", "-ac", "1", "-f", "f32le", "-")
    return np.frombuffer(data, np.float32)


def packets(path: Path, stream: str) -> str:
    """Hash of a stream's packets as they are stored."""
    return hashlib.sha256(run("-i", path, "-map", f"0:{stream}", "-c", "copy", "-f", "data", "-")).hexdigest()


def clicks(path: Path, times: list[Fraction], seconds: float, rate: int = 16_000) -> Path:
    """Silence with a click at each time."""
    sound = np.zeros(int(seconds * rate), np.float32)
    for time in times:
        at = round(time * rate)
        sound[at : at + rate // 50] = 0.9 * np.sin(np.arange(rate // 50) * 1.1)
    write_wav(path, sound, rate)
    return path


def late(sound: np.ndarray, due: float) -> float:
    """Seconds by which a click comes after it is due."""
    first = max(int((due - 0.1) * 48_000), 0)
    return float(first + np.flatnonzero(np.abs(sound[first : int((due + 0.1) * 48_000)]) > 0.2)[0]) / 48_000 - due


def dubbed(source: Path, out: Path, sound: Path | None, **how: object) -> DubWriter:
    """A dub that changes no picture."""
    told = {"language": "es-ES", "crf": 18, "preset": "ultrafast", **how}
    with DubWriter(out, source, sound, **told) as writer:  # type: ignore[arg-type]
        for picture in pictures(source):
            writer.write(picture)
    return writer
