"""Damaged scripts of every format against their readers: `python -m benchmarks.fuzz_scripts [CASES] [SEED]`.

A reader may give cues or refuse with faults that have a fix; anything else, and anything that takes long, is printed with its seed.
"""

import random
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.script_samples import Sample, samples
from infra.errors import ManifestError
from tasks.scripts import Reading, open_cues
from tasks.scripts.captions import captions

SLOW = 5.0  # seconds for a small file
PIECES = (
    b"-->", b"\n\n", b"\r", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"<v ", b"<", b">", b"&amp;", b"&#55296;", b"{\\", b"}", b"\"", b";", b",", b"\t", b"99:99:99:99", b"00:00:00;00",
    b"999999999999999999999", b"1e309", b"-1", b"0/0", b"<!DOCTYPE a [<!ENTITY b \"c\">]>", b"<p begin=\"1t\">", b"timeContainer=\"seq\"", b"[Events]", b"Dialogue: ", b"FCM: DROP FRAME", b"sep=", b"\xe2\x80\xae", b"\xed\xa0\x80", b"\xf0\x9f\x98\x80",
)  # fmt: skip
READINGS = (Reading(), Reading("25", "10:00:00:00"), Reading("29.97df", "01:00:00;00"), Reading("59.94ndf"), Reading(encoding="utf-16"), Reading(encoding="cp1252", speakers=("ANNA",)), Reading(start="00:00:00:00"))


@dataclass
class Tally:
    """What came of the cases: read, refused, and what should not have happened."""

    read: int = 0
    refused: int = 0
    slowest: float = 0.0
    wrong: list[str] = field(default_factory=list)


def damaged(data: bytes, chance: random.Random) -> bytes:
    """Bytes with some of them changed, cut out, doubled, or put elsewhere."""
    made = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        at, until = sorted(chance.randrange(len(made) + 1) for _ in range(2))
        until = min(until, at + chance.choice((1, 4, 64, 4096)))
        match chance.randrange(6):
            case 0:
                made[at:until] = b""
            case 1:
                made[at:at] = chance.choice(PIECES)
            case 2:
                made[at:until] = bytes(chance.randrange(256) for _ in range(until - at))
            case 3:
                made[at:at] = made[at:until] * chance.choice((1, 2, 30))
            case 4:
                del made[at:]
            case _:
                made[at : at + 1] = bytes([chance.randrange(256)])
    return bytes(made)


def zipped(data: bytes, chance: random.Random) -> bytes:
    """A workbook with one of its parts damaged, and whole as a ZIP."""
    import io
    import zipfile

    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(out, "w") as made:
        hit = chance.choice(source.namelist())
        for name in source.namelist():
            made.writestr(name, damaged(source.read(name), chance) if name == hit else source.read(name))
    return out.getvalue()


def case(sample: Sample, number: int, seed: int, folder: Path, tally: Tally) -> None:
    """One damaged file through its reader, and what it gives through every writer."""
    chance = random.Random(f"{seed}/{number}/{sample.name}")
    data = zipped(sample.data, chance) if sample.kind == "xlsx" and chance.random() < 0.8 else damaged(sample.data, chance)
    suffix = chance.choice((Path(sample.name).suffix, Path(sample.name).suffix, ".txt", ".srt", ".csv", ".xml", ""))
    path = folder / f"script{suffix}"
    path.write_bytes(data)
    started = time.perf_counter()
    try:
        script = open_cues(path, chance.choice((sample.reading, *READINGS)))
        for kind in ("vtt", "srt", "ttml"):
            captions(kind, script.cues, "es-ES").encode()
        assert script.cues and all(0 <= cue.start <= cue.end and cue.text for cue in script.cues)
        tally.read += 1
    except ManifestError as error:
        tally.refused += 1
        if not all(fault["problem"] and fault["fix"] and fault["field"] for fault in error.faults) or len(error.message) > 20_000:
            tally.wrong.append(f"{sample.name} case {number}: a fault without a fix, or too long: {error.message[:200]}")
    except Exception:
        tally.wrong.append(f"{sample.name} case {number} seed {seed}:\n{traceback.format_exc(limit=-4)}")
    spent = time.perf_counter() - started
    tally.slowest = max(tally.slowest, spent)
    if spent > SLOW:
        tally.wrong.append(f"{sample.name} case {number} seed {seed}: {spent:.1f} s")


def run(cases: int = 2000, seed: int = 0) -> dict[str, Any]:
    """That many damaged files of each sample; every wrong end is in `wrong`."""
    told: dict[str, Tally] = {}
    with tempfile.TemporaryDirectory(prefix="dubwright-") as folder:
        for sample in samples():
            tally = told[sample.name] = Tally()
            for number in range(cases):
                case(sample, number, seed, Path(folder), tally)
    return {name: vars(tally) for name, tally in told.items()}


def main() -> None:
    """Print what came of it; end with 1 where a reader failed."""
    cases, seed = (int(word) for word in (*sys.argv[1:3], *("2000", "0")[len(sys.argv) - 1 :]))
    told = run(cases, seed)
    for name, row in told.items():
        sys.stdout.write(f"{name:20} read {row['read']:6}  refused {row['refused']:6}  wrong {len(row['wrong'])}  slowest {row['slowest']:.2f} s\n")
    wrong = [text for row in told.values() for text in row["wrong"]]
    sys.stdout.write("\n".join(wrong[:20]) + "\n")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
