"""IPA said by a voice of espeak-ng: its sounds are asked of the voice itself, since each language has its own names for them."""

import functools
import unicodedata
from collections.abc import Sequence

from tasks.speech import espeak
from tasks.speech.lexicon import MARKS, Piece

# Names of sounds that voices may know. Voiceless ones come first: alone, some voices say b as p, and p has to stay p.
KNOWN = (
    "p t k f s T S C x X h tS ts p# t# k# ? m n N n^ n. b d g v z D Z Q Q\" B j J J^ dZ dz tS; dZ; S; s; z; s. z. ts. r r\" r. r- R * R2 l l^ l. l# L w w# v# t. d. t; d; n; m; l; s; c q H P F W Y b# d# g# dZ#"
    " a A e E i I o O u U y V @ & 0 3 W Y a: A: e: E: i: I: o: O: u: U: y: Y: 3: &: V: a# I# I2 V# E2 @2 @- u\" a~ A~ e~ E~ i~ I~ o~ O~ u~ U~ W~ V~ aI aU eI OI oU @U ai au oi ei ui EI OY Oy aI@ i@ e@ U@ A@ O@ o@ @L i."
)
NAMES = tuple(dict.fromkeys(KNOWN.split()))
VOWELS = "aAeEiIoOuUyVWY@&03"  # some voices change these at a word's end: they are asked for before a t, too
STRESS = {"ˈ": "'", "ˌ": ","}
SAME = {"g": "ɡ", "ʦ": "ts", "ʧ": "tʃ", "ʤ": "dʒ", "ʣ": "dz", "ʱ": "ʰ", "ε": "ɛ", ":": "ː"}
TIES = "\u0361\u035c."  # tie bars and syllables' borders carry no sound


@functools.cache
def inventory(voice: str) -> dict[str, str]:
    """IPA of the sounds that a voice can make, each with espeak's name of it."""
    told = espeak.named(voice, (*NAMES, *(f"{name}|t" for name in NAMES if name[0] in VOWELS)))
    found: dict[str, str] = {}
    for name, ipa in told.items():
        sound = name.removesuffix("|t")
        found.setdefault(_plain(ipa).removesuffix("t") if sound != name else _plain(ipa), sound)
    for ipa, name in list(found.items()):
        found.setdefault("".join(c for c in ipa if not unicodedata.combining(c)), name)
    found.pop("", None)
    return found


def mnemonics(ipa: str, voice: str) -> tuple[str, tuple[str, ...]]:
    """Espeak's names of a string of IPA, and the symbols for which the voice has no sound."""
    sounds = inventory(voice)
    text = "".join(SAME.get(c, c) for c in unicodedata.normalize("NFD", ipa) if c not in TIES)
    parts: list[str] = []
    strange: list[str] = []
    at, stress = 0, ""
    while at < len(text):
        if text[at] in STRESS or text[at].isspace():
            stress = STRESS.get(text[at], " ")
            at += 1
            continue
        width = next((w for w in range(5, 0, -1) if text[at : at + w] in sounds and len(text[at : at + w]) == w), 0)
        if width:
            parts.append(stress + sounds[text[at : at + width]])
            stress = ""
        elif text[at] not in MARKS and not unicodedata.combining(text[at]):
            strange.append(text[at])
        at += max(1, width)
    return "|".join(parts), tuple(dict.fromkeys(strange))


def request(pieces: Sequence[Piece], voice: str) -> tuple[str, bool, tuple[str, ...]]:
    """What is asked of espeak: text with the names of sounds in it, whether there are any, and symbols that the voice cannot say.

    A piece with such symbols is said by its letters.
    """
    if not any(piece.ipa for piece in pieces):
        return "".join(piece.text for piece in pieces), False, ()
    said = ""
    unknown: list[str] = []
    for piece in pieces:
        names, strange = mnemonics(piece.ipa, voice) if piece.ipa else ("", ())
        unknown += strange
        said += f" [[{names}]] " if names and not strange else piece.text.replace("[[", "[ [")
    return said, True, tuple(dict.fromkeys(unknown))


def _plain(ipa: str) -> str:
    """IPA without stress."""
    return "".join(c for c in unicodedata.normalize("NFD", ipa) if c not in "ˈˌ" and c not in TIES)
