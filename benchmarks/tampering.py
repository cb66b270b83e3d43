"""Delivered files that somebody changed, and what two readers say of them: `python -m benchmarks.tampering FILE... --anchor FILE.pem`.

One reader is the standard's own library, which signs as well; the other is benchmarks/c2pa_reader.py, which shares no code with it.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import c2pa_reader
from infra.marking import manifest
from infra.marking.signer import Signer, local_signer
from infra.media import ffmpeg

Ways = dict[str, Callable[[], bytes]]


def again(source: Path, path: Path, *options: str) -> Path:
    """A file as ffmpeg makes it anew of another."""
    subprocess.run([ffmpeg(), "-v", "error", "-y", "-i", str(source), *options, str(path)], check=True)
    return path


def places(data: bytes) -> dict[bytes, tuple[int, int]]:
    """Where an MP4's top boxes begin and end, by kind."""
    return {kind: (begin, end) for kind, begin, end in c2pa_reader.boxes(data)}


def flipped(data: bytes, at: int) -> bytes:
    """The bytes with one changed."""
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def lent(data: bytes, other: bytes) -> bytes:
    """Another file under this one's manifest, in place of its own or after its first box."""
    begin, end = places(data)[b"uuid"]
    first = places(other)[b"ftyp"][1]
    was = places(other).get(b"uuid", (first, first))
    return other[: was[0]] + data[begin:end] + other[was[1] :]


def ways(folder: Path, good: Path, stranger: Signer) -> Ways:
    """Fourteen ways in which somebody may have changed a delivered file, by name; made as they are called, scratch files in a folder."""
    data = good.read_bytes()
    parts, lineage = places(data), str(manifest.read(good).lineage["artifact"]).encode()
    (media, media_end), (index, index_end), (told, told_end) = parts[b"mdat"], parts[b"moov"], parts[b"uuid"]

    def resigned() -> bytes:
        origin = manifest.Origin(good.name, {}, 0, {"artifact": lineage.decode()})
        manifest.sign(good, origin, stranger, folder / "resigned.mp4")
        return (folder / "resigned.mp4").read_bytes()

    return {
        "manifest stripped": lambda: again(good, folder / "stripped.mp4", "-c", "copy").read_bytes(),
        "encoded again": lambda: again(good, folder / "encoded.mp4", "-crf", "20", "-preset", "ultrafast").read_bytes(),
        "manifest of another": lambda: lent(data, again(good, folder / "other.mp4", "-vf", "hflip", "-preset", "ultrafast").read_bytes()),
        "multiplexed again under its manifest": lambda: lent(data, again(good, folder / "anew.mp4", "-c", "copy").read_bytes()),
        "sound replaced under its manifest": lambda: lent(data, again(good, folder / "sound.mp4", "-c:v", "copy", "-af", "volume=0.5").read_bytes()),
        "signed by a stranger": resigned,
        "first picture changed": lambda: flipped(data, media + 300), "last sound changed": lambda: flipped(data, media_end - 3),
        "index changed": lambda: flipped(data, (index + index_end) // 2), "claim changed": lambda: flipped(data, data.index(b"claim_generator")),
        "lineage changed": lambda: data.replace(lineage, flipped(lineage, 0)), "signature damaged": lambda: flipped(data, data.rindex(b"c2pa.signature", told, told_end) + 900),
        "cut short": lambda: data[:-2000], "more appended": lambda: data + b"\0\0\0\x10junk" + b"x" * 8,
    }  # fmt: skip


def by_the_library(path: Path, anchor: str) -> bool:
    """Whether the standard's library takes a file for one that was signed under an authority and not changed since."""
    return manifest.read(path, anchor).state == "trusted"


def by_the_other(path: Path, anchor: str) -> bool:
    """The same by the second reader."""
    try:
        c2pa_reader.read(path, anchor)
    except c2pa_reader.Refused:
        return False
    return True


READERS = {"library": by_the_library, "other": by_the_other}


def run(files: list[Path], anchor: str) -> dict[str, object]:
    """How many files each reader accepts as they are, and how many of their changed copies; `faults` names what should be otherwise."""
    figures: dict[str, int] = {"tampering_files": len(files), "tampering_copies": 0}
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stranger = local_signer(folder / "a stranger's")
        for good in files:
            changed = ways(folder, good, stranger)
            figures["tampering_copies"] += len(changed)
            for reader, accepts in READERS.items():
                whole = accepts(good, anchor)
                figures[f"tampering_accepted_{reader}"] = figures.get(f"tampering_accepted_{reader}", 0) + whole
                faults += [] if whole else [f"{good.name} is refused by {reader}"]
            for way, make in changed.items():
                copy = folder / "changed.mp4"
                copy.write_bytes(make())
                for reader, accepts in READERS.items():
                    taken = accepts(copy, anchor)
                    figures[f"tampering_missed_{reader}"] = figures.get(f"tampering_missed_{reader}", 0) + taken
                    faults += [f"{good.name}, {way}, is accepted by {reader}"] if taken else []
    return {"figures": figures, "faults": faults}


def main() -> None:
    """The command; ends with 1 where a reader was wrong."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("files", type=Path, nargs="+")
    options.add_argument("--anchor", type=Path, required=True, help="the signer's chain in PEM, the authority last: signing/local/chain.pem of the home folder")
    given = options.parse_args()
    found = run(given.files, c2pa_reader.last_of(given.anchor.read_text()))
    sys.stdout.write(json.dumps(found, indent=2) + "\n")
    sys.exit(1 if found["faults"] else 0)


if __name__ == "__main__":
    main()
