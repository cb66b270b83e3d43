"""Talking-face clips as training data: each clip decoded and landmarked once, into a cache of plain arrays.

The cache lies outside the repository. Per split (`train`, `validation`, `unseen`): `face.bin` [frames, 160, 160, 3] uint8 (or of
another size, which the file's own tells), the face square of each clip grown by 1.25; `mouth.bin` [frames, 96, 96] uint8 grey, the mouth square of each frame, smoothed
over time and grown by 1.25; `landmarks.bin` [frames, 478, 3] float32 in unit coordinates of the clip's face square;
`wave.bin` int16 at 16 kHz; `index.json` with every clip's name, first frame, frame count, first sample and sample count.
"""

import functools
import json
import math
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from infra.errors import MediaError
from infra.media import open_media
from models.faces.crop import Square, cut, face_square, mouth_square

FACE_SIZE, MOUTH_SIZE, MARGIN = 160, 96, 1.25
RATE = 16_000
SPLITS = ("train", "validation", "unseen")
MEDIA = (".mkv", ".mpg", ".mp4", ".mov", ".avi", ".webm")


@dataclass
class Clip:
    """Where one clip lies in its split's arrays."""

    name: str
    speaker: str
    first_frame: int
    frames: int
    first_sample: int
    samples: int


def clips_of(grid: Path) -> dict[str, list[Path]]:
    """The clips of a folder by split.

    GRID's (it has s1/validation.txt): s1 without and with that list, and every other speaker. Any other folder's: its clips and
    those of its folders, each tenth one held out, nobody unseen.
    """
    if not (grid / "s1" / "validation.txt").exists():
        found = sorted(p for p in (*grid.glob("*"), *grid.glob("*/*")) if p.suffix.lower() in MEDIA)
        return {"train": [p for i, p in enumerate(found) if i % 10 != 9], "validation": found[9::10], "unseen": []}
    held_out = set((grid / "s1" / "validation.txt").read_text().split())
    s1 = sorted((grid / "s1").glob("*.mkv"))
    return {
        "train": [p for p in s1 if p.stem not in held_out],
        "validation": [p for p in s1 if p.stem in held_out],
        "unseen": sorted(p for p in grid.glob("s*/*.mpg") if p.parent.name != "s1"),
    }


