"""Speech that has to live with a picture of a given length: fitted to it, let run over, or cut off; every cue's figures told.

A timed script gives each cue a slot. Speech is never slowed to fill one: the mouth is redrawn and rests where nobody speaks, and a drawl
is heard where a rest is not. What is too long borrows from the silence about it, its own pauses and its neighbours, and is played faster
(slots.py). Plain text and recordings have no slots: the whole takes up the picture's length, its pauses first.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from math import ceil, floor, isfinite
from typing import Any, Literal, get_args

import numpy as np

from infra.errors import InputError
from infra.media import resampled
from infra.samples import mix, silence
from models.avct.phonemes import VOWELS
from models.types import ROW_RATE, SAMPLE_RATE, Cue, Phone, Speech
from tasks.speech import BREATH, SpeechTrack, overruns
from tasks.speech.slots import Place, Slot, placed
from tasks.speech.stretch import FADE, LEAST_PAUSE, Line, Span, play, quiet_rows, spans_of

Mode = Literal["fit", "hold", "cut"]
MODES: tuple[str, ...] = get_args(Mode)
SLOWEST, FASTEST = 0.85, 1.20
GAP = 0.08  # seconds kept free before the next cue by one that takes the silence after its slot: two pictures at 25 a second
KEPT, GROWN = 0.5, 2.0  # of a pause's length: what it keeps at least, what it becomes at most
NEAR, CLIPPED = 0.4, 0.1  # seconds of a last word that may go whole for a cut at the pause before it; that may go of a last word before it goes whole
RELEASE = 0.02  # seconds in which a voice dies away after its last phone
TOLD = 0.01  # seconds and shares below which a difference is not worth a word


@dataclass(frozen=True)
class CueFit:
    """How one cue lives with the picture; seconds all through.

    start, end: its slot as the script wants it, both 0 where it has none. natural: its length as first spoken. rate: how fast its speech
    is played (1.0: as spoken). late: after its slot's start. over: past its slot's end. begins, ends: where it is heard. held: of it that
    is heard while the picture's last frame is held. early: before its slot's start. borrowed: seconds that it takes from the silence
    before and after its slot and from its own pauses. lost: of its natural length that is not heard. excess: of played speech that does not
    go in even at the fastest rate; syllables: about how many that are, for whoever shortens the text.
    """

    number: int
    text: str
    start: float
    end: float
    natural: float
    rate: float
    late: float
    over: float
    how: Literal["fits", "stretched", "held", "cut", "borrowed"]
    begins: float = 0.0
    ends: float = 0.0
    held: float = 0.0
    lost: float = 0.0
    excess: float = 0.0
    syllables: int = 0
    early: float = 0.0
    borrowed: float = 0.0

    @property
    def words(self) -> str:
        """The figures as a sentence without its full stop: what a report and the job's notes say."""
        name = f"cue {self.number} at {self.start:.2f} s" if self.end else f"line {self.number}"
        if self.ends <= self.begins:
            return f"{name} is not heard: the time for it is over before it can begin{self._advice}"
        told = [f"played {self.rate:.2f} times as fast"] if abs(self.rate - 1) > TOLD / 10 else []
        told += [f"starts {self.late:.2f} s late"] if self.late > 2 * TOLD else []
        told += [f"starts {self.early:.2f} s early"] if self.early > TOLD else []
        told += [f"runs {self.over:.2f} s past its slot"] if self.over > TOLD else []
        told += [f"{self.held:.2f} s of it over the held last picture"] if self.held > TOLD else []
        told += [f"its last {self.lost:.2f} s are cut off"] if self.lost > TOLD else []
        told += ["its pauses take up the difference"] if self.how == "borrowed" and self.over <= TOLD else []
        return f"{name}: {', '.join(told) or 'as spoken'}{self._advice}"

    @property
    def _advice(self) -> str:
        if self.excess <= TOLD:
            return ""
        lose = f", about {self.syllables} syllable{'s' if self.syllables != 1 else ''} to lose" if self.syllables else ""
        return f"; {self.excess:.2f} s too long even at the fastest rate{lose}"


