"""The scorer at work: mouths and sound in, a sync score out. Memory holds embeddings and one chunk of pictures only."""

import functools
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch.nn import functional as F

from infra.samples import Samples, Wave
from models import checkpoints
from models.corpus import MARGIN
from models.syncnet.network import FRAMES, SIZE, SyncConfig, SyncNetwork, cut_windows, log_mels, loudness
from models.syncnet.protocol import REACH, SECOND, Curve, certainty, curve_of
from models.types import FRAME_RATE, SAMPLE_RATE, SyncScore

CHUNK = 25  # windows a call of the network: more save no time, and their maps take half a MiB each
STRETCH = 1500  # windows whose sound is in memory at once
SHORTEST = 25  # frames that can be scored
AROUND = 15  # frames about speech that count as speech: the lips part before the sound and close after it


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

    def see(self, mouths: Iterable[np.ndarray]) -> np.ndarray:
        """Embeddings [T - 4, E] of grey mouths uint8 [S, S] in order (the mouth square grown by 1.25)."""
        return np.concatenate([np.zeros((0, SyncConfig().embedding), np.float32), *self.seen(mouths)])

    @torch.inference_mode()
    def seen(self, mouths: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """`see`, CHUNK windows at a time."""
        for chunk in _overlapping(mouths, CHUNK + FRAMES - 1, FRAMES - 1):
            pictures = torch.from_numpy(chunk).float()[:, None] / 255.0
            edge = round(pictures.shape[-1] * (1 - 1 / MARGIN) / 2)
            pictures = F.interpolate(pictures[:, :, edge:-edge, edge:-edge], size=(SIZE, SIZE), mode="bilinear", antialias=True)
            yield self.network.see(pictures[:, 0].unfold(0, FRAMES, 1).permute(0, 3, 1, 2)).numpy()

    @torch.inference_mode()
    def hear(self, wave: Wave, frames: int, first: int = 0, last: int | None = None, loud: float | None = None) -> np.ndarray:
        """Embeddings [last - first, E] of windows first..last, all by default, of the `frames` - 4 in a wave float32 [samples] at 16 kHz.

        loud: `loudness(wave, 4 * frames)`, where it is known already.
        """
        loud = loudness(wave, frames * 4) if loud is None else loud
        parts = [np.zeros((0, SyncConfig().embedding), np.float32)]
        for start in range(first, frames - FRAMES + 1 if last is None else last, CHUNK):
            stop = min(start + CHUNK + FRAMES - 1, frames if last is None else last + FRAMES - 1)
            rows = log_mels(wave, frames * 4, start * 4, stop * 4, loud)
            _, heard = cut_windows(torch.zeros(1, FRAMES, 1, 1), torch.from_numpy(rows)[None])
            parts.append(self.network.hear(heard).numpy())
        return np.concatenate(parts)

    def curve(self, mouths: Iterable[np.ndarray], wave: Wave) -> Curve:
        """The distance curve of mouths uint8 [T, S, S] and their sound, with every window in it."""
        video = self.see(mouths)
        audio = self.hear(wave, min(len(video) + FRAMES - 1, -(-len(wave) * FRAME_RATE // SAMPLE_RATE)))
        return curve_of(video[: len(audio)], audio)

    def score(self, mouths: Iterable[np.ndarray], wave: Wave, **marks: np.ndarray | None) -> SyncScore:
        """Score mouths uint8 [T, S, S], any iterable of frames at 25 a second, with their sound, float32 [samples] at 16 kHz.

        marks: as in `score_embeddings`.
        """
        return self.score_embeddings(self.see(mouths), wave, **marks)

    def score_embeddings(
        self, video: Wave, wave: Wave, *, present: np.ndarray | None = None, spoken: np.ndarray | None = None
    ) -> SyncScore:
        """Score embeddings [T - 4, E] of `see`, or those of hours flat in a file, with their sound, float32 [samples] at 16 kHz.

        present: bool [T], False where no face was seen. spoken: bool [T], True where a voice speaks; pauses longer than
        twice AROUND frames say nothing about sync. Windows that touch what is marked so are left out.
        """
        windows = len(video) // SyncConfig().embedding if isinstance(video, Samples) else len(video)
        frames = min(windows + FRAMES - 1, -(-len(wave) * FRAME_RATE // SAMPLE_RATE))
        count, least = frames - FRAMES + 1, SHORTEST - FRAMES + 1
        if count < least:
            return unscorable("shorter than a second", self.version)
        return self.score_curve(self._curve(video, wave, frames), present=present, spoken=spoken)

    def score_curve(self, curve: Curve, *, present: np.ndarray | None = None, spoken: np.ndarray | None = None) -> SyncScore:
        """The score of a distance curve, some of whose windows say nothing (`score_embeddings`), which become NaN in it."""
        count, least = len(curve.distances), SHORTEST - FRAMES + 1
        if count < least:
            return unscorable("shorter than a second", self.version)
        whole = np.ones(count, bool) if present is None else _whole(present, count)
        if whole.sum() < least:
            return unscorable("a face is seen for less than a second", self.version)
        if spoken is not None:
            whole &= _whole(np.convolve(spoken.astype(int), np.ones(2 * AROUND + 1, int), "same") > 0, count)
            if whole.sum() < least:
                return unscorable("a face is seen and a voice heard together for less than a second", self.version)
        curve.distances[~whole] = np.nan
        return score_of(curve, self.version, self.network.temperature)

    def _curve(self, video: Wave, wave: Wave, frames: int) -> Curve:
        """The distance curve of the first frames - 4 embeddings with their sound, which is heard a stretch at a time."""
        loud, count, width = loudness(wave, frames * 4), frames - FRAMES + 1, SyncConfig().embedding
        distances = np.empty((count, 2 * REACH + 1), np.float32)
        for start in range(0, count, STRETCH):
            low, high = max(0, start - REACH), min(count, start + STRETCH + REACH)
            shown = video[low * width : high * width].reshape(-1, width) if isinstance(video, Samples) else video[low:high]
            found = curve_of(shown, self.hear(wave, frames, low, high, loud))
            distances[start : start + STRETCH] = found.distances[start - low :][:STRETCH]
        return Curve(distances)


def _whole(frames: np.ndarray, count: int) -> np.ndarray:
    """Which of `count` windows hold only frames that are marked [T]."""
    return np.convolve(frames[: count + FRAMES - 1].astype(int), np.ones(FRAMES, int), "valid") == FRAMES


def unscorable(reason: str, version: str) -> SyncScore:
    """A score that says why there is none."""
    none = np.full(2 * REACH + 1, np.nan, np.float32)
    return SyncScore(0, float("nan"), float("nan"), none, np.zeros(0, np.float32), (), False, reason, version)


def score_of(curve: Curve, version: str, temperature: float) -> SyncScore:
    """The score that a distance curve gives, with offset and confidence of every second.

    `window_confidence` and the seconds' confidence are at offset 0, as the video plays. extra: `in_sync`, the probability that
    the offset is within a frame (`certainty`); `prominence`, how far the best offset stands out; `seconds`, how much was scored.
    """
    confidence = curve.window_confidence(0)
    first = np.arange(0, max(len(confidence) - SECOND // 2, 1), FRAME_RATE)  # what is left of a last second joins the one before
    seconds = tuple(_second(curve.distances[a:b], confidence[a:b]) for a, b in zip(first, [*first[1:], None], strict=True))
    in_sync = float(np.exp(certainty(curve.distances, temperature)[REACH - 1 : REACH + 2]).sum())
    scored = int(np.isfinite(confidence).sum() + FRAMES - 1) / FRAME_RATE
    extra = {"in_sync": in_sync, "prominence": curve.prominence, "seconds": scored}
    return SyncScore(curve.offset, curve.distance, curve.confidence, curve.mean, confidence, seconds, True, "", version, extra)


def _second(distances: np.ndarray, confidence: np.ndarray) -> tuple[int, float]:
    """Offset and confidence of a second's windows; (0, NaN) where less than half of it could be scored."""
    known = np.isfinite(confidence)
    if known.sum() < SECOND // 2:
        return 0, float("nan")
    return Curve(distances).offset, float(confidence[known].mean())


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
