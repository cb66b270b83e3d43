"""Speech of a job: text spoken by voices, or a recording aligned; always 16 kHz sound, phones with times, voice activity."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from infra.errors import InputError
from infra.media import read_audio, resampled, whole_samples, write_wav
from infra.samples import Samples, Wave, mix, settled
from models.types import ROW_RATE, SAMPLE_RATE, Cue, Phone, Speech
from tasks.speech import align as aligner
from tasks.speech.activity import voice_activity, widened
from tasks.speech.assigned import voices_for
from tasks.speech.lexicon import Lexicon, plain
from tasks.speech.reading import Reader, Readings
from tasks.speech.recorded import phones_of_cues, too_long
from tasks.speech.voices import Room, Said, open_voice

LEAD, TAIL, PAUSE = 0.4, 0.5, 0.25  # seconds of silence before, after and between sentences of plain text
BREATH = 0.05  # seconds between a cue that runs over and the one that it pushes
GRID = 50  # places a second at which spoken cues begin: whole samples and rows at every rate, so that a cue sounds the same wherever it stands
DELIVERED_RATE = 48_000  # of recordings
SHORTEST = 0.3  # seconds of sound below which there is nothing to say


@dataclass(frozen=True)
class SpeechTrack:
    """Speech for the engines, and the sound that is delivered with the picture: mono int16 [samples] at `rate`.

    wanted: the slots of a timed script as it was written, one for each of the speech's cues; empty where no times were given.
    lost: seconds of speech that do not go into the picture's length and are not heard, though nobody asked for that. fits: how each cue
    was fitted to the picture, as `fit.CueFit`'s fields; empty where nothing was fitted.
    """

    speech: Speech
    sound: Wave
    rate: int
    wanted: tuple[Cue, ...] = ()
    lost: float = 0.0
    fits: tuple[dict[str, Any], ...] = ()

    def write(self, path: Path) -> None:
        """The delivered sound as WAV."""
        write_wav(path, self.sound, self.rate)


def synthesise(
    cues: tuple[Cue, ...], locale: str, voice: str = "", voices: Mapping[str, str] | None = None, lexicon: Lexicon | None = None, room: Room | None = None
) -> SpeechTrack:
    """Speak cues, each with its speaker's voice (`assigned.voices_for`). Timed cues start at their times, later when the one before runs
    over (said in notes); others follow one another. The sound is at the rate of the voice that has the highest.

    Raises ManifestError for a speaker without a voice, InputError for a locale that no voice speaks, EngineError when a voice says nothing.
    """
    names = voices_for(cues, voice, voices or {})
    opened = {name: open_voice(name, locale, room) for name in dict.fromkeys(names)}
    rate = max(one.rate for one in opened.values())
    lexicon, readings = lexicon or Lexicon(), Readings(Reader(locale))
    shown = tuple(replace(cue, text=plain(cue.text)) for cue in cues)
    timed = any(cue.end > 0 for cue in cues)
    sound = Samples(np.int16)
    phones: list[Phone] = []
    placed: list[Cue] = []
    notes: list[str] = []
    clock = 0.0 if timed else LEAD
    heard: list[tuple[int, np.ndarray]] = []
    for cue, name, written in zip(shown, names, cues, strict=True):
        spoken = opened[name].say(readings.of(lexicon.say(written.text), opened[name].reads))
        notes += spoken.notes
        length = max((p.end for p in spoken.phones), default=len(spoken.sound) / spoken.rate)
        start = (round(cue.start * GRID) if timed and cue.start >= clock else ceil(clock * GRID - 1e-6)) / GRID
        placed.append(replace(cue, start=start, end=start + length))
        notes += overruns((cue,), placed[-1:]) if timed else []
        if spoken.unknown:
            notes.append(f"sounds without a mouth shape in the phone table: {' '.join(spoken.unknown)}")
        said = at_rate(spoken, rate)
        sound.grow(round(start * rate) + len(said))
        mix(sound, round(start * rate), said)
        phones += [Phone(p.symbol, p.start + start, p.end + start) for p in spoken.phones]
        heard.append((round(start * ROW_RATE), activity_of(said, rate, spoken.phones)))
        clock = start + length + (BREATH if timed else PAUSE)
    sound.grow(int(np.ceil((max(len(sound) / rate, placed[-1].end) + TAIL) * rate)))
    whole = settled(sound)
    wave = resampled(whole, rate, SAMPLE_RATE)
    activity = np.zeros(len(wave) * ROW_RATE // SAMPLE_RATE, np.float32)
    for first, rows in heard:
        here = activity[first : first + len(rows)]
        np.maximum(here, rows[: len(here)], out=here)
    notes += [*lexicon.notes(), *readings.notes()]
    speech = Speech(wave, tuple(phones), activity, tuple(placed), tuple(dict.fromkeys(notes)), apart=True)
    return SpeechTrack(speech, whole, rate, shown if timed else ())


def activity_of(said: np.ndarray, rate: int, phones: Sequence[Phone]) -> np.ndarray:
    """Where one cue speaks, float32 [rows] at 100 Hz, by its own sound int16 [samples] and phones alone."""
    wave = resampled(said, rate, SAMPLE_RATE)
    return np.maximum(voice_activity(wave), _phone_activity(phones, len(wave)))


def at_rate(said: Said, rate: int) -> np.ndarray:
    """What a voice said as int16 [samples] at a rate."""
    sound = whole_samples(said.sound)
    return sound if said.rate == rate else whole_samples(np.asarray(resampled(sound, said.rate, rate)))


def overruns(wanted: Sequence[Cue], spoken: Sequence[Cue]) -> list[str]:
    """What is to be said of cues that are spoken later, or longer, than they were wanted."""
    notes = []
    for cue, said in zip(wanted, spoken, strict=True):
        if said.start > cue.start + 0.02:
            notes.append(f"cue at {cue.start:.2f} s starts {said.start - cue.start:.2f} s late: the one before it runs over")
        if said.end > cue.end + 0.05:
            notes.append(f"cue at {cue.start:.2f} s runs {said.end - cue.end:.2f} s past its end")
    return notes


def from_recording(path: Path, transcript: str, locale: str, voice: str = "", lexicon: Lexicon | None = None, cues: Sequence[Cue] = ()) -> SpeechTrack:
    """A recording with or without its transcript; cues: the transcript's, where it has times. Raises MediaError, and InputError when nobody
    speaks in it, or more than a transcript without times can serve.
    """
    wave = read_audio(path, SAMPLE_RATE)
    if transcript.strip():
        too_long(len(wave) / SAMPLE_RATE, cues)
    activity = widened(wave, voice_activity(wave))
    if activity.sum() < 100 * SHORTEST:
        raise InputError(f"nobody speaks in {path.name}", code="input.no_speech", next_step="Give a recording of speech.")
    notes: list[str] = []
    if transcript.strip():
        phones, told = phones_of_cues(wave, activity, cues or (Cue(0.0, 0.0, transcript),), locale, voice, lexicon)
        transcript, notes = plain(transcript), [*notes, *told]
    else:
        phones = list(aligner.decode(np.asarray(wave)))
        if not locale.lower().startswith("en"):
            notes.append(f"no transcript: sounds of {locale} were guessed by a decoder for English")
    on = np.flatnonzero(activity)
    whole = (Cue(on[0] / 100, (on[-1] + 1) / 100, " ".join(transcript.split())),) if transcript.strip() else ()
    return SpeechTrack(Speech(wave, tuple(phones), activity, whole, tuple(notes)), read_audio(path, DELIVERED_RATE, whole=True), DELIVERED_RATE)


def _phone_activity(phones: Sequence[Phone], samples: int) -> np.ndarray:
    rows = np.zeros(samples * 100 // SAMPLE_RATE, np.float32)
    for phone in phones:
        rows[int(phone.start * 100) : int(min(phone.end, phone.start + 0.35) * 100)] = 1
    return rows