def told(fit: CueFit) -> dict[str, Any]:
    """A cue's figures as plain values, seconds to the millisecond."""
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in asdict(fit).items()}


def fitted(
    track: SpeechTrack, seconds: float, mode: Mode, *, slowest: float = SLOWEST, fastest: float = FASTEST, fill: bool = True
) -> tuple[SpeechTrack, tuple[CueFit, ...]]:
    """Speech for a picture of `seconds`, and what was done with each cue (one for the whole of a recording).

    `fit` stretches within slowest..fastest and `cut` stretches nothing; both give a track of exactly `seconds`, round(seconds * rate)
    samples, and cut off with a short fade what goes past it. `cut` also ends a cue where the next one begins. `hold` stretches
    nothing either; its track is longer than the picture where speech runs over, and the last picture is to be held for the difference.
    fill: speech without slots that is shorter than the picture is spread over it; a recording, whose times somebody chose, is not.

    Raises InputError where nothing would be heard, ValueError for an unknown mode or bounds that do not enclose 1.
    """
    if mode not in MODES or not 0 < slowest <= 1 <= fastest:
        raise ValueError(f"{mode!r} is none of {', '.join(MODES)}, or the rates {slowest}..{fastest} do not enclose 1")
    if not isfinite(seconds) or seconds <= 0:
        raise InputError(f"a picture of {seconds} s holds no speech", code="input.length", next_step="Give a video with a picture that lasts.")
    samples = round(seconds * track.rate)
    lines = _timed(track, samples, mode, fastest) if track.wanted else (_whole(track, samples, mode, slowest if fill else 1.0, fastest),)
    fits = _told(track, lines, samples, fastest)
    if not any(fit.ends > fit.begins for fit in fits):
        raise InputError(f"nobody speaks within the picture's {seconds:.2f} s", code="input.length", next_step="Give the script that belongs to this video, or use `length: hold`.")
    length = samples if mode != "hold" else max(samples, *(round(fit.ends * track.rate) + round(RELEASE * track.rate) for fit in fits))
    return _track(track, lines, fits, length), fits


def _timed(track: SpeechTrack, samples: int, mode: Mode, fastest: float) -> tuple[Line, ...]:
    """A line for each cue: from its slot's start, later where the one before is not done."""
    lines: list[Line] = []
    done, rate = -1, track.rate
    several = [_spans(track, cue) for cue in track.speech.cues]
    places = _places(track, several, samples, fastest) if mode == "fit" else [None] * len(several)
    for number, (spans, place) in enumerate(zip(several, places, strict=True)):
        start = round((place or track.wanted[number]).start * rate)
        if start < done:
            start = done + round(BREATH * rate)
        limit = {"fit": samples, "cut": _deadline(track, number, samples), "hold": None}[mode]
        lines.append(_line(spans, start, *_squeezed(spans, place.length * rate if place else None, rate, fastest), limit, rate))
        done = max(done, lines[-1].stop if lines[-1].stop > start else done)
    return tuple(lines)


def _spans(track: SpeechTrack, cue: Cue) -> tuple[Span, ...]:
    """Speech and pauses of a cue, by its own sound alone."""
    first, rate = round(cue.start * track.rate), track.rate
    low, high = round(cue.start * ROW_RATE), ceil(cue.end * ROW_RATE)
    hop, several = SAMPLE_RATE // ROW_RATE, track.speech.phones
    begun, done = (bisect_left(several, time, key=lambda phone: phone.start) for time in (cue.start, cue.end))
    phones = tuple(Phone(p.symbol, p.start - low / ROW_RATE, p.end - low / ROW_RATE) for p in several[begun:done])
    own = replace(track.speech, wave=np.asarray(track.speech.wave[low * hop : high * hop]), phones=phones, activity=track.speech.activity[low:high])
    base = round(low * rate / ROW_RATE)
    return tuple(Span(span.first + base, span.last + base, span.speaks) for span in spans_of(quiet_rows(own), first - base, round(cue.end * rate) - base, rate))


