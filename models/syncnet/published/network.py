"""The published network: both towers under their published state-dict keys (102 entries). Nothing is normalised, in or out.

B windows; a window is five colour frames of 224 x 224 and twenty rows of thirteen cepstra.
"""

import itertools
from collections.abc import Iterator

from torch import Tensor, nn

EMBEDDING, SIDE, FRAMES, ROWS, CEPSTRA = 1024, 224, 5, 20, 13


class PublishedSyncNet(nn.Module):
    """Lips and sound to embeddings whose distances are compared (SEEDS.md 5.4)."""

    def __init__(self) -> None:
        super().__init__()
        self.netcnnaud = nn.Sequential(
            *_heard(1, 64), nn.MaxPool2d(1, 1),
            *_heard(64, 192), nn.MaxPool2d(3, (1, 2)),
            *_heard(192, 384), *_heard(384, 256), *_heard(256, 256), nn.MaxPool2d(3, 2),
            *_heard(256, 512, (5, 4), 0),
        )  # fmt: skip
        self.netfcaud = _head()
        self.netcnnlip = nn.Sequential(
            *_seen(3, 96, (5, 7, 7), 2, 0), nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_seen(96, 256, (1, 5, 5), 2, 1), nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
            *itertools.chain.from_iterable(_seen(256, 256, (1, 3, 3), 1, 1) for _ in range(3)), nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_seen(256, 512, (1, 6, 6), 1, 0),
        )  # fmt: skip
        self.netfclip = _head()

    def see(self, windows: Tensor) -> Tensor:
        """Windows [B, 3, 5, 224, 224], blue, green, red from 0 to 255, to embeddings [B, 1024]."""
        made: Tensor = self.netfclip(self.netcnnlip(windows).flatten(1))
        return made

    def hear(self, windows: Tensor) -> Tensor:
        """Windows of cepstra [B, 1, 13, 20] to embeddings [B, 1024]."""
        made: Tensor = self.netfcaud(self.netcnnaud(windows).flatten(1))
        return made


def _heard(inputs: int, outputs: int, size: int | tuple[int, int] = 3, padding: int = 1) -> Iterator[nn.Module]:
    yield from (nn.Conv2d(inputs, outputs, size, padding=padding), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def _seen(inputs: int, outputs: int, size: tuple[int, int, int], stride: int, padding: int) -> Iterator[nn.Module]:
    conv = nn.Conv3d(inputs, outputs, size, (1, stride, stride), (0, padding, padding))
    yield from (conv, nn.BatchNorm3d(outputs), nn.ReLU(inplace=True))


def _head() -> nn.Sequential:
    return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, EMBEDDING))
