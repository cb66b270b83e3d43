"""Samples of a sound that lie in a file and read like an array: hours of speech take no memory but the slice at hand.

Not a format: the file is anonymous and goes with the object. Pages of a memory map would count as the process's own; reads do not.
"""

import os
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

BLOCK = 1 << 18  # samples read at a time where all are wanted
LONG = 1 << 21  # samples from which a sound lies in a file: two minutes at 16 kHz; more than any sound that is read has rows at 100 Hz


class Samples:
    """One-dimensional; grows at its end; slices are copies, and slices are assigned to. `np.asarray` reads it whole."""

    ndim = 1

    def __init__(self, dtype: Any, blocks: Iterable[np.ndarray] = ()) -> None:
        self.dtype, self.size = np.dtype(dtype), 0
        self._file = tempfile.TemporaryFile(prefix="dubwright-sound-")  # noqa: SIM115 (it lives as long as the object)
        for block in blocks:
            self.append(block)

    def append(self, block: np.ndarray) -> None:
        """Add samples at the end."""
        start = self.size
        self.grow(start + len(block))
        self[start:] = block

    def grow(self, size: int) -> None:
        """Make it at least so long, by zeros at its end."""
        if size > self.size:
            os.ftruncate(self._file.fileno(), size * self.dtype.itemsize)
            self.size = size

    @property
    def shape(self) -> tuple[int]:
        """As an array's."""
        return (self.size,)

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, part: slice) -> np.ndarray:
        start, count = self._run(part)
        values = np.empty(count, self.dtype)
        done = os.preadv(self._file.fileno(), [values.view(np.uint8).data], start * self.dtype.itemsize)
        return values[: done // self.dtype.itemsize]

    def __setitem__(self, part: slice, values: np.ndarray) -> None:
        start, count = self._run(part)
        if len(values) != count:
            raise ValueError(f"{len(values)} samples do not go where {count} are")
        view = np.ascontiguousarray(values, self.dtype).view(np.uint8).data
        at = start * self.dtype.itemsize
        while len(view):
            done = os.pwrite(self._file.fileno(), view, at)
            view, at = view[done:], at + done

    def _run(self, part: slice) -> tuple[int, int]:
        start, stop, step = part.indices(self.size)
        if step != 1:
            raise ValueError("samples in a file are read in runs")
        return start, max(0, stop - start)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        whole = self[:]
        return whole if dtype is None else whole.astype(dtype, copy=False)


Wave = np.ndarray | Samples  # a sound, in memory or in a file


def silence(count: int, dtype: Any) -> Wave:
    """Zeros to be written to, in a file where they are many."""
    if count <= LONG:
        return np.zeros(count, dtype)
    made = Samples(dtype)
    made.grow(count)
    return made


def settled(wave: Samples) -> Wave:
    """A sound that is finished: in memory where it is short enough."""
    return wave if len(wave) > LONG else np.asarray(wave)


def blocks_of(wave: Wave, size: int = BLOCK) -> Iterator[np.ndarray]:
    """A sound's samples, block by block."""
    for start in range(0, len(wave), size):
        yield wave[start : start + size]


def delayed(wave: Wave, samples: int) -> Wave:
    """A sound that begins so many samples later, or without its first ones where that is negative."""
    if isinstance(wave, np.ndarray):
        return np.pad(wave, (samples, 0)) if samples > 0 else wave[-samples:]
    made = Samples(wave.dtype)
    made.grow(max(0, samples))
    for start in range(max(0, -samples), len(wave), BLOCK):
        made.append(wave[start : start + BLOCK])
    return made


def loudest(wave: Wave) -> float:
    """The largest absolute sample; 0 where there is none."""
    return max((float(max(block.max(), -block.min())) for block in blocks_of(wave)), default=0.0)


def mix(out: Wave, start: int, made: Wave) -> None:
    """Add int16 samples to `out` at sample `start`; what lies past its end is left out."""
    for at in range(0, min(len(made), max(0, len(out) - start)), BLOCK):
        here = slice(start + at, min(start + at + BLOCK, start + len(made), len(out)))
        added = out[here].astype(np.int32) + made[at : at + here.stop - here.start]
        out[here] = np.clip(added, -32768, 32767).astype(np.int16)
