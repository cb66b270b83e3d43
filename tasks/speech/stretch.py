"""Sound moved in time: speech played faster or slower at its own pitch, pauses made longer or shorter, the times that follow.

Speech goes through libavfilter's `atempo` (waveform-similarity overlap-add, Verhelst and Roelands 1993), whichever voice spoke it: of
what was tried it keeps spectrum and pitch best, a second synthesis at another pace included (`python -m benchmarks.stretch`).
"""

from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np

from infra.samples import Wave, blocks_of, mix
from models.types import ROW_RATE, SAMPLE_RATE, Speech

FOUND_PAUSE, LEAST_PAUSE = 0.12, 0.08  # seconds: shorter rests belong to the words around them; what no pause becomes shorter than
WAKES_LATE, FALLS_LATE = 6, 2  # rows at 100 Hz that voice activity may miss of a word's beginning and end
HUSHED = 30.0  # dB below loud speech that count as a rest where no phone is: a voice dying away in a room included
JOIN, FADE = 0.01, 0.02  # seconds of cross-fade inside a pause, of fade where speech is cut off
BLOCK = 1 << 18  # samples added at a time, so that long speech is not held again in wider numbers
WARM = 0.1  # seconds of sound that atempo hears past the end of what it plays


@dataclass(frozen=True)
class Span:
    """Samples first..last-1 of a sound: somebody speaks, or nobody does."""

    first: int
    last: int
    speaks: bool

    @property
    def samples(self) -> int:
        """Its length as it was spoken."""
        return self.last - self.first


@dataclass(frozen=True)
class Line:
    """Spans that follow one another in the source, and where each is played: edges int64 [spans + 1] in samples of the result.

    stop: the sample at which it is heard no longer; below the last edge where it is cut. rate: how fast its speech is played.
    """

    spans: tuple[Span, ...]
    edges: np.ndarray
    rate: float
    stop: int

    def played(self, source: np.ndarray | float) -> np.ndarray:
        """Samples of the result (as fractions) at which samples of the source are heard."""
        return np.interp(source, self._knots(), self.edges)

    def source(self, played: np.ndarray | float) -> np.ndarray:
        """Samples of the source (as fractions) heard at samples of the result."""
        return np.interp(played, self.edges, self._knots())

    def _knots(self) -> np.ndarray:
        return np.array([self.spans[0].first, *(span.last for span in self.spans)], np.float64)