def _places(track: SpeechTrack, several: Sequence[tuple[Span, ...]], samples: int, fastest: float) -> list[Place]:
    """Where cues go that may borrow from one another."""
    rate, slots = track.rate, []
    for spans, wanted in zip(several, track.wanted, strict=True):
        natural, speech = sum(span.samples for span in spans) / rate, sum(span.samples for span in spans if span.speaks) / rate
        rests = sum(_least(spans, rate)) / rate - speech
        slots.append(Slot(wanted.start, wanted.end, natural, rests, natural - speech - rests))
    return placed(slots, samples / rate, fastest, gap=GAP, breath=BREATH)


def _least(spans: Sequence[Span], rate: int) -> list[float]:
    """Samples of each span with its speech as spoken and its pauses at their shortest."""
    least = [span.samples if span.speaks else min(span.samples, max(LEAST_PAUSE * rate, KEPT * span.samples)) for span in spans]
    if not spans[-1].speaks:
        least[-1] = min(spans[-1].samples, RELEASE * rate)  # nothing has to be kept apart after the last word
    return least


def _deadline(track: SpeechTrack, number: int, samples: int) -> int:
    """Sample by which a cue should be done: its slot's end, or a little before the next one's start where that is later."""
    following = track.wanted[number + 1].start * track.rate if number + 1 < len(track.wanted) else samples
    return min(samples, round(max(track.wanted[number].end * track.rate, following - GAP * track.rate)))


def _whole(track: SpeechTrack, samples: int, mode: Mode, slowest: float, fastest: float) -> Line:
    """All of the speech as one line, silence before and after it included."""
    spans = spans_of(quiet_rows(track.speech), 0, len(track.sound), track.rate)
    if mode != "fit":
        return _line(spans, 0, *_squeezed(spans, None, track.rate, fastest), samples if mode == "cut" else None, track.rate)
    room = sum(span.samples for span in spans)
    if room <= samples and slowest == 1:
        return _line(spans, 0, [float(span.samples) for span in spans], 1.0, samples, track.rate)
    lengths, rate = _squeezed(spans, samples, track.rate, fastest) if room > samples else _filled(spans, samples - room, slowest)
    return _line(spans, 0, lengths, rate, samples, track.rate)


def _squeezed(spans: Sequence[Span], room: float | None, rate: int, fastest: float) -> tuple[list[float], float]:
    """Length of each span and speed of its speech, so that all goes into `room` samples: pauses give first. None is all the room."""
    total = sum(span.samples for span in spans)
    over = 0 if room is None else max(0, total - room)
    least = _least(spans, rate)
    give = total - sum(least)
    if over <= give:
        share = over / give if over else 0.0
        return [span.samples - share * (span.samples - kept) for span, kept in zip(spans, least, strict=True)], 1.0
    speech = sum(span.samples for span in spans if span.speaks)
    rests = sum(least) - speech
    assert room is not None
    speed = min(fastest, speech / (room - rests)) if room > rests else fastest
    return [kept / speed if span.speaks else kept for span, kept in zip(spans, least, strict=True)], speed


def _filled(spans: Sequence[Span], missing: int, slowest: float) -> tuple[list[float], float]:
    """Length of each span, speed of its speech, so that `missing` samples more are filled: by pauses between words, then by slower speech.

    Where both do not suffice all stays as it is, and the picture ends on a rest: slow speech followed by silence helps nobody.
    """
    between = [span.samples if 0 < number < len(spans) - 1 and not span.speaks else 0 for number, span in enumerate(spans)]
    spare, speech = sum(between) * (GROWN - 1), sum(span.samples for span in spans if span.speaks)
    speed = min(1.0, speech / (speech + missing - spare)) if missing > spare else 1.0
    if speed < slowest:
        return [float(span.samples) for span in spans], 1.0
    share = min(1.0, missing / spare) * (GROWN - 1) if spare else 0.0
    return [span.samples / speed if span.speaks else span.samples + share * most for span, most in zip(spans, between, strict=True)], speed


