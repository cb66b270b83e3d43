"""Speech of a job: text spoken by espeak-ng, or a recording aligned; always 16 kHz sound, phones with times, voice activity."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from infra.errors import InputError
from infra.media import read_audio, write_wav
from models.types import SAMPLE_RATE, Cue, Phone, Speech
from tasks.speech import align as aligner
from tasks.speech import espeak
from tasks.speech.activity import voice_activity

LEAD, TAIL, PAUSE = 0.4, 0.5, 0.25  # seconds of silence before, after and between sentences of plain text
SHORTEST = 0.3  # seconds of sound below which there is nothing to say


@dataclass(frozen=True)
class SpeechTrack:
    """Speech for the engines, and the sound that is delivered with the picture: mono float32 [samples] at `rate`."""

    speech: Speech
    sound: np.ndarray
    rate: int

    def write(self, path: Path) -> None:
        """The delivered sound as WAV."""
        write_wav(path, self.sound, self.rate)


def synthesise(cues: tuple[Cue, ...], locale: str, voice: str = "") -> SpeechTrack:
    """Speak cues. Timed cues start at their times, later when the one before runs over (said in notes); others follow one another.

    Raises InputError for a locale that no voice speaks and EngineError when a voice says nothing.
    """
    name = espeak.voice_for(locale, voice)
    timed = any(cue.end > 0 for cue in cues)
    parts: list[tuple[float, espeak.Spoken]] = []
    placed: list[Cue] = []
    notes: list[str] = []
    clock = 0.0 if timed else LEAD
    for cue in cues:
        spoken = espeak.speak(cue.text, name)
        length = max((p.end for p in spoken.phones), default=len(spoken.sound) / spoken.rate)
        start = max(cue.start, clock) if timed else clock
        if timed and start > cue.start + 0.02:
            notes.append(f"cue at {cue.start:.2f} s starts {start - cue.start:.2f} s late: the one before it runs over")
        if timed and start + length > cue.end + 0.05:
            notes.append(f"cue at {cue.start:.2f} s runs {start + length - cue.end:.2f} s past its end")
        if spoken.unknown:
            notes.append(f"sounds without a mouth shape in the phone table: {' '.join(spoken.unknown)}")
        parts.append((start, spoken))
        placed.append(replace(cue, start=start, end=start + length))
        clock = start + length + (0.05 if timed else PAUSE)
    rate = parts[0][1].rate
    end = max(max(start + len(s.sound) / rate for start, s in parts), placed[-1].end) + TAIL
    sound = np.zeros(int(np.ceil(end * rate)), np.float32)
    for start, spoken in parts:
        at = round(start * rate)
        sound[at : at + len(spoken.sound)] += spoken.sound
    phones = tuple(Phone(p.symbol, p.start + start, p.end + start) for start, s in parts for p in s.phones)
    return SpeechTrack(_speech(sound, rate, phones, tuple(placed), notes), sound, rate)


def from_recording(path: Path, transcript: str, locale: str, voice: str = "") -> SpeechTrack:
    """A recording with or without its transcript. Raises MediaError, and InputError when nobody speaks in it."""
    sound = read_audio(path, 48_000)
    wave = _resampled(sound, 48_000)
    activity = voice_activity(wave)
    if activity.sum() < 100 * SHORTEST:
        raise InputError(f"nobody speaks in {path.name}", code="input.no_speech", next_step="Give a recording of speech.")
    notes: list[str] = []
    if transcript.strip():
        spoken = espeak.speak(" ".join(transcript.split()), espeak.voice_for(locale, voice))
        found = aligner.align(wave, activity, spoken)
        phones = found.phones
        if found.cost > aligner.DOUBTFUL:
            notes.append(f"transcript and recording agree badly (distance {found.cost:.2f}): check that the words are those spoken")
    else:
        phones = aligner.decode(wave)
        if not locale.lower().startswith("en"):
            notes.append(f"no transcript: sounds of {locale} were guessed by a decoder for English")
    on = np.flatnonzero(activity)
    cues = (Cue(on[0] / 100, (on[-1] + 1) / 100, " ".join(transcript.split())),) if transcript.strip() else ()
    return SpeechTrack(Speech(wave, phones, activity, cues, tuple(notes)), sound, 48_000)


def _speech(sound: np.ndarray, rate: int, phones: tuple[Phone, ...], cues: tuple[Cue, ...], notes: list[str]) -> Speech:
    wave = _resampled(sound, rate)
    return Speech(wave, phones, np.maximum(voice_activity(wave), _phone_activity(phones, len(wave))), cues, tuple(dict.fromkeys(notes)))


def _phone_activity(phones: tuple[Phone, ...], samples: int) -> np.ndarray:
    rows = np.zeros(samples * 100 // SAMPLE_RATE, np.float32)
    for phone in phones:
        rows[int(phone.start * 100) : int(min(phone.end, phone.start + 0.35) * 100)] = 1
    return rows


def _resampled(sound: np.ndarray, rate: int) -> np.ndarray:
    from math import gcd

    from scipy.signal import resample_poly

    step = gcd(rate, SAMPLE_RATE)
    return resample_poly(sound, SAMPLE_RATE // step, rate // step).astype(np.float32)
