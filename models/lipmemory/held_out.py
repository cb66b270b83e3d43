"""How good a lipmemory renderer is in training: true heads, sound alone for the lips, on clips that it never saw."""

import copy

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from models.corpus import MARGIN, Clip, Corpus
from models.lipmemory.align import rigid, similarity
from models.lipmemory.mel import CHUNK, chunk_start
from models.lipmemory.networks import FaceRenderer, lower_half
from models.lipmemory.samples import LIPS, mel_of


@torch.no_grad()
def gains(model: FaceRenderer, corpus: Corpus, every: int = 9, limit: int = 12) -> dict[str, float]:
    """PSNR in dB of what is drawn over holding the first frame, of the face square and of the mouth, mean over clips.

    Drawn lower halves are put under the real upper halves, as a re-dub does.
    """
    model, found = copy.deepcopy(model).cpu(), []
    for clip in corpus.clips[:limit]:
        where = np.arange(every, clip.frames, every)
        made, held, target = rendered(model, corpus, clip, where)
        box = _mouth_box(np.asarray(corpus.landmarks[clip.first_frame]), made.shape[-1])
        found.append([_gain(made, held, target), _gain(*(x[..., box[0] : box[1], box[2] : box[3]] for x in (made, held, target)))])
    whole, mouth = np.mean(found, axis=0)
    return {"psnr_gain_db": round(float(whole), 3), "mouth_psnr_gain_db": round(float(mouth), 3)}


def rendered(model: FaceRenderer, corpus: Corpus, clip: Clip, where: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
    """Frames of a cached clip drawn from its first one, that first one held, and the real ones, each [N, 3, S, S] in [-1, 1]."""
    size = model.config.size
    edge = round(corpus.face.shape[1] * (1 - 1 / MARGIN) / 2)
    marks = rigid(np.asarray(corpus.landmarks[corpus.frames_of(clip)]))
    faces = np.asarray(corpus.face[clip.first_frame + where])[..., ::-1].copy()
    target = (torch.from_numpy(faces).permute(0, 3, 1, 2).float() / 127.5 - 1)[..., edge : edge + size, edge : edge + size]
    first = torch.from_numpy(np.asarray(corpus.face[[clip.first_frame]])[..., ::-1].copy()).permute(0, 3, 1, 2).float() / 127.5 - 1
    change = torch.from_numpy(similarity(marks[where], np.repeat(marks[:1], len(where), 0))).float()
    flow = F.affine_grid(change, [len(where), 3, size, size], align_corners=False) / MARGIN
    moved = F.grid_sample(first.expand(len(where), -1, -1, -1), flow, padding_mode="border", align_corners=False)
    mel = mel_of(corpus, clip)
    starts = [min(chunk_start(int(i)), mel.shape[1] - CHUNK) for i in where]
    mels = torch.from_numpy(np.stack([mel[:, s : s + CHUNK] for s in starts]))[:, None]
    made = lower_half(model(mels, target, moved))
    held = first[..., edge : edge + size, edge : edge + size].expand(len(where), -1, -1, -1)
    return torch.cat([target[:, :, : size // 2], made], 2), held, target


def windows_of(corpus: Corpus, clip: Clip) -> tuple[Tensor, Tensor]:
    """A cached clip's windows of five lower halves [N, 5, 3, S / 2, S], and the mel chunks [N, 1, 80, 16] that start with each."""
    edge = round(corpus.face.shape[1] * (1 - 1 / MARGIN) / 2)
    faces = np.asarray(corpus.face[corpus.frames_of(clip)])[..., ::-1][:, edge:-edge, edge:-edge].copy()
    halves = lower_half(torch.from_numpy(faces).permute(0, 3, 1, 2).float() / 127.5 - 1)
    mel = mel_of(corpus, clip)
    chunks = [mel[:, s : s + CHUNK] for i in range(clip.frames - 4) if (s := chunk_start(i, 0)) + CHUNK <= mel.shape[1]]
    windows = halves.unfold(0, 5, 1).permute(0, 4, 1, 2, 3)[: len(chunks)]
    return windows, torch.from_numpy(np.stack(chunks))[:, None]


def _mouth_box(landmarks: np.ndarray, size: int) -> tuple[int, int, int, int]:
    """Top, bottom, left, right of the mouth region: 1.6 mouth widths wide, as tall; unit landmarks of a face square."""
    lips = (landmarks[list(LIPS), :2] + 1) / 2 * size
    (x, y), half = lips.mean(0), 0.8 * float(np.linalg.norm(lips[0] - lips[1]))
    return int(y - 0.8 * half), int(y + 1.2 * half), int(x - half), int(x + half)


def _gain(made: Tensor, held: Tensor, target: Tensor) -> float:
    return float((_psnr(made, target) - _psnr(held, target)).mean())


def _psnr(made: Tensor, target: Tensor) -> Tensor:
    return -10 * torch.log10(((made - target) / 2).square().flatten(1).mean(1).clamp_min(1e-10))