def _line(spans: tuple[Span, ...], start: int, lengths: list[float], speed: float, limit: int | None, rate: int) -> Line:
    """Spans placed from `start` on; where speech goes past `limit` it stops there, or at a pause shortly before."""
    edges = start + np.round(np.cumsum([0.0, *lengths])).astype(np.int64)
    spoken = max((int(end) for span, end in zip(spans, edges[1:], strict=True) if span.speaks), default=start)
    if limit is None or spoken <= limit:
        return Line(spans, edges, speed, int(edges[-1]) if limit is None else min(limit, int(edges[-1])))
    near = NEAR * rate if spoken - limit > CLIPPED * rate else 0
    rests = zip(spans[1:], edges[1:-1].tolist(), edges[2:].tolist(), strict=True)
    pauses = [began for span, began, ended in rests if not span.speaks and began <= limit < ended + near]
    stop = min(limit, pauses[-1] + round(FADE * rate)) if pauses else limit
    return Line(spans, edges, speed, max(start, stop))


def _told(track: SpeechTrack, lines: Sequence[Line], samples: int, fastest: float) -> tuple[CueFit, ...]:
    """What was done with every cue."""
    rate, cues, fits = track.rate, _cues(track, lines), list[CueFit]()
    vowels = np.array([(p.start + p.end) / 2 for p in track.speech.phones if p.symbol in VOWELS])
    whole = None if track.wanted else _excess(lines[0].spans, samples, rate, fastest)
    natural = sum(cue.end - cue.start for cue in cues)
    said = 0.0  # syllables too many up to here, so that rounding up happens once for the whole
    for number, cue in enumerate(cues):
        line, slot = lines[number if track.wanted else 0], track.wanted[number] if track.wanted else Cue(0.0, 0.0, cue.text)
        begins, ends = line.played(np.array([cue.start, cue.end]) * rate) / rate
        heard = min(float(ends), max(float(begins), line.stop / rate))
        lost = max(0.0, cue.end - float(line.source(line.stop)) / rate) if heard < ends - 1 / rate else 0.0
        early = max(0.0, slot.start - float(begins)) if track.wanted else 0.0
        room = _deadline(track, number, samples) - (slot.start - early) * rate if track.wanted else 0
        excess = _excess(line.spans, room, rate, fastest) if whole is None else whole * (cue.end - cue.start) / natural
        many = excess / max(1e-6, cue.end - cue.start) * fastest * ((vowels >= cue.start) & (vowels < cue.end)).sum()
        fit = CueFit(
            number + 1, cue.text, slot.start, slot.end, cue.end - cue.start, line.rate,
            late=max(0.0, float(begins) - slot.start) if track.wanted else 0.0, over=max(0.0, heard - slot.end) if track.wanted else 0.0,
            how="fits", begins=float(begins), ends=heard, held=max(0.0, heard - max(float(begins), samples / rate)), lost=min(lost, cue.end - cue.start),
            early=early, borrowed=_borrowed(slot, float(begins), heard, line) if track.wanted else 0.0,
            excess=excess, syllables=ceil(many - 1e-6) if whole is None else ceil(said + many - 1e-6) - ceil(said - 1e-6),
        )  # fmt: skip
        said += many
        fits.append(replace(fit, how=_how(fit, float(ends - begins))))
    return tuple(fits)


def _borrowed(slot: Cue, begins: float, ends: float, line: Line) -> float:
    """Seconds taken from silence before and after a slot, and from the cue's own pauses."""
    rests = sum(span.samples - (end - start) for span, start, end in zip(line.spans, line.edges[:-1].tolist(), line.edges[1:].tolist(), strict=True) if not span.speaks)
    length = (line.edges[-1] - line.edges[0]) / max(1e-6, ends - begins)  # samples a second
    return float(max(0.0, slot.start - begins) + max(0.0, ends - max(slot.end, begins)) + max(0.0, rests) / length)


