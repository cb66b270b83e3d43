"""Loudness by EBU R 128 and ITU-R BS.1770: measured, and brought to a target under a true-peak limit, by ffmpeg in passes.

The first pass measures (loudnorm). Where one gain does not push peaks over the limit the second applies it (loudnorm, linear); where it would,
an oversampled limiter takes the peaks. Then the sound is encoded as it will be delivered and measured again, since encoding moves peaks. The
dynamic mode of loudnorm is never used: it pumps, and it delays. Everything streams; nothing here knows what a job is.
"""

import json
import math
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from infra.errors import DiskFull, MediaError, SetupError
from infra.media import as_input, ffmpeg

RATE = 48_000
NEAR = 0.2  # LU from the target within which nothing is tried again; half of what is promised
HEADROOM = 0.5  # dB under the limit that peaks are kept before the encode, which moves them
SLACK = 0.1  # dB that two meters' true peaks may differ
MOST_LIMITED = 18.0  # dB that a limiter may take off peaks before the target gives way
TRIES, TOLD = 5, 6.0  # tries; dB of limiting that a person should know of
LEAST, GATED = 0.4, -69.0  # seconds of one block of the measurement; LUFS under which it counts as nothing
AUDIBLE = -80.0  # dBTP of a peak under which a sound is silence
LIMITER = "aresample=192000,alimiter=limit={limit:.6f}:attack=5:release=80:level=false:latency=true,aresample=48000"
SLOWEST = 5.0  # times its own length that a pass may take, after ten minutes


@dataclass(frozen=True)
class Measured:
    """Integrated loudness in LUFS, true peak in dBTP (None: silence, or too short), loudness range in LU, gating threshold in LUFS."""

    integrated: float | None
    peak: float | None
    range: float = 0.0
    threshold: float = -70.0


@dataclass(frozen=True)
class Graph:
    """Sound made of files by filters; the text ends in an open output. samples: its length at 48 kHz, which is kept to the sample."""

    files: tuple[Path, ...]
    filters: str
    samples: int

    def then(self, *filters: str) -> "Graph":
        """The graph with filters behind it."""
        return replace(self, filters=",".join([self.filters, *(one for one in filters if one)]))


@dataclass(frozen=True)
class Levelled:
    """How a sound was brought to its target. how: linear, limited, off, silent. limited: dB taken off the highest peak. after: as it is encoded."""

    target: float | None
    limit: float
    gain: float
    how: str
    before: Measured
    after: Measured
    limited: float = 0.0
    filters: str = ""
    notes: tuple[str, ...] = field(default=())


def run(graph: Graph, last: str, output: Sequence[str]) -> str:
    """Run ffmpeg over a graph with `last` behind it; what it says on standard error. Raises MediaError, DiskFull, SetupError."""
    inputs = [part for path in graph.files for part in as_input(path)]
    command = [
        ffmpeg(), "-hide_banner", "-nostdin", "-nostats", "-y", *inputs, "-filter_complex", graph.then(last).filters + "[out]", "-map", "[out]",
        "-map_metadata", "-1", "-flags", "+bitexact", "-fflags", "+bitexact", *output,
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, timeout=600 + SLOWEST * graph.samples / RATE, check=False)
    except subprocess.TimeoutExpired as error:
        raise MediaError(f"ffmpeg did not finish with the sound of {graph.files[-1].name}", code="media.slow") from error
    except OSError as error:
        raise SetupError(f"ffmpeg does not start ({error})", code="setup.ffmpeg") from error
    said = done.stderr.decode(errors="replace")
    if done.returncode:
        if "No space left" in said or "File too large" in said:
            raise DiskFull("no space left while writing sound")
        names = " and ".join(path.name for path in graph.files)
        raise MediaError(f"ffmpeg cannot work on the sound of {names}: {' '.join(said.split())[-300:]}", code="media.sound")
    return said


def measure(graph: Graph) -> Measured:
    """What a sound measures. Raises MediaError."""
    told = _told(run(graph, "loudnorm=I=-23:TP=-1:LRA=50:print_format=json", ["-f", "null", "-"]))
    integrated, peak, spread, threshold = (float(told[f"input_{name}"]) for name in ("i", "tp", "lra", "thresh"))
    loud = math.isfinite(integrated) and integrated > GATED
    return Measured(integrated if loud else None, peak if math.isfinite(peak) and peak > AUDIBLE else None, spread, threshold if loud else -70.0)


def _told(said: str) -> dict[str, str]:
    """The object that loudnorm writes last."""
    found = re.findall(r"\{[^{}]*\"input_i\"[^{}]*\}", said)
    if not found:
        raise MediaError("ffmpeg's measurement of the loudness cannot be read", code="media.sound", next_step="`dubwright doctor` says which ffmpeg is used.")
    return dict(json.loads(found[-1]))


def heard(graph: Graph) -> Measured:
    """What a sound measures, very quiet ones included: they are measured raised, and told as they are."""
    found = measure(graph)
    if found.integrated is not None or found.peak is None or graph.samples < LEAST * RATE:
        return found
    raised = -1.0 - found.peak
    louder = measure(graph.then(f"volume={raised:.2f}dB"))
    lower = None if louder.integrated is None else louder.integrated - raised
    return replace(louder, integrated=lower, peak=found.peak, threshold=louder.threshold - raised)


def write(graph: Graph, path: Path) -> None:
    """Write a graph's sound as 16-bit FLAC at 48 kHz, exactly as long as it is. Raises MediaError, DiskFull."""
    said = _write(graph, path)
    if "linear=true" in graph.filters and _told(said).get("normalization_type") != "linear":
        raise MediaError("ffmpeg's loudnorm did not keep to one gain", code="media.sound", next_step="Report the sound file; `loudness: off` leaves it as it is.")


