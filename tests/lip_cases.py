"""What tests of engines that draw lips share: a face in a picture, speech, and a prepared corpus of noise."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from models.corpus import FACE_SIZE, Clip
from models.faces.crop import Square
from models.lipmemory.align import RIGID
from models.types import Speech


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def face(height: int = 200, width: int = 240, side: float = 150.0) -> tuple[np.ndarray, np.ndarray, Square]:
    """A picture of noise, landmarks on an ellipse in it, and their square."""
    random = np.random.default_rng(0)
    angle = np.linspace(0, 2 * np.pi, 478)
    points = np.stack([np.cos(angle) * 0.55, np.sin(angle) * 0.7 - 0.05], -1) * side / 2 + [width / 2, height / 2]
    points[list(RIGID)] = random.uniform(-20, 20, (16, 2)) + np.array([width / 2, height / 2 - 30])
    marks = np.column_stack([points, np.zeros(478)]).astype(np.float32)
    return random.integers(0, 256, (height, width, 3), dtype=np.uint8), marks, Square(width / 2, height / 2, side)


def speech(seconds: float, loud: bool = True) -> Speech:
    count = round(seconds * 16_000)
    wave = np.random.default_rng(3).normal(0, 0.1 if loud else 0.0, count).astype(np.float32)
    return Speech(wave, (), np.full(round(seconds * 100), float(loud), np.float32))


@pytest.fixture(name="cache", scope="module")
def cache_fixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared corpus of noise: two clips a split."""
    root, random = tmp_path_factory.mktemp("cache"), np.random.default_rng(0)
    for split in ("train", "validation", "unseen"):
        folder = root / split
        folder.mkdir()
        frames, samples = 25, 16_000
        random.integers(0, 256, (2 * frames, FACE_SIZE, FACE_SIZE, 3), dtype=np.uint8).tofile(folder / "face.bin")
        np.zeros((2 * frames, 96, 96), np.uint8).tofile(folder / "mouth.bin")
        marks = random.uniform(-0.7, 0.7, (1, 478, 3)) + random.normal(0, 0.01, (2 * frames, 478, 3))
        marks.astype(np.float32).tofile(folder / "landmarks.bin")
        random.normal(0, 2000, 2 * samples).astype(np.int16).tofile(folder / "wave.bin")
        clips = [Clip(f"c{i}", "s1", frames * i, frames, samples * i, samples) for i in range(2)]
        (folder / "index.json").write_text(json.dumps([asdict(c) for c in clips]))
    return root
