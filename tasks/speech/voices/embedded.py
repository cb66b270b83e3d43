"""Voices of espeak-ng, which give the times of their phones themselves."""

from collections.abc import Sequence

from tasks.speech import espeak, letters, sounds
from tasks.speech.lexicon import Piece
from tasks.speech.voices import Said

RATE = 22_050  # of espeak-ng's own voices


class EspeakVoice:
    """A voice of espeak-ng by its name, such as `es+f3`."""

    rate = RATE
    reads = frozenset({"number", "decimal", "acronym"})

    def __init__(self, name: str) -> None:
        self.name = name

    def say(self, pieces: Sequence[Piece]) -> Said:
        """Say it, with the sounds that the voice has for IPA; a word with others is read by its letters, and told. Raises InputError for letters
        that the voice does not know.
        """
        words, with_sounds, strange = sounds.request(pieces, self.name)
        letters.refuse(words, self.name)
        spoken = espeak.speak(words, self.name, sounds=with_sounds)
        return Said(spoken.sound, spoken.rate, spoken.phones, spoken.unknown, without_sound(self.name, strange))


def without_sound(voice: str, strange: Sequence[str]) -> tuple[str, ...]:
    """What is told of symbols that a voice cannot say."""
    return (f"the voice {voice} has no sound for {' '.join(strange)}: the word is read by its letters",) if strange else ()