def _write(graph: Graph, path: Path) -> str:
    length = f"aresample={RATE},apad=whole_len={graph.samples},atrim=end_sample={graph.samples}"
    return run(graph, f"{length},aformat=sample_fmts=s16", ["-c:a", "flac", "-compression_level", "5", "-f", "flac", str(path.absolute())])


def level(graph: Graph, target: float | None, limit: float, folder: Path) -> Levelled:
    """Find how a sound reaches a target in LUFS with no true peak over `limit` in dBTP as it is delivered; None leaves it as it is.

    Raises MediaError, DiskFull. Files in `folder` come and go.
    """
    before = heard(graph)
    if target is None or before.integrated is None or before.peak is None:
        return _as_it_is(graph, target, limit, before, folder)
    gain, ceiling = target - before.integrated, limit - HEADROOM
    best: Levelled | None = None
    last: Levelled | None = None
    slope = 1.0  # LU that a dB of gain brings: less the more the limiter takes
    for _ in range(TRIES):
        most = ceiling + MOST_LIMITED - before.peak  # more would flatten it
        filters, how = filters_for(before, min(gain, most), ceiling)
        after = encoded(graph.then(filters), folder)
        tried = Levelled(target, limit, round(min(gain, most), 2), how, before, after, max(0.0, before.peak + min(gain, most) - ceiling), filters)
        error, over = target - (after.integrated or target), (limit if after.peak is None else after.peak) - limit + SLACK
        slope, last = _slope(last, tried, slope), tried
        best = tried if best is None or _worth(tried) < _worth(best) else best
        if over <= 0 and (abs(error) <= NEAR or (gain >= most and error > 0)):
            break
        ceiling -= max(0.0, over)
        gain += error / slope if how == "limited" or abs(error) > NEAR else 0.0
    assert best is not None
    return replace(best, notes=_notes(best))


def _slope(last: Levelled | None, tried: Levelled, slope: float) -> float:
    """LU for a dB of gain by the last two tries, where both say."""
    if last is None or abs(tried.gain - last.gain) < 0.1 or tried.after.integrated is None or last.after.integrated is None:
        return slope
    return min(1.0, max(0.25, (tried.after.integrated - last.after.integrated) / (tried.gain - last.gain)))


def _worth(tried: Levelled) -> tuple[bool, float]:
    """What a try is judged by, the least first: peaks over the limit, then the distance from the target."""
    return (tried.after.peak or -99.0) > tried.limit, abs((tried.after.integrated or -99.0) - (tried.target or 0.0))


def _notes(made: Levelled) -> tuple[str, ...]:
    assert made.target is not None
    reached, notes = made.after.integrated, []
    if reached is None or abs(reached - made.target) > 0.5:
        notes.append(f"loudness: {reached or -70:.1f} LUFS and not {made.target:g}: more would push peaks over {made.limit:g} dBTP, or flatten them by over {MOST_LIMITED:g} dB")
    if made.limited > TOLD:
        notes.append(f"loudness: peaks are limited by {made.limited:.1f} dB to reach {made.target:g} LUFS under {made.limit:g} dBTP")
    if made.after.peak is not None and made.after.peak > made.limit:
        notes.append(f"loudness: the true peak is {made.after.peak:.1f} dBTP, over the limit of {made.limit:g}")
    return tuple(notes)


def _as_it_is(graph: Graph, target: float | None, limit: float, before: Measured, folder: Path) -> Levelled:
    after = encoded(graph, folder)
    notes = []
    if target is not None:
        why = "nothing is heard" if before.peak is None else "the sound is too short to be measured"
        notes.append(f"loudness: {why}, so it was not brought to {target:g} LUFS")
    elif after.peak is not None and after.peak > 0:
        notes.append(f"loudness: the true peak is {after.peak:.1f} dBTP, and players may clip it; set loudness in the manifest")
    return Levelled(target, limit, 0.0, "off" if target is None else "silent", before, after, notes=tuple(notes))


def filters_for(before: Measured, gain: float, ceiling: float) -> tuple[str, str]:
    """Filters that raise what measures `before` by a gain under a ceiling of true peaks, and which way that is: linear or limited."""
    assert before.integrated is not None and before.peak is not None
    if before.peak + gain > ceiling:
        return f"volume={gain:.3f}dB," + LIMITER.format(limit=max(0.0625, 10 ** (ceiling / 20))), "limited"
    target = before.integrated + gain
    if not (-70 <= target <= -5 and -9 <= ceiling <= 0 and before.integrated > -70 and before.peak < 99):
        return f"volume={gain:.3f}dB", "linear"
    known = f"measured_I={before.integrated:.2f}:measured_TP={before.peak:.2f}:measured_LRA={max(0.1, before.range):.2f}:measured_thresh={min(-0.1, max(-98.0, before.threshold)):.2f}"
    return f"loudnorm=I={target:.2f}:TP={min(0.0, ceiling + 0.02):.2f}:LRA=50:{known}:linear=true:print_format=json", "linear"


def encoded(graph: Graph, folder: Path) -> Measured:
    """What a graph's sound measures once it is encoded as a delivery's is. Raises MediaError, DiskFull."""
    from infra.video.film import encode_sound

    whole, made = folder / "level.flac", folder / "level.mp4"
    try:
        write(graph, whole)
        encode_sound(whole, made)
        return measure(Graph((made,), f"[0:a]aresample={RATE}", graph.samples))
    finally:
        whole.unlink(missing_ok=True)
        made.unlink(missing_ok=True)
