"""Reading and writing an existing video for an hour: memory against length, and how far sound drifts from the picture.

`python -m benchmarks.dubbing`. Tiny pictures at 29.97 a second, one white every ten seconds with a click; a source with two sound streams.
Each length is read and written in a process of its own, whose peak is the kernel's figure; what comes out is measured by ffmpeg.
"""

import json
import re
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import rows
from infra.media import ffmpeg, write_wav

RATE = Fraction(30_000, 1001)
EVERY = 300  # pictures from flash to flash
SHORT, LONG = 60, 3600
SOUND_RATE = 16_000


def source(folder: Path, seconds: int) -> tuple[Path, Path]:
    """A video and the sound of its dub."""
    count = int(seconds * RATE)
    film, sound = folder / f"{seconds}.mp4", folder / f"{seconds}.wav"
    flash = f"lutyuv=y=235:enable='eq(mod(n,{EVERY}),{EVERY - 1})'"
    tone = ["-f", "lavfi", "-i", f"sine=f=300:d={seconds}:r=44100"]
    subprocess.run([ffmpeg(), "-v", "error", "-y", "-f", "lavfi", "-i", f"color=c=gray:s=64x64:r={RATE}", *tone, *tone, "-map", "0", "-map", "1", "-map", "2", "-vf", flash, "-frames:v", str(count),
                    "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac", "-shortest", str(film)], check=True)  # fmt: skip
    heard = np.zeros(seconds * SOUND_RATE, np.int16)
    for number in range(EVERY - 1, count, EVERY):
        at = round(number / RATE * SOUND_RATE)
        heard[at : at + 320] = (30_000 * np.sin(np.arange(320) * 1.1)).astype(np.int16)[: len(heard) - at]
    write_wav(sound, heard, SOUND_RATE)
    return film, sound


def late(film: Path) -> list[float]:
    """Seconds by which each click comes after its flash, as ffmpeg decodes the file."""
    filters = "signalstats,metadata=print:key=lavfi.signalstats.YAVG:file=-"
    said = subprocess.run([ffmpeg(), "-v", "error", "-copyts", "-i", str(film), "-map", "0:v", "-vf", filters, "-f", "null", "-"], capture_output=True, check=True).stdout.decode()
    white = [float(at) for at, luma in re.findall(r"pts_time:(\S+)\s+lavfi.signalstats.YAVG=(\S+)", said) if float(luma) > 180]
    data = subprocess.run([ffmpeg(), "-v", "error", "-copyts", "-i", str(film), "-map", "0:a:0", "-ar", "16000", "-ac", "1", "-f", "s16le", "-"], capture_output=True, check=True).stdout
    sound = np.abs(np.frombuffer(data, np.int16).astype(np.int32))
    found = []
    for at in white:
        first = max(round((at - 0.2) * SOUND_RATE), 0)
        found.append((first + int(np.flatnonzero(sound[first : first + round(0.4 * SOUND_RATE)] > 8_000)[0])) / SOUND_RATE - at)
    return found


def run(short: int = SHORT, long: int = LONG) -> dict[str, Any]:
    """Peaks in MiB, their ratio, pictures a second, the greatest lateness of sound in ms, and its drift over the long video in pictures."""
    peaks, told = {}, {}
    with tempfile.TemporaryDirectory() as scratch:
        for seconds in (short, long):
            film, sound = source(Path(scratch), seconds)
            out = Path(scratch) / f"out{seconds}.mp4"
            child = [sys.executable, "-m", "benchmarks.dubbing", str(film), str(sound), str(out)]
            done = subprocess.run(child, capture_output=True, text=True, check=True, cwd=Path(__file__).parent.parent)
            peaks[seconds], told[seconds] = (float(word) for word in done.stdout.split()[-2:])
        lateness = late(out)
    drift = (lateness[-1] - lateness[0]) * float(RATE)
    figures = {"dub_peak_short": ("MiB", [peaks[short]]), "dub_peak_long": ("MiB", [peaks[long]]), "dub_fps_64": ("pictures/s", [told[long]])}
    rows.add({**figures, "dub_drift": ("pictures", [drift])})
    return {
        "figures": {
            "memory_ratio_long": round(peaks[long] / peaks[short], 3),
            "peak_short_mib": peaks[short],
            "peak_long_mib": peaks[long],
            "growth_mib_per_hour": round((peaks[long] - peaks[short]) * 3600 / (long - short), 1),
            "fps": told[long],
            "late_ms_most": round(1000 * max(lateness), 2),
            "late_ms_least": round(1000 * min(lateness), 2),
            "drift_pictures": round(drift, 3),
        },
        "video_seconds": {"short": short, "long": long},
        "flashes": len(lateness),
    }


def _child(film: Path, sound: Path, out: Path) -> None:
    from infra.video import DubWriter, pictures

    began = time.monotonic()
    with DubWriter(out, film, sound, language="es-ES", crf=30, preset="ultrafast") as writer:
        for picture in pictures(film):
            writer.write(picture)
    sys.stdout.write(f"{rows.peak_mib():.1f} {writer.frames / (time.monotonic() - began):.0f}\n")


if __name__ == "__main__":
    if len(sys.argv) == 4:
        _child(*map(Path, sys.argv[1:]))
    else:
        sys.stdout.write(json.dumps(run(), indent=1) + "\n")
