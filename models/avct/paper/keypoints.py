"""The published keypoint detector: ten keypoints and Jacobians that it finds by itself, and the feature map that AVCT uses again."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.avct.paper.blocks import AntiAliased, Hourglass, corner_grid

KEYPOINTS = 10
TEMPERATURE = 0.1


class Keypoints(NamedTuple):
    """Keypoints [B, K, 2] in [-1, 1] and Jacobians [B, K, 2, 2]."""

    values: Tensor
    jacobians: Tensor


class KeypointDetector(nn.Module):
    """Pictures at 256 px to keypoints; 14,215,368 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.predictor = Hourglass(3, 32)
        self.kp = nn.Conv2d(self.predictor.channels, KEYPOINTS, 7)
        self.jacobian = nn.Conv2d(self.predictor.channels, 4 * KEYPOINTS, 7)
        self.down = AntiAliased(3)
        nn.init.zeros_(self.jacobian.weight)
        with torch.no_grad():
            assert self.jacobian.bias is not None
            self.jacobian.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 1.0]).repeat(KEYPOINTS))

    def forward(self, picture: Tensor) -> tuple[Keypoints, Tensor]:
        """Pictures [B, 3, 256, 256] in [0, 1] to keypoints and the feature map [B, 35, 64, 64].

        A keypoint is the mean place under its heat map, softmax(map / 0.1); its Jacobian the mean of its four maps there.
        """
        feature = self.predictor(self.down(picture))
        maps = self.kp(feature)
        batch, count, height, width = maps.shape
        heat = torch.softmax(maps.flatten(2) / TEMPERATURE, dim=2)
        values = heat @ corner_grid(height, width, maps).reshape(-1, 2)
        local = self.jacobian(feature).reshape(batch, count, 4, -1)
        jacobians = torch.einsum("bkn,bkjn->bkj", heat, local).reshape(batch, count, 2, 2)
        return Keypoints(values, jacobians), feature
