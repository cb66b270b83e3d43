"""Times of the phones of a sound whose voice gives none: the aligner that recordings use, along espeak-ng's reading of the same words."""

from collections.abc import Sequence

import numpy as np

from infra.media import resampled, whole_samples
from models.types import SAMPLE_RATE
from tasks.speech import align as aligner
from tasks.speech import espeak, letters, sounds
from tasks.speech.activity import voice_activity, widened
from tasks.speech.lexicon import Piece
from tasks.speech.voices import Said

BADLY = "words and sound of the voice agree badly (distance {cost:.2f}): check that it speaks the job's language"


def timed(sound: np.ndarray, rate: int, pieces: Sequence[Piece], reader: str, notes: Sequence[str] = ()) -> Said:
    """What a voice said, float32 [samples] at `rate`, with the times of its phones. reader: espeak-ng's voice for the same words. Raises EngineError."""
    words, with_sounds, _ = sounds.request(pieces, reader)
    wave = np.asarray(resampled(whole_samples(sound), rate, SAMPLE_RATE))
    if strange := letters.unread(words, reader):
        return Said(sound, rate, aligner.decode(wave), (), (*notes, letters.guessed(strange, reader)))
    spoken = espeak.speak(words, reader, sounds=with_sounds)
    found = aligner.align(wave, widened(wave, voice_activity(wave)), spoken)
    told = [BADLY.format(cost=found.cost)] if found.cost > aligner.DOUBTFUL else []
    return Said(sound, rate, found.phones, spoken.unknown, (*notes, *told))
