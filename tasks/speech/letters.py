"""Letters that a voice of espeak-ng does not know. It calls each of them "Chinese letter", in English: a Japanese script in kanji would
become a video of somebody who says that, in sync.
"""

import functools
import unicodedata
from collections.abc import Iterable

from infra.errors import InputError
from tasks.speech import espeak
from tasks.speech.lexicon import Lexicon

SAMPLES = {"CJK": "日水", "HIRAGANA": "かも", "KATAKANA": "カモ", "BOPOMOFO": "ㄅㄆ"}  # scripts by Unicode's names, two letters of each that sound unlike
FIRST = "\u2e80"  # all of them come after it
MOST_NAMED = 20  # letters that a message names


@functools.cache
def lacking(voice: str) -> frozenset[str]:
    """The scripts of which a voice calls all letters by one name. Raises EngineError."""
    told = espeak.clauses([letter for pair in SAMPLES.values() for letter in pair], voice)
    names = ["".join(ipa for ipa, _ in clauses) for clauses in told]
    return frozenset(script for script, one, other in zip(SAMPLES, names[::2], names[1::2], strict=True) if one == other)


def unread(text: str, voice: str) -> str:
    """The letters of a text that a voice does not know, each once. Raises EngineError."""
    scripts = {c: script for c in dict.fromkeys(text) if c >= FIRST and c.isalpha() and (script := next((name for name in SAMPLES if unicodedata.name(c, "").startswith(name)), ""))}
    missing = lacking(voice) if scripts else frozenset()
    return "".join(c for c, script in scripts.items() if script in missing)


def check(texts: Iterable[str], voice: str, lexicon: Lexicon | None = None) -> None:
    """Raise InputError that names the letters of some texts, as the lexicon has them said, that a voice does not know."""
    lexicon = lexicon or Lexicon()
    refuse("".join(piece.text for text in texts if max(text, default="") >= FIRST for piece in lexicon.say(text) if not piece.ipa), voice)


def refuse(text: str, voice: str) -> None:
    """Raise InputError that names the letters of what is said that a voice does not know."""
    if strange := unread(text, voice):
        told = " ".join(strange[:MOST_NAMED]) + (f" and {len(strange) - MOST_NAMED} more" if len(strange) > MOST_NAMED else "")
        raise InputError(
            f"the voice {voice} of espeak-ng does not know the letters {told}: it would say of each that it is one", code="input.unread_letters",
            next_step="Write these words as they sound (Japanese in kana), give them in a lexicon, or name a voice that reads them (piper: or openai:).",
        )  # fmt: skip


def guessed(strange: str, voice: str) -> str:
    """What is told where a sound is there and its words are in letters that the reader does not know."""
    return f"espeak-ng's voice {voice} does not know {' '.join(strange[:MOST_NAMED])}, so the words could not be laid along the sound: its phones were guessed by a decoder for English. Give the words as they sound, in a lexicon or in the transcript"
