"""Samples of a sound that lie in a file and read like an array: hours of speech take no memory but the slice at hand.

Not a format: the file is anonymous and goes with the object. Pages of a memory map would count as the process's own; reads do not.
"""

import os
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

BLOCK = 1 << 18  # samples read at a time where all are wanted


class Samples:
    """One-dimensional, written once from front to end, then sliced. `np.asarray` reads it whole."""

    ndim = 1

    def __init__(self, dtype: Any, blocks: Iterable[np.ndarray] = ()) -> None:
        self.dtype, self.size = np.dtype(dtype), 0
        self._file = tempfile.TemporaryFile(prefix="dubwright-sound-")  # noqa: SIM115 (it lives as long as the object)
        for block in blocks:
            self.append(block)

    def append(self, block: np.ndarray) -> None:
        """Add samples at the end."""
        self._file.seek(0, os.SEEK_END)
        self._file.write(np.ascontiguousarray(block, self.dtype).data)
        self._file.flush()
        self.size += len(block)

    @property
    def shape(self) -> tuple[int]:
        """As an array's."""
        return (self.size,)

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, part: slice) -> np.ndarray:
        start, stop, step = part.indices(self.size)
        if step != 1:
            raise ValueError("samples in a file are read in runs")
        count = max(0, stop - start)
        data = os.pread(self._file.fileno(), count * self.dtype.itemsize, start * self.dtype.itemsize)
        return np.frombuffer(data, self.dtype)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        whole = self[:]
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def blocks(self) -> Iterator[np.ndarray]:
        """All of it, block by block."""
        return blocks_of(self)


Wave = np.ndarray | Samples  # a sound, in memory or in a file


def blocks_of(wave: Wave, size: int = BLOCK) -> Iterator[np.ndarray]:
    """A sound's samples, block by block."""
    for start in range(0, len(wave), size):
        yield wave[start : start + size]


def loudest(wave: Wave) -> float:
    """The largest absolute sample; 0 where there is none."""
    return max((float(max(block.max(), -block.min())) for block in blocks_of(wave)), default=0.0)
