"""Composition at the portrait's own resolution: the motion is applied to the picture itself, generated pixels fill in.

The networks see the face square at 128 px. Their flow is applied to the square at the size that it has in the portrait, the
painted pixels are blended in by alpha, and both fade to nothing towards the square's border, so that the rest of the portrait
stays as it is (DESIGN.md, decision 5). Lips and skin that are painted as the warp moved them keep the portrait's fine detail.
"""

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
        self.patch = picture[self.top : self.bottom, self.left : self.right].astype(np.float32)
        # where each pixel of the patch lies in a network picture of unit size: u in [0, 1)
        self.unit = (unit + 1) / 2

    def lit(self, painted: np.ndarray) -> np.ndarray:
        """Painted pixels [S, S, 3] under the portrait's light: green and blue no further above red than teeth are above skin.

        The painter learned under many lights and greys what it is unsure of; on warm skin such grey looks green.
        """
        return np.minimum(painted, painted[..., :1] * self.light) if self.relight else painted

    def detailed(self, painted: np.ndarray, moved: np.ndarray, used: np.ndarray) -> np.ndarray:
        """Painted pixels of the patch [H, W, 3] with the moved picture's fine detail where both show one thing (lips and skin, not
        what opens between the lips) and the moved picture holds more of it. used: bool [H, W], where painting counts at all.

        Portraits no larger than what the networks see have no finer detail to give: there, and up to twice that size, less is taken.
        """
        spread = FINEST * self.side / len(self.small)
        rows, columns = np.flatnonzero(used.any(1)), np.flatnonzero(used.any(0))
        if not self.finer or not len(rows):
            return painted
        reach = int(3 * spread) + 1
        here = (slice(max(0, rows[0] - reach), rows[-1] + reach), slice(max(0, columns[0] - reach), columns[-1] + reach))
        rough = [cv2.GaussianBlur(picture[here], (0, 0), spread) for picture in (painted, moved)]
        fine = [picture[here] - blurred for picture, blurred in zip((painted, moved), rough, strict=True)]
        energy = [cv2.GaussianBlur(np.square(detail).mean(-1), (0, 0), spread) + 1 for detail in fine]
        same = cv2.GaussianBlur(np.exp(-np.square(np.abs(rough[0] - rough[1]).mean(-1) / ALIKE)), (0, 0), spread)
        share = self.finer * same * energy[1] / (energy[0] + energy[1])
        out = painted.copy()
        out[here] += share[..., None] * (fine[1] - fine[0])
        return out

    def detailed_batch(self, painted: Tensor, moved: Tensor) -> Tensor:
        """`detailed` of a batch [B, 3, H, W] in [0, 1], over the whole patch."""
        spread = FINEST * self.side / len(self.small)
        rough = [_blurred(picture, spread) for picture in (painted, moved)]
        fine = [picture - blurred for picture, blurred in zip((painted, moved), rough, strict=True)]
        energy = [_blurred(detail.square().mean(1, keepdim=True), spread) + 1 / 255**2 for detail in fine]
        alike = (rough[0] - rough[1]).abs().mean(1, keepdim=True) * (255 / ALIKE)
        share = self.finer * _blurred(torch.exp(-alike.square()), spread) * energy[1] / (energy[0] + energy[1])
        return painted + share * (fine[1] - fine[0])

    def lookup(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Maps for cv2.remap from the patch's pixels into a network picture of `size` pixels."""
        return self.unit[..., 0] * size - 0.5, self.unit[..., 1] * size - 0.5

    def frames(self, flow: Tensor, alpha: Tensor, painted: Tensor) -> Iterator[np.ndarray]:
        """Frames uint8 [H, W, 3] of a batch of networks' outputs: flow [B, h, w, 2], alpha [B, 1, S, S], painted [B, 3, S, S].

        On a GPU the whole batch is composed in one pass, so that only finished pixels leave it; on a CPU one frame after another.
        """
        if not kernels_run(flow):
            for one_flow, one_alpha, one_painted in zip(flow.numpy(), alpha.numpy(), painted.numpy(), strict=True):
                yield self.compose(one_flow, one_alpha[0], one_painted)
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

    def compose(self, flow: np.ndarray, alpha: np.ndarray, painted: np.ndarray) -> np.ndarray:
        """One frame uint8 [H, W, 3]: flow [h, w, 2] in [-1, 1], alpha [S, S], painted [3, S, S] in [0, 1]."""
        shift = _sample((flow - _identity(len(flow))) * (self.side / 2), *self.lookup(len(flow)))
        look = self.here + shift * self.fade[..., None]
        moved = cv2.remap(self.picture, look[..., 0], look[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
        paint = np.concatenate([self.lit(painted.transpose(1, 2, 0)) * 255.0, alpha[..., None]], axis=-1)
        paint = _sample(np.ascontiguousarray(paint), *self.lookup(len(alpha)))
        share = paint[..., 3:] * self.fade[..., None]
        blended = moved + share * (self.detailed(paint[..., :3], moved, share[..., 0] > USED) - moved)
        frame = self.picture.copy()
        frame[self.top : self.bottom, self.left : self.right] = np.clip(np.rint(blended), 0, 255)
        return frame


def _blurred(field: Tensor, spread: float) -> Tensor:
    """A map [B, C, H, W] blurred by a Gaussian as OpenCV does it: four spreads wide, mirrored at the borders."""
    reach = round(4 * spread)
    line = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=field.device, dtype=field.dtype) / spread) ** 2)
    line = (line / line.sum()).expand(field.shape[1], 1, -1)
    padded = F.pad(field, (reach,) * 4, mode="reflect")
    return F.conv2d(F.conv2d(padded, line[..., None, :], groups=field.shape[1]), line[..., None], groups=field.shape[1])


def _sample(field: np.ndarray, xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
    return cv2.remap(field.astype(np.float32), xs, ys, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _identity(size: int) -> np.ndarray:
    line = (np.arange(size, dtype=np.float32) * 2 + 1) / size - 1
    return np.stack(np.meshgrid(line, line), axis=-1)