def read_clip(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """A clip's RGB frames [T, H, W, 3] and its sound, mono int16 at 16 kHz, cut or padded to the length of the picture.

    Raises MediaError for a clip of another rate than 25 frames a second.
    """
    import av

    with open_media(path) as media:
        rate = media.streams.video[0].average_rate
        if rate is not None and abs(rate - 25) > 0.01:
            raise MediaError(f"{path.name} has {float(rate):.2f} frames a second", code="media.rate", next_step="Convert the clips: ffmpeg -i IN -r 25 OUT.mkv")
        frames = np.stack([f.to_ndarray(format="rgb24") for f in media.decode(video=0)])
    with open_media(path) as media:
        resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
        parts = [r.to_ndarray()[0] for f in media.decode(audio=0) for r in resampler.resample(f)]
        parts += [r.to_ndarray()[0] for r in resampler.resample(None)]
    wave = np.concatenate(parts)
    want = len(frames) * RATE // 25
    return frames, np.pad(wave[:want], (0, max(0, want - len(wave)))).astype(np.int16)


def smooth(values: np.ndarray, reach: int = 6) -> np.ndarray:
    """Mean over 2*reach+1 steps along the first axis, the ends held."""
    padded = np.pad(values, [(reach, reach)] + [(0, 0)] * (values.ndim - 1), mode="edge")
    total = np.cumsum(np.concatenate([np.zeros_like(padded[:1]), padded]), axis=0)
    return (total[2 * reach + 1 :] - total[: -2 * reach - 1]) / (2 * reach + 1)


def mouth_squares(landmarks: np.ndarray) -> list[Square]:
    """The scorer's square for every frame of a track [T, 478, 2+]: centre and side smoothed over half a second."""
    raw = np.array([(s.x, s.y, s.side) for s in map(mouth_square, landmarks)])
    return [Square(*row) for row in smooth(raw)]


def prepare_clip(path: Path, face_size: int = FACE_SIZE) -> dict[str, np.ndarray] | None:
    """One clip's arrays, or None when a frame shows no face."""
    import cv2

    from models.faces.mesh import FaceMesh

    cv2.setNumThreads(1)
    frames, wave = read_clip(path)
    with FaceMesh(video=True) as mesh:
        found = [mesh(frame) for frame in frames]
    if not all(found):
        return None
    landmarks = np.stack([faces[0] for faces in found])
    square = face_square(np.median(landmarks, axis=0))
    squares = mouth_squares(landmarks)
    unit = np.concatenate([square.to_unit(landmarks), landmarks[..., 2:] * (2 / square.side)], axis=-1)
    grey = [cv2.cvtColor(f, cv2.COLOR_RGB2GRAY) for f in frames]
    return {
        "face": np.stack([cut(f, square.grown(MARGIN), face_size) for f in frames]),
        "mouth": np.stack([cut(g, s.grown(MARGIN), MOUTH_SIZE) for g, s in zip(grey, squares, strict=True)]),
        "landmarks": unit.astype(np.float32),
        "wave": wave,
    }


def prepare(grid: Path, cache: Path, workers: int = 2, splits: tuple[str, ...] = SPLITS, face_size: int = FACE_SIZE) -> None:
    """Fill the cache from a folder of clips, split by split; one that is there already is left alone, at the size that it has."""
    for split, paths in reversed(clips_of(grid).items()):
        folder = cache / split
        if split not in splits or (folder / "index.json").exists():
            continue
        folder.mkdir(parents=True, exist_ok=True)
        index: list[Clip] = []
        streams = {name: (folder / f"{name}.bin").open("wb") for name in ("face", "mouth", "landmarks", "wave")}
        frame = sample = 0
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            for path, arrays in zip(paths, pool.map(functools.partial(prepare_clip, face_size=face_size), paths), strict=True):
                if arrays is None:
                    continue
                for name, stream in streams.items():
                    stream.write(np.ascontiguousarray(arrays[name]).tobytes())
                count, samples = len(arrays["face"]), len(arrays["wave"])
                index.append(Clip(path.stem, path.parent.name, frame, count, sample, samples))
                frame, sample = frame + count, sample + samples
        for stream in streams.values():
            stream.close()
        (folder / "index.json").write_text(json.dumps([asdict(c) for c in index]))


def _mapped(path: Path, kind: type, *shape: int) -> np.ndarray:
    """A file as an array; numpy maps no empty ones."""
    return np.memmap(path, kind, "r", shape=shape) if math.prod(shape) else np.zeros(shape, kind)


class Corpus:
    """One split of a prepared cache, memory-mapped."""

    def __init__(self, cache: Path, split: str) -> None:
        folder = cache / split
        self.clips = [Clip(**row) for row in json.loads((folder / "index.json").read_text())]
        frames = sum(c.frames for c in self.clips)
        self.face_size = math.isqrt((folder / "face.bin").stat().st_size // (3 * frames)) if frames else FACE_SIZE
        self.face = _mapped(folder / "face.bin", np.uint8, frames, self.face_size, self.face_size, 3)
        self.mouth = _mapped(folder / "mouth.bin", np.uint8, frames, MOUTH_SIZE, MOUTH_SIZE)
        self.landmarks = _mapped(folder / "landmarks.bin", np.float32, frames, 478, 3)
        self.wave = _mapped(folder / "wave.bin", np.int16, sum(c.samples for c in self.clips))

    def frames_of(self, clip: Clip) -> slice:
        """The clip's frames in `face`, `mouth` and `landmarks`."""
        return slice(clip.first_frame, clip.first_frame + clip.frames)

    def wave_of(self, clip: Clip) -> np.ndarray:
        """The clip's sound, int16 at 16 kHz."""
        return np.asarray(self.wave[clip.first_sample : clip.first_sample + clip.samples])


if __name__ == "__main__":
    import sys

    prepare(Path(sys.argv[1]), Path(sys.argv[2]))
