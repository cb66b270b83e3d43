"""The published scorer: processor seconds against the published order, with the same scores. `dubwright bench syncnet`.

No weights come with it, so deterministic ones serve (benchmarks/deterministic.py): times do not hang on their values. Both orders get
the same faces and the same sound, without gradients, on one thread; reading video and the JPEG step are left out of both.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks import rows
from benchmarks.deterministic import fill
from models.syncnet.published.features import cepstra, whole_samples
from models.syncnet.published.network import FRAMES, ROWS, SIDE, PublishedSyncNet
from models.syncnet.published.protocol import REACH, PublishedScore, score_of
from models.syncnet.published.scorer import PublishedScorer

ROUNDS, WINDOWS, BATCH = 5, 40, 20  # BATCH: the published one
SAME = 1e-4  # of the least distance: how far any of the 31 mean distances may be from the published order's


def run(*, rounds: int = ROUNDS, windows: int = WINDOWS) -> dict[str, Any]:
    """Every figure. Fewer rounds and windows are quicker and less exact. Raises RuntimeError where the scores are not the same."""
    threads = torch.get_num_threads()
    network = fill(PublishedSyncNet(), "")
    assert isinstance(network, PublishedSyncNet)
    scorer, (faces, wave) = PublishedScorer(network, "deterministic", torch.device("cpu")), clip(windows + FRAMES)
    old, new, apart = [], [], 0.0
    torch.set_num_threads(1)
    try:
        in_published_order(network, faces[: FRAMES + 2], wave), scorer.score(faces, wave)
        for _ in range(rounds):
            expected, before = _worked(lambda: in_published_order(network, faces, wave))
            found, after = _worked(lambda: scorer.score(faces, wave))
            apart = max(apart, float(np.abs(found.distances - expected.distances).max() / expected.distance))
            if apart > SAME or found.offset != expected.offset:
                raise RuntimeError(f"the scores are not those of the published order ({apart:.2g}), so nothing is measured")
            old.append(before / windows)
            new.append(after / windows)
    finally:
        torch.set_num_threads(threads)
    ratios = [after / before for before, after in zip(old, new, strict=True)]
    rows.add({"syncnet_cpu_seconds_ratio": ("ratio", ratios), "syncnet_window": ("s/window", new), "syncnet_published_window": ("s/window", old)})
    figures = {"cpu_seconds_ratio": statistics.median(ratios), "window_seconds": min(new), "published_window_seconds": min(old), "scores_apart": apart}
    return {"figures": {name: float(f"{value:.5g}") for name, value in figures.items()}, "rounds": rounds, "windows": windows}


def clip(frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Faces uint8 [T, 224, 224, 3] that are noise in large grains, and as much of a sound that is noise."""
    random = np.random.default_rng(0)
    small = torch.from_numpy(random.integers(0, 256, (frames, 3, 14, 14)).astype(np.float32))
    faces = F.interpolate(small, size=SIDE, mode="bilinear").round().to(torch.uint8).permute(0, 2, 3, 1)
    return faces.contiguous().numpy(), random.normal(0, 0.1, frames * 640).astype(np.float32)


@torch.inference_mode()
def in_published_order(network: PublishedSyncNet, faces: np.ndarray, wave: np.ndarray) -> PublishedScore:
    """A clip's score as the published code reckons it: every window cut out, twenty through both towers at a time, distances one by one."""
    # [H, W, 3, T] to [1, 3, T, H, W]
    pictures = torch.from_numpy(np.stack(list(faces), axis=3)[None].transpose(0, 3, 4, 1, 2).astype(float)).float()
    heard = torch.from_numpy(cepstra(whole_samples(wave)).T[None, None].astype(float)).float()
    count = min(len(faces), len(wave) // 640) - FRAMES
    seen, sounds = [], []
    for start in range(0, count, BATCH):
        some = range(start, min(count, start + BATCH))
        seen.append(network.see(torch.cat([pictures[:, :, at : at + FRAMES] for at in some])))
        sounds.append(network.hear(torch.cat([heard[..., at * 4 : at * 4 + ROWS] for at in some])))
    video, audio = torch.cat(seen), F.pad(torch.cat(sounds), (0, 0, REACH, REACH))
    offsets = 2 * REACH + 1
    return score_of(torch.stack([F.pairwise_distance(video[[i]].repeat(offsets, 1), audio[i : i + offsets]) for i in range(count)]).numpy())


def _worked(call: Callable[[], PublishedScore]) -> tuple[PublishedScore, float]:
    """What a call gives, and the seconds that the process worked for it."""
    started = time.process_time()
    return call(), time.process_time() - started
