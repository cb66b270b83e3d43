"""Loudness of deliverables: `python -m benchmarks.loudness`.

Each kind of delivery is rendered by its own stages (portrait, re-dub with its source's sound kept, speech over beds, quiet and loud and short
recordings) and the finished file is measured by ffmpeg's `ebur128`, a meter that the product does not use. Ends with 1 where one misses its
target or limit and does not say so.
"""

import json
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from infra.media import ffmpeg, read_audio, write_wav
from infra.settings import get_settings
from infra.video import DubWriter, FilmWriter, Picture, facts_of, inspect, pictures
from models.types import Cue
from tasks import sound
from tasks.scripts import from_text
from tasks.speech import SpeechTrack, from_recording, synthesise

LINE = "Good evening, my friends. This takes a little longer than a picture does, and then it goes on. We shall see each other again tomorrow."
NEAR = 0.5  # LU


@dataclass(frozen=True)
class Case:
    """One deliverable: its name, what it aims at, and what it is made of. bed: channels (0: none)."""

    name: str
    target: float
    peak: float = -1.0
    gain: float = 1.0
    seconds: float = 60.0
    bed: int = 0
    video: bool = False
    recorded: bool = False


CASES = (
    Case("portrait", -23), Case("portrait, web", -16), Case("portrait, loud", -14), Case("portrait, atsc", -24, -2), Case("re-dub", -23, video=True), Case("re-dub, stereo bed", -23, bed=2, video=True),
    Case("portrait, 5.1 bed", -23, bed=6), Case("portrait, 5.1 bed, web", -16, bed=6), Case("portrait, mono bed, loud", -14, bed=1), Case("quiet recording", -23, gain=0.02, recorded=True),
    Case("quiet recording, web", -16, gain=0.02, recorded=True), Case("recording of a few steps, web", -16, gain=0.001, recorded=True), Case("loud recording", -23, gain=8.0, recorded=True), Case("loud recording, loud", -14, gain=8.0, recorded=True), Case("0.9 s", -23, seconds=0.9), Case("0.9 s, web", -16, seconds=0.9),
)  # fmt: skip


