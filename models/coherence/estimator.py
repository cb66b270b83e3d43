"""How much lips tell of their sound, in nats a window of five pictures: the statistics network at work.

T of a window and its own sound is an estimate of their pointwise mutual information (information.py): above 0 where they are likelier
together than apart. It is a second opinion beside the scorer, never in its place: its network teaches the generator of `coherence`,
whose takes it therefore likes better than they deserve.
"""

import functools
import math
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch

from infra.samples import Samples, Wave
from models import checkpoints
from models.avct.layers import fuse
from models.coherence.config import compact
from models.coherence.networks import StatisticsNetwork
from models.coherence.train_estimator import NAME, WEIGHTS
from models.device import best_device
from models.faces.crop import cut
from models.lipmemory.engine import Seen
from models.lipmemory.mel import CHUNK, chunk_start, columns, gain_of, mel_columns

SPAN = 5  # pictures a window
BATCH = 32  # windows a call of the network


class Estimator:
    """The shipped statistics network, ready to look. Get it by `load`; it is not safe to share between threads."""

    def __init__(self, statistics: StatisticsNetwork, weights: tuple[str, ...] = (), size: int = 128) -> None:
        self.statistics, self.weights, self.size, self.device = statistics.eval(), weights, size, best_device()
        fuse(self.statistics)
        self.statistics.to(self.device)

    @classmethod
    def load(cls) -> "Estimator":
        """With its shipped weights, checked by hash and kept for the life of the process. Raises WeightsError."""
        return _load()

    def coherence(self, faces: Iterable[np.ndarray | None], wave: Wave) -> np.ndarray:
        """Nats [n] of the windows that start with each picture but the last four; a take's coherence is their mean (`mean`).

        faces: squares of one face, uint8 RGB [S, S, 3], at 25 pictures a second as they come, None where it is not there; `faces_of`
        cuts them. wave: float32 [samples] in [-1, 1] at 16 kHz. NaN for windows that lack a face or sound.
        """
        look = Look(self)
        for face in faces:
            look.add(face)
        return look.nats(wave)

    @torch.inference_mode()
    def see(self, halves: list[np.ndarray]) -> np.ndarray:
        """Windows of lower halves, uint8 RGB [5, S / 2, S, 3] each, to unit vectors float32 [N, C]."""
        stacked = torch.from_numpy(np.stack(halves)[..., ::-1].copy()).permute(0, 1, 4, 2, 3)
        return self.statistics.see(stacked.to(self.device).float() / 127.5 - 1).cpu().numpy()

    @torch.inference_mode()
    def hear(self, wave: Wave, starts: list[int], gain: float) -> np.ndarray:
        """The mel chunks of a sound that start at columns, rising, to unit vectors float32 [N, C]."""
        mel = mel_columns(wave, starts[0], starts[-1] + CHUNK, gain)
        chunks = np.stack([mel[:, start - starts[0] : start - starts[0] + CHUNK] for start in starts])
        return self.statistics.hear(torch.from_numpy(chunks)[:, None].to(self.device)).cpu().numpy()

    def nats(self, seen: np.ndarray, heard: np.ndarray) -> np.ndarray:
        """T [N] of windows and their sounds, unit vectors [N, C] each."""
        scale, bias = (float(value.detach()) for value in (self.statistics.log_scale, self.statistics.bias))
        return math.exp(scale) * (seen * heard).sum(1) + bias


class Look:
    """What an estimator sees of one face, picture by picture, before the sound is asked for: `add` each, then `nats`.

    Memory: a few windows; vectors lie in a file (386 bytes a picture).
    """

    def __init__(self, estimator: Estimator) -> None:
        self.estimator = estimator
        self.held: deque[np.ndarray | None] = deque(maxlen=SPAN)
        self.waiting: list[np.ndarray] = []
        self.there = bytearray()  # of each window, whether all its pictures show the face
        self.vectors = Samples(np.float16)

    def add(self, face: np.ndarray | None) -> None:
        """The next picture's face, uint8 RGB [S, S, 3], None where it is not there."""
        self.held.append(None if face is None else face[face.shape[0] // 2 :])
        if len(self.held) < SPAN:
            return
        whole = [half for half in self.held if half is not None]
        self.there.append(len(whole) == SPAN)
        if self.there[-1]:
            self.waiting.append(np.stack(whole))
        if len(self.waiting) == BATCH:
            self._see()

    def __getstate__(self) -> dict[str, Any]:
        """As it goes to another process: what was seen, by the shipped estimator."""
        self._see()
        return {"there": bytes(self.there), "vectors": np.asarray(self.vectors)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(Estimator.load())  # type: ignore[misc]
        self.there = bytearray(state["there"])
        self.vectors.append(state["vectors"])

    def _see(self) -> None:
        if self.waiting:
            self.vectors.append(self.estimator.see(self.waiting).astype(np.float16).ravel())
            self.waiting = []

    def nats(self, wave: Wave) -> np.ndarray:
        """Nats float32 [windows] with a sound float32 [samples] at 16 kHz that begins with the first picture; NaN where unknown."""
        self._see()
        there, gain = np.flatnonzero(np.frombuffer(self.there, bool)), gain_of(wave)
        found = np.full(len(self.there), np.nan, np.float32)
        starts = [chunk_start(int(number), 0) for number in there]
        heard = sum(start + CHUNK <= columns(len(wave)) for start in starts)
        width = len(self.vectors) // max(len(there), 1)
        for first in range(0, heard, BATCH):
            last = min(first + BATCH, heard)
            seen = self.vectors[first * width : last * width].reshape(-1, width).astype(np.float32)
            found[there[first:last]] = self.estimator.nats(seen, self.estimator.hear(wave, starts[first:last], gain))
        return found


def faces_of(several: Iterable[Seen], size: int = 128) -> Iterator[np.ndarray | None]:
    """The face squares, uint8 RGB [S, S, 3], of pictures with tracked faces, as engines see them."""
    for seen in several:
        yield None if seen.square is None else cut(seen.picture, seen.square, size)


def mean(nats: np.ndarray) -> float:
    """A take's coherence: the mean over its windows that could be looked at, NaN where there is none."""
    return float(np.nanmean(nats)) if np.isfinite(nats).any() else float("nan")


@functools.cache
def _load() -> Estimator:
    preset = compact()
    statistics = StatisticsNetwork(preset.statistics, preset.model.size)
    statistics.load_state_dict(checkpoints.load(NAME, WEIGHTS), strict=True)
    return Estimator(statistics, (checkpoints.sha256(NAME, WEIGHTS),), preset.model.size)
