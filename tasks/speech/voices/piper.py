"""Piper's voices: VITS networks (Kim et al. 2021) as ONNX files that take the ids of phonemes, with a JSON that says which ids those are.

The files are as rhasspy/piper exports them; of the program nothing is used. A voice comes from outside: its network is run by a process that is shut
in (infra/guard/network.py), its description believed in nothing. Phonemes are espeak-ng's, in NFD, a character each, after every
one of them a pad; sentences are said one by one. The network draws from chance: it is loaded anew for every text, with the same seed, so
that the same text always sounds the same.
"""

import functools
import json
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from infra.errors import EngineError, InputError
from infra.guard.network import NetworkFault, run
from infra.settings import get_settings
from infra.store import sha256_of
from tasks.speech import espeak
from tasks.speech.lexicon import Piece
from tasks.speech.voices import Said
from tasks.speech.voices.timed import timed

BEGIN, END, PAD = "^", "$", "_"
ENDS = ".?!"  # of sentences
WITHIN = ",:;"  # between clauses; a space follows
REST = 0.2  # seconds between sentences
WIDE = str.maketrans("。，？！：；؟،؛", ".,?!:;?,;")
DEFAULT_MAPS = {"pt-br": {"c": ["k"]}}
FLAG = re.compile(r"\([^)]*\)")  # espeak-ng's marks of words of another language
LARGEST_CONFIG = 2**20
MOST_OF_ONE, MOST_COUNT, MOST_SCALE = 64, 2**31, 1e6  # ids or letters that stand for one phoneme; ids, speakers; what a description may scale by
SEED = 1
MOST_SECONDS = 300  # of one text's sound
LIMITS = {"pace": (0.25, 4.0), "noise": (0.0, 2.0), "rhythm": (0.0, 2.0)}