def metered(path: Path) -> tuple[float, float]:
    """Integrated loudness in LUFS and true peak in dBTP of a file's first sound, by ebur128."""
    command = [ffmpeg(), "-hide_banner", "-nostats", "-i", str(path), "-map", "0:a:0", "-af", "ebur128=peak=true:framelog=quiet", "-f", "null", "-"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    return float(re.findall(r"I:\s+(-?[\d.]+)", said)[-1]), float(re.findall(r"Peak:\s+(-?[\d.]+)", said)[-1])


def made(case: Case, folder: Path) -> tuple[Path, dict[str, Any]]:
    """The case's delivery, and what the product says of its sound."""
    settings, speech, video, bed = get_settings(), _speech(case, folder), folder / "source.mp4", folder / "bed.wav"
    if case.video:
        _source(video, speech.speech.seconds)
    if case.bed:
        _noise(bed, case.bed, speech.speech.seconds + 2)
    seconds = inspect(video).seconds if case.video else speech.speech.frames / 25
    wanted = sound.Wanted(speech, folder, {"target": case.target, "peak": case.peak}, bed if case.bed else None, seconds)
    told = sound.found(wanted)
    sound.put(wanted, told, folder / "sound.flac")
    path = folder / "delivery.mp4"
    if case.video:
        writer: FilmWriter = DubWriter(path, video, folder / "sound.flac", language="en-US", crf=settings.video_crf, preset="ultrafast", keep_original=True)
        with writer as out:
            for picture in pictures(video):
                out.write(picture)
        return path, told
    facts = facts_of(64, 64, Fraction(25))
    with FilmWriter(path, facts, folder / "sound.flac", language="en-US", crf=settings.video_crf, preset="ultrafast") as out:
        for number in range(speech.speech.frames):
            out.write(Picture.of_rgb(number, Fraction(number, 25), np.full((64, 64, 3), number % 256, np.uint8), facts.colour))
    return path, told


def _speech(case: Case, folder: Path) -> SpeechTrack:
    track = synthesise((Cue(0, 0, "Hi"),) if case.seconds < 1 else from_text(LINE), "en-US")
    if not case.recorded:
        return track
    wave = np.clip(np.asarray(track.sound).astype(np.float32) / 32768 * 0.25 * case.gain, -1, 1)
    write_wav(folder / "take.wav", wave, track.rate)
    loud = wave if np.abs(wave).max() > 0.1 else wave / np.abs(wave).max()
    write_wav(folder / "heard.wav", loud, track.rate)
    heard = from_recording(folder / "heard.wav", LINE, "en-US")
    return SpeechTrack(heard.speech, read_audio(folder / "take.wav", 48_000, whole=True), 48_000)


def _source(path: Path, seconds: float) -> None:
    parts = ["-f", "lavfi", "-i", f"testsrc2=s=128x96:r=25:d={seconds:.2f}", "-f", "lavfi", "-i", f"sine=frequency=440:duration={seconds:.2f}"]
    subprocess.run([ffmpeg(), "-v", "error", "-y", *parts, "-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac", "-shortest", str(path)], check=True)
    assert inspect(path).frames


def _noise(path: Path, channels: int, seconds: float) -> None:
    several = [f"anoisesrc=color=pink:amplitude=0.05:seed={n}:sample_rate=48000:duration={seconds:.2f}[s{n}]" for n in range(channels)]
    join = "".join(f"[s{n}]" for n in range(channels)) + (f"amerge=inputs={channels}" if channels > 1 else "anull")
    subprocess.run([ffmpeg(), "-v", "error", "-y", "-filter_complex", f"{';'.join(several)};{join}[o]", "-map", "[o]", str(path)], check=True)


def run(cases: tuple[Case, ...] = CASES) -> dict[str, Any]:
    """Every case's figures."""
    rows = []
    for case in cases:
        with tempfile.TemporaryDirectory(prefix="dubwright-") as folder:
            path, told = made(case, Path(folder))
            integrated, peak = metered(path)
        off = abs(integrated - case.target)
        rows.append({
            "deliverable": case.name, "target": case.target, "integrated": integrated, "limit": case.peak, "true_peak": peak, "how": told["how"], "limited_db": told["limited"], "kept": off <= NEAR and peak <= case.peak,
            "told": peak <= case.peak and any("LUFS and not" in note for note in told["notes"]), "notes": told["notes"],
        })  # fmt: skip
    figures = {"deliverables": len(rows), "within": sum(row["kept"] for row in rows), "told": sum(row["told"] for row in rows), "worst_lu": round(max((abs(row["integrated"] - row["target"]) for row in rows if not row["told"]), default=0.0), 2), "worst_peak_over": round(max(row["true_peak"] - row["limit"] for row in rows), 2)}
    return {"figures": figures, "rows": rows}


def main() -> None:
    """Print a row a deliverable, or with --json all as one object."""
    found = run()
    if "--json" in sys.argv:
        sys.stdout.write(json.dumps(found) + "\n")
    else:
        lines = ["| deliverable | target | integrated | peak limit | true peak | how | peaks limited by |", "|---|---|---|---|---|---|---|"]
        lines += [f"| {row['deliverable']} | {row['target']:g} | {row['integrated']:.1f} | {row['limit']:g} | {row['true_peak']:.1f} | {row['how']}{', told' if row['told'] else ''} | {row['limited_db']:.1f} dB |" for row in found["rows"]]
        sys.stdout.write("\n".join(lines) + f"\n{json.dumps(found['figures'])}\n")
    sys.exit(not all(row["kept"] or row["told"] for row in found["rows"]))


if __name__ == "__main__":
    main()
