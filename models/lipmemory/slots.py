"""The memory explained: which phones address which slots, and what lips a slot holds."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from models.avct.phonemes import PHONES, SIL, index
from models.lipmemory.mel import chunks, levelled
from models.lipmemory.networks import Renderer
from models.types import FRAME_RATE, SAMPLE_RATE, Phone


def phone_of_frames(phones: Iterable[Phone], frames: int) -> np.ndarray:
    """Index of the phone heard in the middle of each frame [frames]; silence where there is none."""
    found = np.full(frames, SIL)
    middles = (np.arange(frames) + 0.5) / FRAME_RATE
    for phone in phones:
        found[(middles >= phone.start) & (middles < phone.end)] = index(phone.symbol)
    return found


@torch.inference_mode()
def addresses(renderer: Renderer, heard: Iterable[tuple[np.ndarray, tuple[Phone, ...]]]) -> tuple[np.ndarray, np.ndarray]:
    """Mean key address of each phone float [41, slots] and how many frames of it there were [41].

    heard: waves float32 at 16 kHz, each with its phones.
    """
    device = next(renderer.parameters()).device
    total, count = np.zeros((len(PHONES), renderer.config.slots)), np.zeros(len(PHONES), int)
    for wave, phones in heard:
        frames = len(wave) * FRAME_RATE // SAMPLE_RATE
        address = renderer.recall(renderer.audio(torch.from_numpy(chunks(levelled(wave), np.arange(frames) / FRAME_RATE))[:, None].to(device))).address.cpu()
        names = phone_of_frames(phones, frames)
        np.add.at(total, names, address.numpy())
        np.add.at(count, names, 1)
    return total / np.maximum(count, 1)[:, None], count


@torch.inference_mode()
def held(renderer: Renderer, target: Tensor, reference: Tensor, mels: Tensor, slots: list[int], gain: float = 1.0) -> Tensor:
    """The lips that slots hold: faces drawn [N, 3, H, S] when what is recalled is one slot's value alone.

    target, reference [1, 3, S, S]: the face that shows them. mels [M, 1, 80, 16]: sounds whose mean feature takes the place of
    what is heard, so that slots differ by what they hold alone. gain: how much further from all slots' mean than each is.
    """
    audio = renderer.audio(mels).mean(0, keepdim=True).expand(len(slots), -1)
    fused = renderer.memory.fuse(audio, renderer.memory.values[slots])
    fused = fused.mean(0) + gain * (fused - fused.mean(0))
    skips = [skip.expand(len(slots), -1, -1, -1) for skip in renderer.look(target, reference)]
    return renderer.draw(fused, skips, reference.expand(len(slots), -1, -1, -1)).whole


def ordered(table: np.ndarray, most: int) -> list[int]:
    """The `most` slots that phones address most, each phone counted once, by the phone that addresses each most."""
    used = np.argsort(-table.sum(0))[:most]
    return sorted(used.tolist(), key=lambda slot: (int(table[:, slot].argmax()), -float(table[:, slot].max())))