class PiperVoice:
    """A voice of a network and its description. options: speaker (name or number), pace (1 as it is, 2 twice as fast), noise, rhythm, sha256."""

    reads = frozenset({"number", "decimal", "acronym"})  # its phonemes are espeak-ng's

    def __init__(self, model: Path, config: Path, options: Mapping[str, str], name: str = "") -> None:
        self.path, self.told, self.name = model, read_config(config), Path(name).name or model.name
        pinned = options.get("sha256", "")
        if pinned and pinned.lower() != (found := sha256_of(model)):
            raise InputError(f"the voice file {self.name} is another one (sha256 {found[:12]}..., the manifest says {pinned[:12]}...)", code="voice.changed", next_step="Give the file that was meant, or its hash.")
        self.rate: int = self.told["audio"]["sample_rate"]
        self.reader: str = self.told["espeak"]["voice"]
        numbers = {name: _number(options[name], name, *LIMITS[name]) for name in LIMITS if name in options}
        inference = self.told.get("inference") or {}
        self.scales = np.array([
            numbers.get("noise", inference.get("noise_scale", 0.667)), inference.get("length_scale", 1.0) / numbers.get("pace", 1.0),
            numbers.get("rhythm", inference.get("noise_w", 0.8)),
        ], np.float32)  # fmt: skip
        self.speaker = self._speaker(options.get("speaker", ""))

    def _speaker(self, wanted: str) -> int | None:
        count, names = self.told.get("num_speakers") or 1, self.told.get("speaker_id_map") or {}
        if not wanted:
            return 0 if count > 1 else None
        number = names.get(wanted, int(wanted) if wanted.isdecimal() else -1)
        if count < 2 or not 0 <= number < count:
            several = f"0 to {count - 1}" + (f", or {', '.join(list(names)[:8])}" if names else "")
            raise InputError(f"{self.name} has no speaker {wanted[:40]!r}; there {f'are {several}' if count > 1 else 'is one, without a number'}", code="voice.speaker", next_step="Correct `speaker` of the voice, or leave it out.")
        return int(number)

    def say(self, pieces: Sequence[Piece]) -> Said:
        """Say it; the phones are timed by alignment. Raises EngineError."""
        sentences, missing = self.ids(pieces)
        if not sentences:
            raise EngineError(f"{self.name} has nothing to say to {''.join(p.text for p in pieces)[:60]!r}", code="engine.silent", next_step="Check that the text is in the voice's language.")
        try:
            parts = self._sounds(sentences)
        except (NetworkFault, OSError) as error:
            raise EngineError(f"{self.name} is no voice that Piper would run ({' '.join(str(error).split())[:200]})", code="voice.broken", next_step="Take the .onnx and .onnx.json of one and the same voice.") from error
        rest = np.zeros(round(REST * self.rate), np.float32)
        sound = np.concatenate([piece for part in parts for piece in (part, rest)][:-1])
        if not np.isfinite(sound).all() or not np.abs(sound).max(initial=0) or len(sound) > MOST_SECONDS * self.rate:
            raise EngineError(f"{self.name} makes no sound that can be used", code="voice.broken", next_step="Take the .onnx and .onnx.json of one and the same voice.")
        notes = [f"the voice {self.name} has no sound for {' '.join(missing)}: left out"] if missing else []
        return timed(sound, self.rate, pieces, self.reader, notes)

    def _sounds(self, sentences: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """Each sentence's sound float32 [samples], its loudest sample at full scale as Piper writes it. Raises NetworkFault, OSError."""
        who: dict[str, np.ndarray] = {} if self.speaker is None else {"sid": np.array([self.speaker], np.int64)}
        given: list[dict[str, np.ndarray]] = [{"input": np.array([ids], np.int64), "input_lengths": np.array([len(ids)], np.int64), "scales": self.scales, **who} for ids in sentences]
        waves = run(self.path, given, SEED, MOST_SECONDS * self.rate, get_settings().guard_memory_mib)
        return [wave / max(0.01, float(np.abs(wave).max(initial=0))) for wave in waves]

    def ids(self, pieces: Sequence[Piece]) -> tuple[list[list[int]], tuple[str, ...]]:
        """Ids of each sentence's phonemes, between those of beginning and end, pads between them; and phonemes that the voice does not know."""
        known = self.told["phoneme_id_map"]
        missing: list[str] = []
        several: list[list[int]] = []
        for phonemes in self.phonemes(pieces):
            missing += [one for one in phonemes if one not in known]
            body = [number for one in phonemes if one in known for number in (*known[one], *known[PAD])]
            if body:
                several.append([*known[BEGIN], *known[PAD], *body, *known[END]])
        return several, tuple(dict.fromkeys(missing))

    def phonemes(self, pieces: Sequence[Piece]) -> list[str]:
        """Phonemes of each sentence, a character each. What is given in IPA goes in as it is."""
        mapped: Mapping[str, Sequence[str]] = self.told.get("phoneme_map") or DEFAULT_MAPS.get(self.reader, {})
        sentences = [""]
        for piece in pieces:
            if piece.ipa or self.told.get("phoneme_type", "espeak") == "text":
                clauses = [(piece.ipa or piece.text, "")]
            else:
                clauses = _clauses(piece.text, self.reader)
            for ipa, ending in clauses:
                plain = unicodedata.normalize("NFD", FLAG.sub("", ipa))
                glue = " " if sentences[-1] and plain and sentences[-1][-1] != " " and plain[0] != " " else ""
                sentences[-1] += glue + "".join("".join(mapped.get(c, c)) for c in plain) + ending + (" " if ending in WITHIN and ending else "")
                if ending and ending in ENDS:
                    sentences.append("")
        return [one for one in sentences if one.strip(ENDS + WITHIN + " ")]


def _clauses(text: str, reader: str) -> list[tuple[str, str]]:
    """(IPA, the mark it ends with) of each clause of a text, as espeak-ng reads it."""
    if not any(c.isalnum() for c in text):
        return [("", text.strip()[:1])] if text.strip()[:1] in (*ENDS, *WITHIN) else []
    found = []
    for ipa, read in espeak.clauses([text], reader)[0]:
        last = read.translate(WIDE).rstrip().rstrip("\"'»”’)]")[-1:]
        found.append((ipa, last if last and last in ENDS + WITHIN else ""))
    return found


def _number(text: str, name: str, least: float, most: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not least <= value <= most:
        raise InputError(f"{name} of the voice is {text[:20]!r}", code="voice.name", next_step=f"Give a number from {least:g} to {most:g}.")
    return value


@functools.lru_cache(maxsize=32)
def _parsed(text: str) -> Any:
    return json.loads(text)


def _several(values: Any, wanted: Callable[[Any], bool]) -> bool:
    return isinstance(values, list) and len(values) <= MOST_OF_ONE and all(map(wanted, values))


def _count(value: Any, least: int) -> bool:
    return type(value) is int and least <= value < MOST_COUNT


def read_config(path: Path) -> dict[str, Any]:
    """A voice's description, as far as it is used judged. Raises InputError."""
    try:
        data = path.read_bytes()[: LARGEST_CONFIG + 1]
        if len(data) > LARGEST_CONFIG:
            raise ValueError("it is too large")
        told = _parsed(data.decode("utf-8-sig"))
        rate, voice, ids = told["audio"]["sample_rate"], told["espeak"]["voice"], told["phoneme_id_map"]
        if not isinstance(rate, int) or not 8_000 <= rate <= 96_000 or not isinstance(voice, str):
            raise ValueError("its sample rate or voice is none")
        if any(name not in ids for name in (BEGIN, END, PAD)) or not all(_several(numbers, lambda n: _count(n, 0)) for numbers in ids.values()):
            raise ValueError("its phoneme ids are none")
        if not all(_several(parts, lambda part: isinstance(part, str) and len(part) <= MOST_OF_ONE) for parts in (told.get("phoneme_map") or {}).values()):
            raise ValueError("what it writes for phonemes is none")
        if not _count(told.get("num_speakers") or 1, 1) or not all(_count(number, 0) for number in (told.get("speaker_id_map") or {}).values()):
            raise ValueError("its speakers are none")
        if told.get("phoneme_type", "espeak") not in ("espeak", "text"):
            raise ValueError(f"its phonemes are {str(told['phoneme_type'])[:20]!r}, which are not espeak-ng's")
        if not all(type(value) in (int, float) and abs(value) <= MOST_SCALE for value in (told.get("inference") or {}).values()):
            raise ValueError("its scales are none")
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        text = f"it has no {error.args[0]!r}" if isinstance(error, KeyError) else " ".join(str(error).split())[:120]
        raise InputError(f"{path.name} does not describe a voice of Piper ({text})", code="voice.config", next_step="Give the .onnx.json that belongs to the voice, beside the .onnx.") from error
    espeak.voice_for("en", f"espeak:{voice}")
    return dict(told)