def quiet_rows(speech: Speech) -> np.ndarray:
    """Rows at 100 Hz, bool, in which time can be taken or given unheard: nobody speaks there by the voice activity, a little less than it
    says, or the sound is as good as silent between two phones (a comma's rest is too short for the activity; a stop's closure stays).
    """
    still = speech.activity == 0
    quiet = still.copy()
    for rows in range(1, WAKES_LATE + 1):
        quiet[:-rows] &= still[rows:]
        quiet[rows:] &= still[:-rows] | (rows > FALLS_LATE)
    covered = np.zeros(len(still), bool)
    for phone in speech.phones:
        covered[int(phone.start * ROW_RATE) : ceil(phone.end * ROW_RATE)] = True
    hop = SAMPLE_RATE // ROW_RATE
    frames = (block[: len(block) // hop * hop].reshape(-1, hop) for block in blocks_of(speech.wave, 1600 * hop))
    power = [np.zeros(0), *(np.einsum("ij,ij->i", part, part) / hop for part in frames)]
    level = 10 * np.log10(np.concatenate(power) + 1e-10)[: len(still)]
    if len(level) == len(still) and not still.all():
        quiet |= (level < np.percentile(level[~still], 95) - HUSHED) & ~covered
    return quiet


def spans_of(quiet: np.ndarray, first: int, last: int, rate: int) -> tuple[Span, ...]:
    """Speech and pauses, in turn, of samples first..last-1 of a sound at `rate`, by `quiet_rows`."""
    low, high = first * ROW_RATE // rate, -(-last * ROW_RATE // rate)
    steps = np.diff(np.concatenate([[0], quiet[low:high], [0]]).astype(np.int8))
    spans, at = [], first
    for began, ended in zip((np.flatnonzero(steps == 1) + low).tolist(), (np.flatnonzero(steps == -1) + low).tolist(), strict=True):
        start = max(first, began * rate // ROW_RATE)
        stop = last if ended >= min(high, len(quiet)) else ended * rate // ROW_RATE
        if stop - start < FOUND_PAUSE * rate:
            continue
        spans += ([Span(at, start, True)] if start > at else []) + [Span(start, stop, False)]
        at = stop
    return tuple(spans + ([Span(at, last, True)] if last > at else []))


def play(sound: Wave, rate: int, line: Line, out: Wave) -> None:
    """Add a line of `sound` to `out`, both mono int16 [samples] at `rate`."""
    for span, start, end in zip(line.spans, line.edges[:-1].tolist(), line.edges[1:].tolist(), strict=True):
        if start >= line.stop:
            return
        if end - start == span.samples:
            made = sound[span.first : span.last]
        else:
            made = stretched(sound, span, end - start, rate, line.spans[-1].last) if span.speaks else rested(sound, span, end - start, rate)
        if end > line.stop or (end < len(out) and not span.speaks and end == line.edges[-1]):
            made = faded(made[: line.stop - start], rate)  # room tone that ends in nothing fades too
        mix(out, start, made)




def stretched(sound: Wave, span: Span, samples: int, rate: int, until: int | None = None) -> np.ndarray:
    """A span of mono int16 `sound` played in exactly `samples` samples, at its own pitch: int16 [samples].

    until: the sample from which on there is silence, whatever `sound` holds there: another line.
    """
    import av

    graph = av.filter.Graph()
    source: Any = graph.add_abuffer(format="s16", sample_rate=rate, layout="mono")
    tempo: Any = graph.add("atempo", f"{span.samples / samples:.9f}")
    sink: Any = graph.add("abuffersink")
    source.link_to(tempo)
    tempo.link_to(sink)
    graph.configure()
    made, at = np.zeros(samples, np.int16), 0
    end = span.last + 2 * round(WARM * rate)  # the filter keeps its last half window to itself
    for start in [*range(span.first, end, rate), None]:
        frame = None
        if start is not None:
            heard = sound[start : max(start, min(start + rate, end, len(sound) if until is None else until))]
            frame = av.AudioFrame.from_ndarray(np.pad(heard, (0, min(start + rate, end) - start - len(heard)))[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts = rate, start - span.first
        source.push(frame)
        while at < samples:
            try:
                part = sink.pull().to_ndarray()[0][: samples - at]
            except (av.BlockingIOError, av.EOFError):
                break
            made[at : at + len(part)] = part
            at += len(part)
    return made


def rested(sound: Wave, span: Span, samples: int, rate: int) -> np.ndarray:
    """A pause of `sound` in `samples` samples: some of its middle left out, or its middle played on, forwards and backwards in turn."""
    tone = sound[span.first : span.last]
    if samples <= len(tone):
        half = samples // 2
        return _joined(tone[:half], tone[len(tone) - (samples - half) :], tone[half:], rate)
    quarter, join = len(tone) // 4, round(JOIN * rate)
    middle = np.pad(tone[quarter : len(tone) - quarter], (0, samples - len(tone) + join), mode="symmetric")
    before, after = np.concatenate([tone[:quarter], middle[: len(middle) - join]]), tone[len(tone) - quarter :]
    return _joined(before, after, middle[len(middle) - join :], rate)


def _joined(before: np.ndarray, after: np.ndarray, goes_on: np.ndarray, rate: int) -> np.ndarray:
    """Two pieces of room tone one after another; the second fades in from what would have followed the first."""
    join = min(len(after), len(goes_on), round(JOIN * rate))
    ramp = np.arange(join) / max(1, join)
    head = goes_on[:join] * (1 - ramp) + after[:join] * ramp
    return np.concatenate([before, np.round(head).astype(np.int16), after[join:]])


def faded(sound: np.ndarray, rate: int) -> np.ndarray:
    """The sound with its last 20 ms fading to nothing."""
    made = sound.copy()
    count = min(len(made), round(FADE * rate))
    made[len(made) - count :] = (made[len(made) - count :] * np.linspace(1, 0, count)).astype(np.int16)
    return made
