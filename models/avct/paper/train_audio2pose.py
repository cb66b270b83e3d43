"""Train the preset `paper`'s audio-to-pose: head poses by perspective-n-point, regressed from the sound and the first frame's pose.

How the published network was trained is not known in numbers. Here: L1 of poses and of their change from frame to frame.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from infra.errors import InputError
from models.avct.paper import schedule
from models.avct.paper.audio2pose import AudioToPose, from_units
from models.avct.paper.clips import Order, SquareClips
from models.avct.paper.pose_picture import draw as draw_pose
from models.avct.paper.schedule import SIZE, Epochs, PoseTraining
from models.training.part import Options, Part, at_rest, set_rate
from models.training.ranks import Ranks

CHECKED = 32  # held-out clips that are looked at


class PoseLoss(nn.Module):
    """mean |p - p*| + mean |(p_t - p_t-1) - (p*_t - p*_t-1)|, poses in the network's own units."""

    def __init__(self, model: AudioToPose) -> None:
        super().__init__()
        self.model = model

    def forward(self, pictures: Tensor, rows: Tensor, poses: Tensor) -> dict[str, Tensor]:
        """Pose pictures [N, 1, 256, 256] of first frames, feature rows [N, T, 4, 41], poses [N, T + 1, 6] in [-1, 1]."""
        made = predict(self.model, pictures, rows)
        return {"poses": (made - poses).abs().mean(), "changes": (made.diff(dim=1) - poses.diff(dim=1)).abs().mean()}


def predict(model: AudioToPose, pictures: Tensor, rows: Tensor) -> Tensor:
    """Poses [N, T + 1, 6] of a batch of runs."""
    codes = model.em_audio.resnet(rows.flatten(0, 1)[:, None]).unflatten(0, rows.shape[:2])
    return model.roll(model.em_pose.resnet(pictures), codes)


class Pose(Part):
    """The part `audio2pose` of the preset `paper`."""

    name, clip = "paper-audio2pose", 1.0

    def __init__(self, options: Options, config: PoseTraining | None = None) -> None:
        self.config = config or schedule.pose()
        self.config = replace(self.config, frames=options.frames or self.config.frames)
        super().__init__(options, batch=self.config.clips)
        self.clips = SquareClips(options.cache, "train", SIZE, least=self.config.frames + 1)
        if not len(self.clips):
            raise InputError(f"no clip is longer than {self.config.frames} frames", code="training.no_clips", next_step="Give longer clips.")
        self.order = Order(len(self.clips), 1, options.seed)
        self.epochs = Epochs(
            items=self.order.items, batch=self.batch, epochs=self.config.epochs, rate=self.config.rate, milestones=self.config.milestones
        )
        self.length = self.epochs.steps
        self.model = AudioToPose()
        self.networks = {"model": self.model}
        self.optimisers = {"optimiser": torch.optim.Adam(self.model.parameters(), self.config.rate, betas=self.config.betas)}
        self.loss: nn.Module = PoseLoss(self.model)

    def draw(self, seed: int, ranks: Ranks) -> tuple[Tensor, ...]:
        """A run of each clip."""
        random = np.random.default_rng(seed)
        clips = self.order.of(self.step, ranks.share(self.batch), ranks.rank, ranks.size)
        runs = [run(self.clips, clip, int(random.integers(self.clips.frames(clip) - self.config.frames)), self.config.frames) for clip in clips]
        return tuple(torch.stack(column) for column in zip(*runs, strict=True))

    def pace(self, portion: float) -> None:
        """The schedule's rate at this step, whatever the budget."""
        set_rate(self.optimisers["optimiser"], self.epochs.rate_at(self.step))

    def check(self) -> dict[str, Any]:
        """`pose_ratio`: mean distance to the poses over that of holding the first one, in the network's units, held-out clips."""
        clips = SquareClips(self.options.cache, "validation", SIZE, least=self.config.frames + 1)
        if not len(clips):
            return {}
        device = next(self.model.parameters()).device
        runs = [run(clips, clip, 0, self.config.frames) for clip in range(min(CHECKED, len(clips)))]
        pictures, rows, poses = (torch.stack(column).to(device) for column in zip(*runs, strict=True))
        with at_rest(self.model):
            made, held = ((found - poses).abs().mean() for found in (predict(self.model, pictures, rows), poses[:, :1]))
        return {"pose_ratio": float(made / held.clamp_min(1e-9))}


def run(clips: SquareClips, clip: int, start: int, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """The pose picture [1, 256, 256] of frame `start`, `count` frames' rows from it on, and poses [count + 1, 6] in [-1, 1]."""
    poses = clips.poses(clip)[start : start + count + 1]
    picture = torch.from_numpy(draw_pose(poses[0]))[None].float()
    return picture, torch.from_numpy(clips.rows(clip)[start : start + count]), from_units(torch.from_numpy(poses))