def _cues(track: SpeechTrack, lines: Sequence[Line]) -> tuple[Cue, ...]:
    """The track's cues; of a recording without words, one for all that is spoken."""
    if track.speech.cues:
        return track.speech.cues
    spoken = [span for span in lines[0].spans if span.speaks] or lines[0].spans
    return (Cue(spoken[0].first / track.rate, spoken[-1].last / track.rate, ""),)


def _excess(spans: Sequence[Span], room: float, rate: int, fastest: float) -> float:
    """Seconds by which spans are longer than `room` samples when played as fast as may be."""
    lengths, _ = _squeezed(spans, 0, rate, fastest)
    return max(0.0, floor(sum(lengths) - room) / rate)


def _how(fit: CueFit, length: float) -> Literal["fits", "stretched", "held", "cut", "borrowed"]:
    if fit.held > TOLD:
        return "held"
    if fit.lost > TOLD or fit.ends <= fit.begins:
        return "cut"
    if fit.rate != 1.0:
        return "stretched"
    return "borrowed" if fit.early > TOLD or (fit.end and fit.over > TOLD) or abs(length - fit.natural) > TOLD else "fits"


def _track(track: SpeechTrack, lines: Sequence[Line], fits: Sequence[CueFit], samples: int) -> SpeechTrack:
    """The lines' sound, and phones, activity and cues at the times at which they are heard."""
    rate, speech = track.rate, track.speech
    sound = silence(samples, np.int16)
    rows = np.zeros(-(-samples * SAMPLE_RATE // rate) * ROW_RATE // SAMPLE_RATE, np.float32)
    middles = np.array([(p.start + p.end) / 2 * rate for p in speech.phones])
    phones: list[Phone] = []
    for line in lines:
        play(track.sound, rate, line, sound)
        first, last = line.spans[0].first, line.spans[-1].last
        if line.stop >= line.edges[-1]:
            mix(sound, int(line.edges[-1]), track.sound[last : last + round(RELEASE * rate)])
        phones += _phones(speech.phones[np.searchsorted(middles, first) : np.searchsorted(middles, last)], line, rate)
        _speak(rows, speech.activity, line, rate)
    cues = tuple(replace(cue, start=fit.begins, end=fit.ends) for cue, fit in zip(speech.cues, fits, strict=False) if fit.ends > fit.begins)
    stale = overruns(track.wanted, speech.cues) if track.wanted else []
    notes = [note for note in speech.notes if note not in stale] + [fit.words for fit in fits if fit.how != "fits" or fit.late > 2 * TOLD]
    return SpeechTrack(Speech(resampled(sound, rate, SAMPLE_RATE), tuple(phones), rows, cues, tuple(notes), speech.apart), sound, rate)


def _speak(rows: np.ndarray, activity: np.ndarray, line: Line, rate: int) -> None:
    """Set the rows at 100 Hz in which a line is heard speaking; a pause made longer is one for the mouth too, however short it was."""
    low, high = int(line.edges[0]) * ROW_RATE // rate, min(len(rows), -(-line.stop * ROW_RATE // rate))
    heard = line.source((np.arange(low, high) + 0.5) * rate / ROW_RATE) * ROW_RATE / rate
    rows[low:high] = np.maximum(rows[low:high], activity[np.minimum(heard.astype(int), len(activity) - 1)])
    for span, start, end in zip(line.spans, line.edges[:-1].tolist(), line.edges[1:].tolist(), strict=True):
        if not span.speaks and end - start > span.samples:
            rows[-(-start * ROW_RATE // rate) : min(end, line.stop) * ROW_RATE // rate] = 0


def _phones(phones: Sequence[Phone], line: Line, rate: int) -> list[Phone]:
    """Phones at the times at which a line plays them; those after its end are left out."""
    times = line.played(np.array([[p.start, p.end] for p in phones]).reshape(-1, 2) * rate)
    kept = zip(phones, np.minimum(times, line.stop) / rate, strict=True)
    return [Phone(phone.symbol, float(start), float(end)) for phone, (start, end) in kept if end - start > 1e-3]
