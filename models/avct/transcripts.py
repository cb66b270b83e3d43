"""Phones of the training clips: forced alignment of their words, or the dictionary where timings are known and it disagrees."""

import functools
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from models.avct.phonemes import VOWELS
from models.corpus import Corpus
from models.types import Phone

UNITS_A_SECOND = 25_000  # of GRID's .align files
WORST = 0.1  # seconds that the median word may be off before the dictionary is believed instead


def read_words(path: Path) -> list[tuple[str, float, float]]:
    """Words of an .align file with start and end in seconds, silence included as `sil` and `sp`."""
    rows = (line.split() for line in path.read_text().splitlines() if line.strip())
    return [(word, int(start) / UNITS_A_SECOND, int(end) / UNITS_A_SECOND) for start, end, word in rows]


@functools.cache
def _decoder() -> Any:
    from pocketsphinx import Decoder

    return Decoder(lm=None, loglevel="FATAL", beam=1e-80, wbeam=1e-60, pbeam=1e-80)


def align_words(wave: np.ndarray, words: list[tuple[str, float, float]]) -> list[Phone]:
    """Phones of a clip, int16 [samples] at 16 kHz, whose words and their times are known."""
    spoken = [w for w in words if w[0] not in ("sil", "sp")]
    try:
        phones, found = _forced(wave, " ".join(w[0] for w in spoken))
    except RuntimeError:  # the decoder finds no path through some clips
        return _from_dictionary(words)
    if len(found) != len(spoken) or np.median([abs(a - b[1]) for a, b in zip(found, spoken, strict=True)]) > WORST:
        return _from_dictionary(words)
    return phones


def _forced(wave: np.ndarray, text: str) -> tuple[list[Phone], list[float]]:
    decoder = _decoder()
    dithered = wave + np.random.default_rng(0).normal(0, 2, len(wave))
    data = np.clip(dithered, -32768, 32767).astype(np.int16).tobytes()
    decoder.set_align_text(text)
    _decode(decoder, data)
    decoder.set_alignment()
    _decode(decoder, data)
    phones, starts = [], []
    for word in decoder.get_alignment():
        if word.name not in ("<s>", "</s>", "<sil>", "(NULL)", "[NOISE]"):
            starts.append(word.start / 100)
        for phone in word:
            symbol = "SIL" if phone.name.startswith("+") else phone.name
            phones.append(Phone(symbol, phone.start / 100, (phone.start + phone.duration) / 100))
    return phones, starts


def _decode(decoder: Any, data: bytes) -> None:
    decoder.start_utt()
    decoder.process_raw(data, full_utt=True)
    decoder.end_utt()


def _from_dictionary(words: list[tuple[str, float, float]]) -> list[Phone]:
    phones = []
    for word, start, end in words:
        if word in ("sil", "sp"):
            phones.append(Phone("SIL", start, end))
            continue
        symbols = (_decoder().lookup_word(word) or "AH").split()
        lengths = np.array([1.7 if s in VOWELS else 1.0 for s in symbols])
        ends = start + np.cumsum(lengths) / lengths.sum() * (end - start)
        for symbol, low, high in zip(symbols, [start, *ends[:-1]], ends, strict=True):
            phones.append(Phone(symbol, float(low), float(high)))
    return phones


def write_phones(grid: Path, cache: Path) -> None:
    """`phones.json` of a prepared cache, for the splits that are trained on and held out; left alone when it is there.

    A clip's words stand beside it, timed (CLIP.align, as GRID has them) or not (CLIP.txt). One without words is left out.
    """
    target = cache / "phones.json"
    if target.exists():
        return
    found = {}
    for split in ("validation", "train"):
        corpus = Corpus(cache, split)
        for clip in corpus.clips:
            near = grid if clip.speaker == grid.name else grid / clip.speaker
            phones = phones_of(near / clip.name, corpus.wave_of(clip))
            if phones:
                found[clip.name] = [(p.symbol, p.start, p.end) for p in phones]
    target.write_text(json.dumps(found))


def phones_of(stem: Path, wave: np.ndarray) -> list[Phone]:
    """Phones of a clip by what stands beside it, none where there are no words or they cannot be aligned."""
    timed, plain = (stem.with_name(stem.name + suffix) for suffix in (".align", ".txt"))
    if timed.exists():
        return align_words(wave, read_words(timed))
    if not plain.exists():
        return []
    try:
        return _forced(wave, " ".join(re.findall(r"[a-z']+", plain.read_text().lower())))[0]
    except RuntimeError:  # no path found, or a word that the dictionary lacks
        return []
