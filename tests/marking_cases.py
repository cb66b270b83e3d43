"""What the tests of marks share: a small real face that sways, watermarked and signed; and ways to tamper with a file."""

import subprocess
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from flow_cases import HOPPER
from infra.marking import Watermark, manifest
from infra.marking.signer import Signer, local_signer
from infra.media import VideoWriter, ffmpeg, write_wav
from redub_cases import face, swayed

PAYLOAD, ARTIFACT = 0xFEDCBA9876543210, "c" * 64
HEIGHT, WIDTH, FPS = 384, 400, Fraction(25)


def frames(count: int = 75) -> Iterator[np.ndarray]:
    """A person who sways a little."""
    picture = face(HOPPER, HEIGHT, WIDTH)
    return (swayed(picture, number) for number in range(count))


def film(path: Path, payload: int | None = PAYLOAD, count: int = 75) -> Path:
    """A video of that person, with a watermark or without."""
    mark = None if payload is None else Watermark(payload, HEIGHT, WIDTH)
    sound = path.with_suffix(".wav")
    write_wav(sound, 0.1 * np.sin(np.arange(16_000 * count // 25) / 20).astype(np.float32), 16_000)
    with VideoWriter(path, WIDTH, HEIGHT, FPS, sound, threads=1) as out:
        for number, frame in enumerate(frames(count)):
            out.write(mark.on_rgb(frame, number / 25) if mark else frame)
    return path


def signed(video: Path, path: Path, signer: Signer, inputs: dict[str, Path] | None = None) -> Path:
    """A signed copy."""
    origin = manifest.Origin("welcome.en-US.mp4", inputs or {"portrait": HOPPER}, PAYLOAD, {"artifact": ARTIFACT, "take": 1})
    manifest.sign(video, origin, signer, path)
    return path


def again(source: Path, path: Path, *options: str) -> Path:
    """A file as ffmpeg makes it anew of another."""
    subprocess.run([ffmpeg(), "-v", "error", "-y", "-i", str(source), *options, str(path)], check=True)
    return path


def boxes(data: bytes) -> dict[bytes, tuple[int, int]]:
    """Where an MP4's top boxes begin and end, by kind."""
    found, at = {}, 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        found[data[at + 4 : at + 8]] = (at, at + size)
        at += size
    return found


def flipped(data: bytes, at: int) -> bytes:
    """The bytes with one changed."""
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def tampered(folder: Path, good: Path) -> dict[str, Callable[[], bytes]]:
    """Ten ways in which somebody may have changed a delivered file."""
    data = good.read_bytes()
    parts = boxes(data)
    (media, media_end), (index, index_end), (told, told_end) = parts[b"mdat"], parts[b"moov"], parts[b"uuid"]

    def stripped() -> bytes:
        return again(good, folder / "stripped.mp4", "-c", "copy").read_bytes()

    def encoded() -> bytes:
        return again(good, folder / "encoded.mp4", "-crf", "20").read_bytes()

    def lent() -> bytes:
        """Another video under this one's manifest."""
        other = signed(film(folder / "other.mp4", PAYLOAD ^ 1, 50), folder / "other-signed.mp4", local_signer(folder / "keys")).read_bytes()
        begin, end = boxes(other)[b"uuid"]
        return other[:begin] + data[told:told_end] + other[end:]

    def resigned() -> bytes:
        return signed(good, folder / "resigned.mp4", local_signer(folder / "a stranger's")).read_bytes()

    return {
        "manifest stripped": stripped, "encoded again": encoded, "manifest of another": lent, "signed by a stranger": resigned,
        "first picture changed": lambda: flipped(data, media + 300), "last sound changed": lambda: flipped(data, media_end - 3),
        "index changed": lambda: flipped(data, (index + index_end) // 2), "claim changed": lambda: flipped(data, data.index(b"claim_generator")),
        "lineage changed": lambda: data.replace(ARTIFACT.encode(), b"d" * 64), "signature damaged": lambda: flipped(data, data.rindex(b"c2pa.signature", told, told_end) + 900),
        "cut short": lambda: data[:-2000], "more appended": lambda: data + b"\0\0\0\x10junk" + b"x" * 8,
    }  # fmt: skip
