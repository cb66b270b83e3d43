"""How much lips tell of their sound, in nats a window of five pictures: the statistics network at work.

T of a window and its own sound is an estimate of their pointwise mutual information (information.py): above 0 where they are likelier
together than apart. It is a second opinion beside the scorer, never in its place: its network teaches the generator of `coherence`,
whose takes it therefore likes better than they deserve.
"""

import functools
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
import torch

from infra.samples import Wave
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
        windows, gain = self._windows(faces, wave), gain_of(wave)
        found: list[float] = []
        while several := list(islice(windows, BATCH)):
            found += self._nats(several, wave, gain)
        return np.array(found, np.float32)

    def _windows(self, faces: Iterable[np.ndarray | None], wave: Wave) -> Iterator[tuple[np.ndarray | None, int]]:
        """Each window's lower halves uint8 [5, S / 2, S, 3], or None, and the mel column that it starts with."""
        held: deque[np.ndarray | None] = deque(maxlen=SPAN)
        for number, face in enumerate(faces):
            held.append(None if face is None else face[face.shape[0] // 2 :])
            if number < SPAN - 1:
                continue
            whole, start = [half for half in held if half is not None], chunk_start(number - SPAN + 1, 0)
            there = len(whole) == SPAN and start + CHUNK <= columns(len(wave))
            yield np.stack(whole) if there else None, start

    @torch.inference_mode()
    def _nats(self, several: list[tuple[np.ndarray | None, int]], wave: Wave, gain: float) -> list[float]:
        there = [(halves, start) for halves, start in several if halves is not None]
        if not there:
            return [np.nan] * len(several)
        first = there[0][1]
        mel = mel_columns(wave, first, there[-1][1] + CHUNK, gain)
        chunks = np.stack([mel[:, start - first : start - first + CHUNK] for _, start in there])
        halves = torch.from_numpy(np.stack([halves for halves, _ in there])[..., ::-1].copy()).permute(0, 1, 4, 2, 3)
        seen = self.statistics.see(halves.to(self.device).float() / 127.5 - 1)
        heard = self.statistics.hear(torch.from_numpy(chunks)[:, None].to(self.device))
        found = iter((self.statistics.log_scale.exp() * (heard * seen).sum(1) + self.statistics.bias).tolist())
        return [np.nan if halves is None else next(found) for halves, _ in several]


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
