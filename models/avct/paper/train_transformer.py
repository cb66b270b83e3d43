"""Train the preset `paper`'s transformer on the single speaker: L1 to the keypoints and Jacobians that the frozen detector finds.

That criterion is published; optimiser, rate, length and an extra perceptual term are not (schedule.py says what is taken).
"""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from infra.errors import InputError, WeightsError
from models import checkpoints
from models.avct.augment import to_tensor
from models.avct.paper import schedule
from models.avct.paper.clips import Order, SquareClips
from models.avct.paper.keypoints import KeypointDetector, Keypoints
from models.avct.paper.pose_picture import draw as draw_pose
from models.avct.paper.schedule import SIZE, Epochs, MotionTraining
from models.avct.paper.transformer import REACH, PaperTransformer
from models.avct.phonemes import SIL
from models.training.loop import read
from models.training.part import Options, Part, at_rest, set_rate
from models.training.ranks import Ranks

CHECKED = 8  # held-out clips that are looked at


def frozen_detector(options: Options) -> KeypointDetector:
    """The detector of the run's own `fomm` part, or else the imported one. Raises InputError where there is neither."""
    detector, trained = KeypointDetector(), options.out / "paper-fomm.pt"
    if trained.exists():
        detector.load_state_dict(read(trained)["detector"])
    else:
        try:
            detector.load_state_dict(checkpoints.load("avct", "paper-detector"))
        except WeightsError as error:
            step = "Train `--part fomm` into the same folder first, or import a checkpoint (`dubwright models import`)."
            raise InputError(f"the transformer learns from a keypoint detector, and there is none ({error.message})", code="training.no_detector", next_step=step) from error
    return detector.eval().requires_grad_(False)


class MotionLoss(nn.Module):
    """mean |k - k*| + mean |J - J*| over frames, keypoints and coordinates."""

    def __init__(self, model: PaperTransformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, phones: Tensor, pictures: Tensor, rows: Tensor, maps: Tensor, values: Tensor, jacobians: Tensor) -> dict[str, Tensor]:
        """Runs of N clips, S = T + 10 steps: phones [N, S], pose pictures [N, S, 1, 256, 256], rows [N, S, 4, 41], the references'
        feature maps [N, 35, 64, 64]; targets [N, T, 10, 2] and [N, T, 10, 2, 2].
        """
        made = predict(self.model, phones, pictures, rows, maps)
        return {"values": (made.values - values.flatten(0, 1)).abs().mean(), "jacobians": (made.jacobians - jacobians.flatten(0, 1)).abs().mean()}


def predict(model: PaperTransformer, phones: Tensor, pictures: Tensor, rows: Tensor, maps: Tensor) -> Keypoints:
    """Keypoints [N * T, 10, 2] and Jacobians of every frame of runs whose inputs reach five steps beyond them."""
    count, steps = phones.shape
    seen = model.encoder_tokens(phones.flatten(), pictures.flatten(0, 1)).reshape(count, steps, -1)
    heard = model.decoder_tokens(rows.flatten(0, 1), maps.repeat_interleave(steps, 0)).reshape(count, steps, -1)
    windows = (tokens.unfold(1, 2 * REACH + 1, 1).transpose(2, 3).flatten(0, 1) for tokens in (seen, heard))
    return model(*windows)


