"""The scorer at work: mouths and sound in, a sync score out. Memory holds embeddings and one chunk of pictures only."""

import functools
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch.nn import functional as F

from models import checkpoints
from models.corpus import MARGIN
from models.syncnet.network import FRAMES, SIZE, SyncConfig, SyncNetwork, log_mels
from models.syncnet.protocol import Curve, curve_of
from models.syncnet.train import cut_windows
from models.types import FRAME_RATE, SAMPLE_RATE, SyncScore

CHUNK = 100  # windows a call of the network
SHORTEST = 25  # frames that can be scored


class SyncScorer:
    """The `compact` scorer. Get it by `load`; not safe to share between threads."""

    def __init__(self, network: SyncNetwork, version: str) -> None:
        self.network, self.version = network.eval(), version

    @classmethod
    def load(cls, preset: str = "compact") -> "SyncScorer":
        """The scorer with its shipped weights, kept for the life of the process. Raises WeightsError, ValueError."""
        if preset != "compact":
            raise ValueError(f"the scorer has the preset 'compact', not {preset!r}")
        return _load()

    @torch.inference_mode()
    def see(self, mouths: Iterable[np.ndarray]) -> np.ndarray:
        """Embeddings [T - 4, E] of grey mouths uint8 [S, S] in order (the mouth square grown by 1.25)."""
        parts = [np.zeros((0, SyncConfig().embedding), np.float32)]
        for chunk in _overlapping(mouths, CHUNK + FRAMES - 1, FRAMES - 1):
            pictures = torch.from_numpy(chunk).float()[:, None] / 255.0
            edge = round(pictures.shape[-1] * (1 - 1 / MARGIN) / 2)
            pictures = F.interpolate(pictures[:, :, edge:-edge, edge:-edge], size=(SIZE, SIZE), mode="bilinear", antialias=True)
            parts.append(self.network.see(pictures[:, 0].unfold(0, FRAMES, 1).permute(0, 3, 1, 2)).numpy())
        return np.concatenate(parts)

    @torch.inference_mode()
    def hear(self, wave: np.ndarray, frames: int) -> np.ndarray:
        """Embeddings [frames - 4, E] of a wave float32 [samples] at 16 kHz."""
        rows = log_mels(wave, frames * 4)
        parts = [np.zeros((0, SyncConfig().embedding), np.float32)]
        for start in range(0, frames - FRAMES + 1, CHUNK):
            stop = min(start + CHUNK + FRAMES - 1, frames)
            _, heard = cut_windows(torch.zeros(1, FRAMES, 1, 1), torch.from_numpy(rows[start * 4 : stop * 4])[None])
            parts.append(self.network.hear(heard).numpy())
        return np.concatenate(parts)

    def score(self, mouths: Iterable[np.ndarray], wave: np.ndarray) -> SyncScore:
        """Score mouths uint8 [T, S, S] (any iterable of frames at 25 a second) against their sound, float32 [samples] at 16 kHz."""
        return self.score_embeddings(self.see(mouths), wave)

    def score_embeddings(self, video: np.ndarray, wave: np.ndarray, present: np.ndarray | None = None) -> SyncScore:
        """Score embeddings [T - 4, E] of `see`. present: bool [T], False where no face was seen; such windows are left out."""
        audio = self.hear(wave, min(len(video) + FRAMES - 1, -(-len(wave) * FRAME_RATE // SAMPLE_RATE)))
        if min(len(video), len(audio)) < SHORTEST - FRAMES + 1:
            return unscorable("shorter than a second", self.version)
        curve = curve_of(video[: len(audio)], audio)
        if present is not None:
            whole = np.convolve(present.astype(int), np.ones(FRAMES, int), "valid")[: len(curve.distances)] == FRAMES
            if whole.sum() < SHORTEST - FRAMES + 1:
                return unscorable("a face is seen for less than a second", self.version)
            curve.distances[~whole] = np.nan
        return score_of(curve, self.version)


def unscorable(reason: str, version: str) -> SyncScore:
    """A score that says why there is none."""
    none = np.full(31, np.nan, np.float32)
    return SyncScore(0, float("nan"), float("nan"), none, np.zeros(0, np.float32), (), False, reason, version)


def score_of(curve: Curve, version: str) -> SyncScore:
    """The score that a distance curve gives, with offset and confidence of every second."""
    offset = curve.offset
    confidence = curve.window_confidence(0)
    seconds = []
    for start in range(0, len(curve.distances), FRAME_RATE):
        part = Curve(curve.distances[start : start + FRAME_RATE])
        if np.isfinite(part.distances).any(axis=0).all():
            seconds.append((part.offset, float(np.nanmean(confidence[start : start + FRAME_RATE]))))
        else:
            seconds.append((0, float("nan")))
    return SyncScore(offset, curve.distance, curve.confidence, curve.mean, confidence, tuple(seconds), True, "", version)


def _overlapping(items: Iterable[np.ndarray], size: int, overlap: int) -> Iterator[np.ndarray]:
    held: list[np.ndarray] = []
    fresh = 0
    for item in items:
        held.append(item)
        fresh += 1
        if len(held) == size:
            yield np.stack(held)
            held, fresh = held[-overlap:], 0
    if fresh and len(held) > overlap:
        yield np.stack(held)


@functools.cache
def _load() -> SyncScorer:
    network = SyncNetwork(SyncConfig())
    network.load_state_dict(checkpoints.load("syncnet", "compact"))
    return SyncScorer(network, checkpoints.sha256("syncnet", "compact"))
