"""The published audio-to-pose network: two ResNet-34s and an autoregressive LSTM; 44,135,814 parameters."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEAST = (-0.6, -0.6, -0.6, -128.0, -128.0, 128.0)  # rotations in rad, translations in the pose picture's units
MOST = (0.6, 0.6, 0.6, 128.0, 128.0, 384.0)


class _Basic(nn.Module):
    """ResNet's basic block (He et al. 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, feature: Tensor) -> Tensor:
        made = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(feature)))))
        return F.relu(made + (feature if self.downsample is None else self.downsample(feature)))


class _ResNet34(nn.Module):
    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        width = 64
        for number, (channels, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3)), 1):
            made = [_Basic(width if i == 0 else channels, channels, 2 if i == 0 and number > 1 else 1) for i in range(blocks)]
            setattr(self, f"layer{number}", nn.Sequential(*made))
            width = channels
        self.fc = nn.Linear(512, outputs)

    def forward(self, picture: Tensor) -> Tensor:
        feature = F.max_pool2d(F.relu(self.bn1(self.conv1(picture))), 3, 2, 1)
        for number in (1, 2, 3, 4):
            feature = getattr(self, f"layer{number}")(feature)
        return self.fc(feature.mean((2, 3)))


class _Embedding(nn.Module):
    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.resnet = _ResNet34(outputs)


class AudioToPose(nn.Module):
    """Head pose of every frame from the reference pose's picture and the sound."""

    def __init__(self) -> None:
        super().__init__()
        self.em_pose = _Embedding(256)
        self.em_audio = _Embedding(256)
        self.lstm = nn.LSTM(512, 256, num_layers=2, batch_first=True)
        self.output = nn.Linear(256, 6)

    def forward(self, picture: Tensor, audio: Tensor) -> Tensor:
        """Poses [T + 1, 6] in [-1, 1] of a reference-pose picture [1, 1, 256, 256] and feature rows [T, 4, 41].

        The first row is the reference's own; each further step hears a frame and the hidden output before it.
        """
        heard = torch.cat([self.em_audio.resnet(part[:, None]) for part in audio.split(250)]) if len(audio) else audio.new_zeros(0, 256)
        return self.roll(self.em_pose.resnet(picture), heard[None])[0]

    def roll(self, hidden: Tensor, codes: Tensor) -> Tensor:
        """Poses [B, T + 1, 6] in [-1, 1] from codes of reference poses [B, 256] and of sound [B, T, 256]."""
        state, poses = None, [self.output(hidden)]
        for code in codes.unbind(1):
            step, state = self.lstm(torch.cat([code, hidden], dim=1)[:, None], state)
            hidden = step[:, 0]
            poses.append(self.output(hidden))
        return torch.stack(poses, dim=1)


def in_units(poses: Tensor) -> Tensor:
    """Network poses [..., 6] in [-1, 1] as rotations in rad and translations."""
    least, most = (torch.tensor(x, dtype=poses.dtype, device=poses.device) for x in (LEAST, MOST))
    return (poses + 1) / 2 * (most - least) + least


def from_units(poses: Tensor) -> Tensor:
    """What `in_units` gives back as it was."""
    least, most = (torch.tensor(x, dtype=poses.dtype, device=poses.device) for x in (LEAST, MOST))
    return (poses - least) / (most - least) * 2 - 1