class Transformer(Part):
    """The part `transformer` of the preset `paper`."""

    name = "paper-transformer"

    def __init__(self, options: Options, config: MotionTraining | None = None) -> None:
        self.config = config or schedule.motion()
        self.config = replace(self.config, frames=options.frames or self.config.frames)
        super().__init__(options, batch=self.config.clips)
        self.clips = SquareClips(options.cache, "train", SIZE, spoken=True, least=self.config.frames)
        if not len(self.clips):
            step = "Put CLIP.align or CLIP.txt with its words beside each clip, and prepare anew (remove the folder `clips`)."
            raise InputError("no clip is known with its words", code="training.no_words", next_step=step)
        self.order = Order(len(self.clips), 1, options.seed)
        self.epochs = Epochs(
            items=self.order.items, batch=self.batch, epochs=self.config.epochs, rate=self.config.rate, milestones=self.config.milestones
        )
        self.length = self.epochs.steps
        self.detector, self.model = frozen_detector(options), PaperTransformer()
        self.networks = {"model": self.model}
        self.optimisers = {"optimiser": torch.optim.Adam(self.model.parameters(), self.config.rate, betas=self.config.betas)}
        self.loss: nn.Module = MotionLoss(self.model)

    def to(self, device: torch.device) -> None:
        """With the frozen detector."""
        super().to(device)
        self.detector.to(device)

    def draw(self, seed: int, ranks: Ranks) -> tuple[Tensor, ...]:
        """A run of each clip, and a reference frame from anywhere in it."""
        random = np.random.default_rng(seed)
        clips = self.order.of(self.step, ranks.share(self.batch), ranks.rank, ranks.size)
        starts = [int(random.integers(self.clips.frames(clip) - self.config.frames + 1)) for clip in clips]
        references = [int(random.integers(self.clips.frames(clip))) for clip in clips]
        runs = [run(self.clips, *where, self.config.frames) for where in zip(clips, starts, references, strict=True)]
        return tuple(torch.stack(column) for column in zip(*runs, strict=True))

    def pace(self, portion: float) -> None:
        """The schedule's rate at this step, whatever the budget."""
        set_rate(self.optimisers["optimiser"], self.epochs.rate_at(self.step))

    def update(self, batch: tuple[Tensor, ...]) -> dict[str, float]:
        """A step towards what the detector finds."""
        return super().update(self.targets(batch))

    @torch.no_grad()
    def targets(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Drawn runs with the reference's feature map and each frame's keypoints instead of pictures."""
        phones, pictures, rows, references, frames = batch
        _, maps = self.detector(references)
        found, _ = self.detector(frames.flatten(0, 1))
        shape = frames.shape[:2]
        return phones, pictures, rows, maps, found.values.unflatten(0, shape), found.jacobians.unflatten(0, shape)

    def check(self) -> dict[str, Any]:
        """`keypoint_ratio`: mean distance to the detector's keypoints over that of holding the first frame's, held-out clips."""
        clips = SquareClips(self.options.cache, "validation", SIZE, spoken=True, least=self.config.frames)
        if not len(clips):
            return {}
        device = next(self.model.parameters()).device
        errors = []
        with at_rest(self.model):
            for clip in range(min(CHECKED, len(clips))):
                drawn = tuple(t[None].to(device) for t in run(clips, clip, 0, 0, self.config.frames))
                *inputs, values, _ = self.targets(drawn)
                made = predict(self.model, *inputs).values
                errors.append([(place - values[0]).norm(dim=-1).mean() for place in (made, values[0, :1])])
        made_error, held_error = torch.tensor(errors).mean(0).tolist()
        return {"keypoint_ratio": made_error / max(held_error, 1e-9)}


def run(clips: SquareClips, clip: int, start: int, reference: int, count: int) -> tuple[Tensor, ...]:
    """`count` frames of a clip from `start` on, for S = count + 10 steps: phones [S], pose pictures [S, 1, 256, 256], feature rows
    [S, 4, 41], the reference picture [3, 256, 256], the frames [count, 3, 256, 256].

    Beyond the clip: silence, zeros, the edge's pose (SEEDS.md 1.3).
    """
    steps = np.arange(start - REACH, start + count + REACH)
    held = steps.clip(0, clips.frames(clip) - 1)
    inside = steps == held
    phones = np.where(inside, clips.phones(clip)[held], SIL)
    rows = clips.rows(clip)[held] * inside[:, None, None]
    drawn = np.stack([draw_pose(pose) for pose in clips.poses(clip)[held]])
    pictures = to_tensor(clips.pictures(clip, np.r_[reference, start : start + count]))
    return torch.from_numpy(phones), torch.from_numpy(drawn)[:, None].float(), torch.from_numpy(rows.astype(np.float32)), pictures[0], pictures[1:]
