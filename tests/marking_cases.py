"""What the tests of marks share: a small real face that sways, watermarked and signed. How files are tampered with is benchmarks/tampering.py's."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from flow_cases import HOPPER
from infra.marking import Watermark, manifest
from infra.marking.signer import Signer
from infra.media import VideoWriter, write_wav
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
