"""Losses of the first-order motion model (Siarohin et al. 2019, section 3.3): reconstruction over a pyramid, and equivariance.

B batch, K keypoints. Coordinates are those of `corner_grid`.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from infra.errors import WeightsError
from models.avct.paper.blocks import AntiAliased, corner_grid
from models.avct.paper.keypoints import Keypoints
from models.avct.paper.schedule import FommTraining
from models.imports import tensors_of

VGG19 = (64, 64, 0, 128, 128, 0, 256, 256, 256, 256, 0, 512, 512, 512, 512, 0, 512)  # widths up to conv5_1; 0 halves
SEEN = (1, 6, 11, 20, 29)  # relu1_1, relu2_1, relu3_1, relu4_1, relu5_1
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and spread of the pictures that VGG-19 was trained on


class Vgg19(nn.Module):
    """VGG-19 (Simonyan and Zisserman 2015) up to its fifth block's first layer, frozen; entries are named as torchvision's."""

    mean: Tensor
    spread: Tensor

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = 3
        for wide in VGG19:
            layers += [nn.MaxPool2d(2)] if wide == 0 else [nn.Conv2d(width, wide, 3, padding=1), nn.ReLU()]
            width = wide or width
        self.features = nn.Sequential(*layers)
        for name, values in zip(("mean", "spread"), IMAGENET, strict=True):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)
        self.requires_grad_(False)

    @classmethod
    def load(cls, path: Path) -> "Vgg19":
        """With weights of a safetensors file or a pickled state dict, entries as torchvision names them. Raises WeightsError."""
        made, given = cls(), tensors_of(path)
        wanted = made.state_dict()
        if missing := [key for key, value in wanted.items() if key not in given or given[key].shape != value.shape]:
            step = "Give VGG-19 without batch norms, with torchvision's entries (features.0.weight and so on)."
            raise WeightsError(f"{path.name} does not hold VGG-19: {missing[0]} is missing or of another shape", code="weights.entries", next_step=step)
        made.load_state_dict({key: given[key] for key in wanted})
        return made

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """Features of five layers of pictures [B, 3, H, W] in [0, 1]."""
        feature, found = (pictures - self.mean) / self.spread, []
        for number, layer in enumerate(self.features):
            feature = layer(feature)
            if number in SEEN:
                found.append(feature)
        return found


class Pyramid(nn.Module):
    """Pictures at full size and smaller ones, blurred before they shrink."""

    def __init__(self, scales: tuple[float, ...]) -> None:
        super().__init__()
        self.steps = nn.ModuleList([_shrink(scale) for scale in scales])

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """[B, 3, H, W] to one such tensor a scale."""
        return [step(pictures) for step in self.steps]


def _shrink(scale: float) -> nn.Module:
    if scale == 1:
        return nn.Identity()
    sigma = (1 / scale - 1) / 2
    return AntiAliased(3, sigma, round(4 * sigma), round(1 / scale))


class Reconstruction(nn.Module):
    """sum over scales s and layers i of w_i mean |N_i(made_s) - N_i(real_s)|, N VGG-19's layers (Johnson et al. 2016).

    Without weights of VGG-19, which do not come with this project, pixels stand in for its layers: sum over scales of
    (sum_i w_i / 5) mean |made_s - real_s|. That is no perceptual loss: it gives softer pictures.
    """

    def __init__(self, config: FommTraining, vgg: Vgg19 | None) -> None:
        super().__init__()
        self.weights, self.pyramid, self.vgg = config.perceptual, Pyramid(config.scales), vgg

    def forward(self, made: Tensor, real: Tensor) -> Tensor:
        """Pictures [B, 3, H, W] in [0, 1]."""
        total = made.new_zeros(())
        for ours, theirs in zip(self.pyramid(made), self.pyramid(real), strict=True):
            if self.vgg is None:
                total = total + sum(self.weights) / len(self.weights) * (ours - theirs).abs().mean()
                continue
            with torch.no_grad():
                wanted = self.vgg(theirs)
            for weight, a, b in zip(self.weights, self.vgg(ours), wanted, strict=True):
                total = total + weight * (a - b).abs().mean()
        return total


class Deformation:
    """A random smooth map T(p) = A p + b + (1, 1) sum_i w_i r_i^2 log(r_i + e), r_i = |p - c_i|_1: affine and thin-plate spline.

    The spline's centres c_i lie on a grid; its distance is the city block's, as in FOMM's code.
    """

    def __init__(self, affine: Tensor, bends: Tensor) -> None:
        """affine [B, 2, 3]; bends [B, n * n], the weights w_i."""
        self.affine, self.bends = affine, bends
        side = round(bends.shape[1] ** 0.5)
        self.centres = corner_grid(side, side, affine).reshape(-1, 2)

    def __call__(self, points: Tensor) -> Tensor:
        """T of points [B, N, 2]."""
        far = (points[:, :, None] - self.centres).abs().sum(-1)
        bend = (far.square() * torch.log(far + 1e-6) * self.bends[:, None]).sum(-1, keepdim=True)
        return points @ self.affine[:, :, :2].transpose(1, 2) + self.affine[:, None, :, 2] + bend

    def jacobian(self, points: Tensor) -> Tensor:
        """dT/dp [B, N, 2, 2] at points [B, N, 2]."""
        away = points[:, :, None] - self.centres
        far = away.abs().sum(-1)
        slope = (2 * far * torch.log(far + 1e-6) + far.square() / (far + 1e-6)) * self.bends[:, None]
        bend = (slope[..., None] * away.sign()).sum(2)  # [B, N, 2]
        return self.affine[:, None, :, :2] + bend[:, :, None].expand(-1, -1, 2, -1)

    def pictures(self, pictures: Tensor, *, align_corners: bool) -> Tensor:
        """Pictures [B, 3, H, W] looked up at T: what lies at p in the result lay at T(p)."""
        height, width = pictures.shape[-2:]
        here = corner_grid(height, width, pictures).reshape(1, -1, 2).expand(len(pictures), -1, -1)
        return F.grid_sample(pictures, self(here).reshape(-1, height, width, 2), padding_mode="reflection", align_corners=align_corners)


def equivariance(found: Keypoints, moved: Keypoints, deformation: Deformation) -> tuple[Tensor, Tensor]:
    """Mean |p - T(p')| and mean |1 - J^-1 T'(p') J'|, p' and J' being what is found in the picture deformed by T."""
    value = (found.values - deformation(moved.values)).abs().mean()
    chained = torch.linalg.inv(found.jacobians) @ deformation.jacobian(moved.values) @ moved.jacobians
    return value, (torch.eye(2, device=chained.device) - chained).abs().mean()
