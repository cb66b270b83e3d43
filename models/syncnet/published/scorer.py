"""The published scorer at work: faces 224 x 224 and sound in, LSE-D and LSE-C out. Memory holds embeddings and a batch of pictures.

Weights are the user's own: `dubwright models import syncnet`. Numbers compare only with those of videos that the same build
scored: decoders, crops and JPEG steps move them (SEEDS.md 5.3: one model's figures differ by 0.8 from user to user).
"""

import functools
from collections.abc import Iterable

import numpy as np
import torch

from infra.samples import Wave
from models import checkpoints
from models.device import best_device
from models.syncnet.published.cpu import FastSyncNet, runs_here
from models.syncnet.published.features import sound_windows, windows_in
from models.syncnet.published.network import EMBEDDING, FRAMES, PublishedSyncNet
from models.syncnet.published.protocol import REACH, PublishedScore, distances_of, score_of, unscorable

ENGINE, NAME = "syncnet", "published"  # of the imported weights
BATCH = 20  # windows a call of the network
STRETCH = 240  # windows that are matched with their sound at once


def installed() -> bool:
    """Whether a user has imported the published weights."""
    return checkpoints.place(ENGINE, NAME).exists()


class PublishedScorer:
    """The published scorer. Get it by `load`; not safe to share between threads."""

    def __init__(self, network: PublishedSyncNet, version: str, device: torch.device | None = None) -> None:
        self.device = device or best_device()
        self.network, self.version = network.eval().to(self.device), version
        self.fast = FastSyncNet(network) if self.device.type == "cpu" and runs_here() else None

    @classmethod
    def load(cls) -> "PublishedScorer":
        """The scorer with the imported weights, kept for the life of the process. Raises WeightsError."""
        return _load()

    @torch.inference_mode()
    def see(self, faces: np.ndarray) -> np.ndarray:
        """Embeddings [T - 4, 1024] of faces uint8 [T, 224, 224, 3], blue, green, red, at 25 a second."""
        run = torch.from_numpy(faces).to(self.device)
        if self.fast is not None:
            return np.asarray(self.fast.see(run).numpy())
        found = self.network.netcnnlip(run.permute(3, 0, 1, 2)[None].float())[0, :, :, 0, 0]  # the time axis makes the windows
        return np.asarray(self.network.netfclip(found.T).cpu().numpy())

    @torch.inference_mode()
    def hear(self, wave: Wave, first: int, last: int, origin: int = 0) -> np.ndarray:
        """Embeddings [last - first, 1024] of windows first..last-1 of a clip whose sound, float32 at 16 kHz, begins at sample `origin`."""
        parts = [np.zeros((0, EMBEDDING), np.float32)]
        for start in range(first, last, BATCH):
            windows = sound_windows(wave, start, min(start + BATCH, last), origin)
            parts.append(self.heard(windows))
        return np.concatenate(parts)

    @torch.inference_mode()
    def heard(self, windows: torch.Tensor) -> np.ndarray:
        """Embeddings [B, 1024] of windows [B, 1, 13, 20] as `sound_windows` gives them."""
        if self.fast is not None:
            return np.asarray(self.fast.hear(windows).numpy())
        return np.asarray(self.network.hear(windows.to(self.device)).cpu().numpy())

    def score(self, faces: Iterable[np.ndarray], wave: Wave) -> PublishedScore:
        """Score faces uint8 [224, 224, 3], blue, green, red, at 25 a second with their sound, float32 [samples] at 16 kHz."""
        lane = Lane(self, wave)
        for face in faces:
            lane.add(face)
        return lane.score()


class Lane:
    """One clip while it is scored, face by face; it holds the embeddings of a stretch, and 31 distances a window.

    origin: the sample of the sound, float32 at 16 kHz, that the clip begins with.
    """

    def __init__(self, scorer: PublishedScorer, wave: Wave, origin: int = 0) -> None:
        self.scorer, self.wave, self.origin = scorer, wave, origin
        self.faces: list[np.ndarray] = []
        self.video = np.zeros((0, EMBEDDING), np.float32)  # of windows base and on
        self.base = self.frames = 0
        self.distances: list[np.ndarray] = []
        self.done = 0  # windows that have distances

    def add(self, face: np.ndarray) -> None:
        """The next face uint8 [224, 224, 3]."""
        self.faces.append(face)
        self.frames += 1
        if len(self.faces) == BATCH + FRAMES - 1:
            self._see()
            while self.base + len(self.video) > self.done + STRETCH + REACH:  # one more: the last window of a clip is not scored
                self._match(self.done + STRETCH, windows_in(self.frames, self._samples()))

    def score(self) -> PublishedScore:
        """The score of what was added."""
        count = windows_in(self.frames, self._samples())
        if count < 1:
            return unscorable(f"shorter than {FRAMES + 1} frames")
        self._see()
        self._match(count, count)
        return score_of(np.concatenate(self.distances)[:count])

    def _samples(self) -> int:
        return len(self.wave) - self.origin

    def _see(self) -> None:
        if len(self.faces) >= FRAMES:
            self.video = np.concatenate([self.video, self.scorer.see(np.stack(self.faces))])
            self.faces = self.faces[1 - FRAMES :]

    def _match(self, stop: int, count: int) -> None:
        """Distances of windows up to `stop` of a clip of `count` windows, as far as is known."""
        stop = min(stop, count)
        if stop <= self.done:
            return
        last = min(count, stop + REACH)
        heard = self.scorer.hear(self.wave, self.base, last, self.origin)
        found = distances_of(self.video[: last - self.base], heard)
        self.distances.append(found[self.done - self.base : stop - self.base])
        keep = max(0, stop - REACH)
        self.video, self.base, self.done = self.video[keep - self.base :], keep, stop


@functools.cache
def _load() -> PublishedScorer:
    network = PublishedSyncNet()
    network.load_state_dict(checkpoints.load(ENGINE, NAME))
    return PublishedScorer(network, checkpoints.sha256(ENGINE, NAME))
