"""A tiny corpus for tests of training, in the form of models/corpus.py: one portrait that nods and opens its mouth to a tone."""

import json
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from flow_cases import HOPPER
from models.corpus import FACE_SIZE, MARGIN, MOUTH_SIZE, SPLITS, Clip
from models.faces.crop import cut, face_square, mouth_square
from models.faces.mesh import FaceMesh

FRAMES = 75
SPOKEN = (("SIL", 0.0, 0.4), ("B", 0.4, 0.6), ("AA", 0.6, 1.2), ("M", 1.2, 1.5), ("IY", 1.5, 2.4))


def write_corpus(cache: Path, clips: int = 2) -> Path:
    """So many clips to train on, one held out and one unseen; phones for all of them."""
    with Image.open(HOPPER) as opened, FaceMesh() as mesh:
        picture = np.asarray(opened.convert("RGB")).copy()
        points = mesh(picture)[0]
    square = face_square(points)
    face = cut(picture, square.grown(MARGIN), FACE_SIZE)
    mouth = cut(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), mouth_square(points).grown(MARGIN), MOUTH_SIZE)
    unit = np.concatenate([square.to_unit(points), points[:, 2:] * (2 / square.side)], axis=-1)
    names = []
    for number, split in enumerate(SPLITS):
        (cache / split).mkdir(parents=True)
        rows = []
        with (cache / split / "face.bin").open("wb") as faces, (cache / split / "mouth.bin").open("wb") as mouths, (cache / split / "landmarks.bin").open("wb") as marks:
            for clip in range(clips if split == "train" else 1):
                away = np.random.default_rng((number, clip)).integers(-4, 5, (FRAMES, 2)).cumsum(0).clip(-6, 6)
                for x, y in away:
                    np.roll(face, (y, x), (0, 1)).tofile(faces)
                    np.roll(mouth, (y, x), (0, 1)).tofile(mouths)
                    moved = unit + np.array([x, y, 0]) * (2 * MARGIN / FACE_SIZE)
                    moved[[14, 17], 1] += 0.01 * abs(x)  # the lower lip
                    moved.astype(np.float32).tofile(marks)
                names.append(f"{split}{clip}")
                rows.append(asdict(Clip(names[-1], "s1", clip * FRAMES, FRAMES, clip * FRAMES * 640, FRAMES * 640)))
        frames = len(rows) * FRAMES
        tone = 9000 * np.sin(np.arange(frames * 640) * 0.06) * np.random.default_rng(number).uniform(0.2, 1, frames).repeat(640)
        tone.astype(np.int16).tofile(cache / split / "wave.bin")
        (cache / split / "index.json").write_text(json.dumps(rows))
    (cache / "phones.json").write_text(json.dumps(dict.fromkeys(names, SPOKEN)))
    return cache
