"""AVCT's phone set: 41 indices, the 39 CMU phones in alphabetical order with NSN (noise) and SIL in their places; and IPA to it.

IPA symbols, as espeak-ng writes them, map to the CMU phone whose lips and jaw come closest: for a face, place and lip shape
matter, voicing and nasality hardly. Diphthongs and affricates are looked up before their parts.
"""

import unicodedata

PHONES = ("AA", "AE", "AH", "AO", "AW", "AY", "B", "CH", "D", "DH", "EH", "ER", "EY", "F", "G", "HH", "IH", "IY", "JH", "K", "L", "M", "N", "NG", "NSN", "OW", "OY", "P", "R", "S", "SH", "SIL", "T", "TH", "UH", "UW", "V", "W", "Y", "Z", "ZH")
SIL = PHONES.index("SIL")
VOWELS = frozenset(["AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW"])

IPA: dict[str, str] = {
    # diphthongs and affricates
    "aɪ": "AY", "ai": "AY", "ɑɪ": "AY", "aʊ": "AW", "au": "AW", "ɑʊ": "AW", "æʊ": "AW", "eɪ": "EY", "ei": "EY", "ɛɪ": "EY",
    "oʊ": "OW", "əʊ": "OW", "ou": "OW", "ɔʊ": "OW", "ɔɪ": "OY", "oi": "OY", "ɔø": "OY", "ɔʏ": "OY", "œy": "OY", "ʌɪ": "AY", "ʌʊ": "OW",
    "tʃ": "CH", "tɕ": "CH", "ʈʂ": "CH", "tʂ": "CH", "dʒ": "JH", "dʑ": "JH", "ɖʐ": "JH", "dʐ": "JH", "ts": "S", "dz": "Z", "pf": "F",
    # vowels
    "a": "AA", "ɑ": "AA", "ɐ": "AH", "ɒ": "AO", "æ": "AE", "ʌ": "AH", "ə": "AH", "ᵻ": "IH", "ɵ": "UH", "ɘ": "IH", "ɤ": "AH", "ɜ": "ER", "ɚ": "ER", "ɝ": "ER",
    "e": "EH", "ɛ": "EH", "ε": "EH", "œ": "ER", "ø": "UH", "ɞ": "ER", "i": "IY", "ɪ": "IH", "ɨ": "IH", "y": "UW", "ʏ": "UH", "o": "OW", "ɔ": "AO",
    "u": "UW", "ʊ": "UH", "ʉ": "UW", "ɯ": "IH", "ɶ": "AO", "ɿ": "IH", "ʅ": "IH",
    # lips
    "p": "P", "b": "B", "m": "M", "ɓ": "B", "f": "F", "v": "V", "ɱ": "V", "ʋ": "V", "ɸ": "F", "β": "B", "w": "W", "ʍ": "W", "ɥ": "W", "ⱱ": "V", "ʙ": "B",
    # tongue tip and teeth
    "t": "T", "d": "D", "n": "N", "ʈ": "T", "ɖ": "D", "ɳ": "N", "ɗ": "D", "θ": "TH", "ð": "DH", "s": "S", "z": "Z", "l": "L", "ɫ": "L", "ɭ": "L", "ɬ": "L", "ɮ": "L",
    "ɾ": "D", "ɽ": "D", "r": "R", "ɹ": "R", "ɻ": "R", "ɺ": "L", "ʃ": "SH", "ʒ": "ZH", "ʂ": "SH", "ʐ": "ZH", "ɕ": "SH", "ʑ": "ZH", "ɧ": "SH", "ʎ": "Y", "ɲ": "N",
    # tongue back and throat
    "k": "K", "ɡ": "G", "g": "G", "ŋ": "NG", "ɴ": "NG", "x": "K", "ɣ": "G", "χ": "K", "ʁ": "R", "ʀ": "R", "q": "K", "ɢ": "G", "c": "K", "ɟ": "G", "ʄ": "G", "ç": "HH",
    "ʝ": "Y", "j": "Y", "ɰ": "G", "h": "HH", "ɦ": "HH", "ħ": "HH", "ʕ": "HH", "ʔ": "SIL", "ʡ": "SIL", "ɠ": "G", "ʜ": "HH", "ʢ": "HH", "ʛ": "G",
    "N": "NG", "Q": "SIL", "S": "SH",
}  # fmt: skip
IGNORED = frozenset("()ᵝːˑˈˌ.‿͡'ʰʲʷˠˤ˞ˀʼⁿˡ˥˦˧˨˩↓↑-|_ ̃?*\"!;:#~^" + "0123456789")


def index(symbol: str) -> int:
    """Index of a CMU phone, stress mark or not. Raises ValueError for others."""
    return PHONES.index(symbol.rstrip("012"))


def from_ipa(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """CMU phones of a string of IPA, and the symbols that the table does not know."""
    plain = "".join(c for c in unicodedata.normalize("NFD", text.replace("ç", "h")) if not unicodedata.combining(c))
    plain = "".join(c for c in plain if c not in IGNORED)
    phones, unknown, at = [], [], 0
    while at < len(plain):
        for width in (2, 1):
            symbol = plain[at : at + width]
            if symbol in IPA:
                phones.append(IPA[symbol])
                break
        else:
            width = 1
            unknown.append(plain[at])
        at += width
    return tuple(phones), tuple(unknown)
