"""Composition at the portrait's own resolution: the motion is applied to the picture itself, generated pixels fill in.

The networks see the face square at 128 px. Their flow is applied to the square at the size that it has in the portrait, the
painted pixels are blended in by alpha, and both fade to nothing towards the square's border, so that the rest of the portrait
stays as it is (DESIGN.md, decision 5). Lips and skin that are painted as the warp moved them keep the portrait's fine detail.
"""

import functools
from collections.abc import Iterator

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from kernels.dense_warp import picture_warp
from kernels.switch import kernels_run
from models.faces.crop import Square, cut

TEETH_OVER_SKIN = (0.1, 0.15)  # how much closer to neutral teeth are than the skin around them, in green and blue over red: ten speakers of GRID
FINEST = 1.2  # finest detail that painted pixels hold, as the spread of a blur in the networks' pixels
ALIKE = 20.0  # grey levels by which painted and moved pixels of one thing may differ once they are blurred
USED = 0.02  # alpha below which painting is not seen
NONE = np.empty((0, 0), np.float32)  # the second map, where the first holds both axes
FADE = 0.16  # width of the fade at the square's border, as a part of its half side


class Canvas:
    """A portrait ready to be moved: `small` float32 [S, S, 3] in [0, 1] is what the networks see."""

    def __init__(self, picture: np.ndarray, square: Square, size: int, *, relight: bool = True) -> None:
        self.picture = picture
        self.planes: Tensor | None = None  # the picture on a GPU, [1, 3, H, W] in [0, 1]
        self.small = cut(picture, square, size).astype(np.float32) / 255.0
        height, width = picture.shape[:2]
        low_x, low_y = np.floor([square.x - square.side / 2, square.y - square.side / 2]).astype(int)
        high_x, high_y = np.ceil([square.x + square.side / 2, square.y + square.side / 2]).astype(int)
        self.left, self.top = max(0, int(low_x)), max(0, int(low_y))
        self.right, self.bottom = min(width, int(high_x)), min(height, int(high_y))
        xs, ys = np.meshgrid(np.arange(self.left, self.right) + 0.5, np.arange(self.top, self.bottom) + 0.5)
        unit = square.to_unit(np.stack([xs, ys], -1)).astype(np.float32)
        self.square, self.side = square, square.side
        self.finer = float(np.clip(square.side / size - 1, 0, 1))  # how much of the portrait's fine detail the networks miss
        middle = self.small[size * 3 // 8 : size // 2, size * 3 // 8 : size * 5 // 8].reshape(-1, 3)  # nose and cheeks
        skin = np.median(middle, axis=0)
        self.relight = relight
        self.light = np.array([1.0, *np.maximum(skin[1:] / max(float(skin[0]), 0.02) + TEETH_OVER_SKIN, 0.3)], np.float32)
        self.here = np.stack([xs, ys], -1).astype(np.float32) - 0.5
        edge = 1 - np.abs(unit).max(-1)
        ramp = np.clip(edge / FADE, 0, 1)
        self.fade = (ramp * ramp * (3 - 2 * ramp)).astype(np.float32)
        self.unit = (unit + 1) / 2  # where each pixel of the patch lies in a network picture of unit size: u in [0, 1)
        self._maps: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def lit(self, painted: np.ndarray) -> np.ndarray:
        """Painted pixels [S, S, 3] under the portrait's light: green and blue no further above red than teeth are above skin.

        The painter learned under many lights and greys what it is unsure of; on warm skin such grey looks green.
        """
        return np.minimum(painted, painted[..., :1] * self.light) if self.relight else painted

    def detailed(self, painted: np.ndarray, moved: np.ndarray, used: np.ndarray) -> np.ndarray:
        """Painted pixels of the patch, float32 [H, W, 3], with the moved picture's fine detail where both show one thing (lips and skin,
        not what opens between the lips) and the moved picture holds more of it; written in place. used: bool [H, W], where painting counts.

        Portraits no larger than what the networks see have no finer detail to give: there, and up to twice that size, less is taken.
        """
        spread = FINEST * self.side / len(self.small)
        rows, columns = np.flatnonzero(used.any(1)), np.flatnonzero(used.any(0))
        if not self.finer or not len(rows):
            return painted
        reach = int(3 * spread) + 1
        here = (slice(max(0, rows[0] - reach), rows[-1] + reach), slice(max(0, columns[0] - reach), columns[-1] + reach))
        seen = painted[here], moved[here].astype(np.float32)
        rough = [cv2.GaussianBlur(picture, (0, 0), spread) for picture in seen]
        fine = [picture - blurred for picture, blurred in zip(seen, rough, strict=True)]
        energy = [cv2.GaussianBlur(np.square(detail).mean(-1), (0, 0), spread) + 1 for detail in fine]
        same = cv2.GaussianBlur(np.exp(-np.square(np.abs(rough[0] - rough[1]).mean(-1) / ALIKE)), (0, 0), spread)
        share = self.finer * same * energy[1] / (energy[0] + energy[1])
        painted[here] += share[..., None] * (fine[1] - fine[0])
        return painted

    def detailed_batch(self, painted: Tensor, moved: Tensor) -> Tensor:
        """`detailed` of a batch [B, 3, H, W] in [0, 1], over the whole patch."""
        spread = FINEST * self.side / len(self.small)
        rough = [_blurred(picture, spread) for picture in (painted, moved)]
        fine = [picture - blurred for picture, blurred in zip((painted, moved), rough, strict=True)]
        energy = [_blurred(detail.square().mean(1, keepdim=True), spread) + 1 / 255**2 for detail in fine]
        alike = (rough[0] - rough[1]).abs().mean(1, keepdim=True) * (255 / ALIKE)
        share = self.finer * _blurred(torch.exp(-alike.square()), spread) * energy[1] / (energy[0] + energy[1])
        return painted + share * (fine[1] - fine[0])

    def sample(self, field: np.ndarray) -> np.ndarray:
        """A network picture float32 [S, S, C] at the patch's pixels, linearly."""
        size = len(field)
        if size not in self._maps:
            self._maps[size] = cv2.convertMaps(self.unit[..., 0] * size - 0.5, self.unit[..., 1] * size - 0.5, cv2.CV_16SC2)
        return cv2.remap(field, *self._maps[size], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

    def frames(self, flow: Tensor, alpha: Tensor, painted: Tensor) -> Iterator[np.ndarray]:
        """Frames uint8 [H, W, 3] of a batch of networks' outputs: flow [B, h, w, 2], alpha [B, 1, S, S], painted [B, 3, S, S].

        On a GPU the whole batch is composed in one pass, so that only finished pixels leave it; on a CPU one frame after another.
        """
        if not kernels_run(flow):
            paint = torch.cat([painted, alpha], 1).permute(0, 2, 3, 1)
            for one_flow, one_paint in zip(flow.numpy(), paint.numpy(), strict=True):
                yield self.compose(one_flow, one_paint)
            return
        if self.planes is None or self.planes.device != flow.device:
            self.planes = torch.from_numpy(self.picture).to(flow.device).permute(2, 0, 1)[None].float() / 255.0
        if self.relight:
            painted = torch.minimum(painted, painted[:, :1] * torch.from_numpy(self.light).to(flow.device)[:, None, None])
        patches = picture_warp(
            self.planes, flow, painted, alpha,
            box=[self.left, self.top, self.right - self.left, self.bottom - self.top],
            square=[self.square.x, self.square.y, self.square.side], rim=FADE, apart=self.finer > 0,
        )  # fmt: skip
        if self.finer > 0:
            moved, over, share = patches.split((3, 3, 1), 1)
            patches = moved + share * (self.detailed_batch(over, moved) - moved)
        for patch in (patches * 255.0).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy():
            frame = self.picture.copy()
            frame[self.top : self.bottom, self.left : self.right] = patch
            yield frame

    def compose(self, flow: np.ndarray, paint: np.ndarray) -> np.ndarray:
        """One frame uint8 [H, W, 3]: flow [h, w, 2] in [-1, 1]; paint [S, S, 4], colours in [0, 1] and how much of them is used."""
        look = self.sample((flow - _identity(len(flow))) * (self.side / 2))
        look *= self.fade[..., None]
        look += self.here
        moved = cv2.remap(self.picture, look, NONE, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        over = self.sample(np.concatenate([self.lit(paint[..., :3]) * np.float32(255), paint[..., 3:]], axis=-1))
        share, blended = over[..., 3] * self.fade, np.ascontiguousarray(over[..., :3])
        self.detailed(blended, moved, share > USED)
        blended -= moved
        blended *= share[..., None]
        blended += moved
        frame = self.picture.copy()
        frame[self.top : self.bottom, self.left : self.right] = np.clip(np.rint(blended, out=blended), 0, 255, out=blended)
        return frame


def _blurred(field: Tensor, spread: float) -> Tensor:
    """A map [B, C, H, W] blurred by a Gaussian as OpenCV does it: four spreads wide, mirrored at the borders."""
    reach = round(4 * spread)
    line = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=field.device, dtype=field.dtype) / spread) ** 2)
    line = (line / line.sum()).expand(field.shape[1], 1, -1)
    padded = F.pad(field, (reach,) * 4, mode="reflect")
    return F.conv2d(F.conv2d(padded, line[..., None, :], groups=field.shape[1]), line[..., None], groups=field.shape[1])


@functools.cache
def _identity(size: int) -> np.ndarray:
    line = (np.arange(size, dtype=np.float32) * 2 + 1) / size - 1
    return np.stack(np.meshgrid(line, line), axis=-1)
