"""Train the compact motion transformer and audio-to-pose network on the single speaker: keypoint regression, as published."""

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.avct import keypoints as kp
from models.avct import pose as poses
from models.avct.audio2pose import AudioToPose
from models.avct.features import ROWS_PER_FRAME, WIDTH, audio_rows, phone_rows
from models.avct.phonemes import SIL
from models.avct.transformer import MotionTransformer, TransformerConfig, windows
from models.corpus import Clip, Corpus, smooth
from models.training.part import Options, Part, cosine, set_rate
from models.training.ranks import Ranks
from models.types import Phone

RUN = 24  # consecutive frames of one clip in a batch
LIP_WEIGHT = 4.0


@dataclass
class ClipMotion:
    """What one clip teaches: sound, phones, pose, and the head-frame keypoints to regress."""

    audio: np.ndarray  # [T, 4, 41]
    phones: np.ndarray  # [T, 4]
    pose: np.ndarray  # [T, 6]
    values: np.ndarray  # [T, K, 2]
    jacobians: np.ndarray  # [T, K, 2, 2]


def clip_motion(corpus: Corpus, clip: Clip, phones: list[Phone]) -> ClipMotion:
    """One clip of a prepared cache with its phones."""
    landmarks = np.asarray(corpus.landmarks[corpus.frames_of(clip)])
    pose = smooth(poses.pose_of(landmarks), 1)
    values, jacobians = poses.to_head(*kp.from_track(landmarks), pose)
    rows = audio_rows(corpus.wave_of(clip).astype(np.float32) / 32768.0, clip.frames)
    shape = (clip.frames, ROWS_PER_FRAME)
    return ClipMotion(
        rows.reshape(*shape, WIDTH),
        phone_rows(phones, clip.frames).reshape(shape),
        pose.astype(np.float32),
        values.astype(np.float32),
        jacobians.astype(np.float32),
    )


def gather(cache: Path, split: str) -> list[ClipMotion]:
    """Every clip of a split whose phones `phones.json` of the cache names, with `phones.json` as {clip: [[symbol, start, end]]}."""
    corpus = Corpus(cache, split)
    phones = json.loads((cache / "phones.json").read_text())
    return [clip_motion(corpus, c, [Phone(*p) for p in phones[c.name]]) for c in corpus.clips if c.name in phones]


def set_scales(model: MotionTransformer, clips: list[ClipMotion]) -> None:
    """Normalise inputs and outputs by the training clips' mean and spread."""
    for name, rows in (
        ("audio", np.concatenate([c.audio.reshape(-1, WIDTH) for c in clips])),
        ("pose", np.concatenate([c.pose for c in clips])),
        ("values", np.concatenate([c.values for c in clips])),
    ):
        getattr(model, f"{name}_mean").copy_(torch.from_numpy(rows.mean(0)))
        getattr(model, f"{name}_scale").copy_(torch.from_numpy(rows.std(0) + 1e-3))


class Runs:
    """Random augmented runs of consecutive frames of the clips, as the transformer's raw inputs and targets."""

    def __init__(self, clips: list[ClipMotion], reach: int, audio_scale: np.ndarray) -> None:
        self.clips, self.reach, self.audio_scale = clips, reach, audio_scale

    def batch(self, count: int, random: np.random.Generator) -> tuple[Tensor, ...]:
        """Phones [N, R + 2 reach, 4], poses, feature rows, identity, whether the sound is heard; values and Jacobians [N, R, ...]."""
        rows: list[tuple[np.ndarray, ...]] = []
        for clip in (self.clips[i] for i in random.integers(len(self.clips), size=count)):
            start = int(random.integers(0, len(clip.pose) - RUN + 1))
            steps = np.clip(np.arange(start - self.reach, start + RUN + self.reach), 0, len(clip.pose) - 1)
            inner = slice(start, start + RUN)
            rows.append((*self._inputs(clip, steps, random), clip.values[inner], clip.jacobians[inner]))
        phones, *others = (np.stack(column) for column in zip(*rows, strict=True))
        return torch.from_numpy(phones), *(torch.from_numpy(np.asarray(column, np.float32)) for column in others)

    def _inputs(self, clip: ClipMotion, steps: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, ...]:
        other = self.clips[int(random.integers(len(self.clips)))]
        phones = clip.phones[steps].copy()
        if random.random() < 0.5:  # boundaries are never certain: shift them by up to two rows
            phones = np.roll(phones.reshape(-1), int(random.integers(-2, 3))).reshape(phones.shape)
        withheld = random.random(len(steps)) < (1.0 if random.random() < 0.1 else 0.05)
        phones[withheld] = np.where(random.random() < 0.5, SIL, phones[withheld])
        pose = clip.pose[steps] + random.normal(0, 0.02, 6)
        tilt = random.normal(0, 1, WIDTH) * np.repeat([0.35, 0.35, 0.0], [13, 26, 2])
        audio = clip.audio[steps] + (tilt + random.normal(0, 0.15, (len(steps), 1, WIDTH))) * self.audio_scale
        heard = np.full((len(steps), 1), float(random.random() > 0.35))
        identity = other.values[int(random.integers(len(other.values)))] + random.normal(0, 0.03, clip.values.shape[1:])
        return phones, pose, audio, np.broadcast_to(identity, (len(steps), *identity.shape)), heard


class MotionLoss(nn.Module):
    """The transformer's loss on a batch of `Runs`: each step's tokens once, windows of them, L1 of what they give."""

    def __init__(self, model: MotionTransformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, phones: Tensor, pose: Tensor, audio: Tensor, identity: Tensor, heard: Tensor, values: Tensor, jacobians: Tensor) -> dict[str, Tensor]:
        """Runs of N clips; see `Runs.batch`."""
        encoder, decoder = self.model.encoder_tokens(phones, pose), self.model.decoder_tokens(audio, identity, heard)
        size = 2 * self.model.config.reach + 1
        seen, told = (tokens.unfold(1, size, 1).transpose(2, 3).flatten(0, 1) for tokens in (encoder, decoder))
        return {"loss": motion_loss(self.model(seen, told), values.flatten(0, 1), jacobians.flatten(0, 1), self.model.values_scale)}


def motion_loss(made: tuple[Tensor, Tensor], values: Tensor, jacobians: Tensor, scale: Tensor) -> Tensor:
    """L1 on keypoints in units of their spread, lips weighted, on their change from frame to frame, and on Jacobians."""
    weight = values.new_ones(values.shape[1], 1)
    weight[list(kp.LIPS)] = LIP_WEIGHT
    error = (made[0] - values) / scale
    place = (error.abs() * weight).mean()
    change = (error.reshape(-1, RUN, *error.shape[1:]).diff(dim=1).abs() * weight).mean()
    return place + 0.5 * change + 2.0 * (made[1] - jacobians).abs().mean()


@torch.no_grad()
def evaluate(model: MotionTransformer, clips: list[ClipMotion], heard: float = 1.0) -> dict[str, float]:
    """Lip error against holding the first frame (ratio of mean distances) and correlation of the opening, over held-out clips."""
    model.eval()
    made_error, held_error, correlation = [], [], []
    for clip in clips:
        made = predict(model, clip, heard)
        lips = list(kp.LIPS)
        made_error.append(np.linalg.norm(made[0][:, lips] - clip.values[:, lips], axis=-1).mean())
        held_error.append(np.linalg.norm(clip.values[:1, lips] - clip.values[:, lips], axis=-1).mean())
        correlation.append(np.corrcoef(kp.mouth_opening(made[0]), kp.mouth_opening(clip.values))[0, 1])
    model.train()
    return {"lip_ratio": float(np.mean(made_error) / np.mean(held_error)), "opening_correlation": float(np.mean(correlation))}


@torch.no_grad()
def predict(model: MotionTransformer, clip: ClipMotion, heard: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Head-frame keypoints and Jacobians of a clip from its own phones, sound, pose and first frame."""
    encoder = model.encoder_tokens(torch.from_numpy(clip.phones), torch.from_numpy(clip.pose))
    first = torch.from_numpy(clip.values[0])
    decoder = model.decoder_tokens(torch.from_numpy(clip.audio), first, torch.full((len(clip.pose), 1), heard))
    values, jacobians = model(windows(encoder, model.config.reach), windows(decoder, model.config.reach))
    return values.numpy(), jacobians.numpy()


class Transformer(Part):
    """The part `transformer` of the compact preset."""

    name, clip, rate = "transformer", 1.0, 5e-4

    def __init__(self, options: Options) -> None:
        super().__init__(options, batch=10)
        self.model = MotionTransformer(TransformerConfig())
        clips = [clip for clip in gather(options.cache, "train") if len(clip.pose) >= RUN]
        self.held_out = gather(options.cache, "validation")
        set_scales(self.model, clips)
        self.runs = Runs(clips, self.model.config.reach, self.model.audio_scale.numpy().copy())
        self.networks = {"model": self.model}
        self.optimisers = {"optimiser": torch.optim.AdamW(self.model.parameters(), self.rate, weight_decay=0.01)}
        self.loss: nn.Module = MotionLoss(self.model)

    def draw(self, seed: int, ranks: Ranks) -> tuple[Tensor, ...]:
        """Runs of some clips."""
        return self.runs.batch(ranks.share(self.batch), np.random.default_rng(seed))

    def pace(self, portion: float) -> None:
        """A rise over 200 steps, then a cosine."""
        set_rate(self.optimisers["optimiser"], self.rate * cosine(self.step, portion, 200, 0.01))

    def check(self) -> dict[str, Any]:
        """Held-out clips, with their sound and without it."""
        model = copy.deepcopy(self.model).cpu()
        return {**evaluate(model, self.held_out), "withheld": evaluate(model, self.held_out, 0.0)} if self.held_out else {}


class PoseLoss(nn.Module):
    """Audio-to-pose's loss on sound and tracks of clips."""

    def __init__(self, model: AudioToPose) -> None:
        super().__init__()
        self.model = model

    def forward(self, sound: Tensor, tracks: Tensor) -> dict[str, Tensor]:
        """Sound [N, T, 4, 41] and poses [N, T, 6]."""
        return {"loss": pose_loss(self.model, sound, tracks, noise=0.3)}


class Pose(Part):
    """The part `audio2pose` of the compact preset: the next change of pose, by its likelihood."""

    name, clip, rate, frames = "audio2pose", 1.0, 2e-3, 74

    def __init__(self, options: Options) -> None:
        super().__init__(options, batch=32)
        clips = [c for c in gather(options.cache, "train") if len(c.pose) >= self.frames]
        tracks = np.stack([smooth(c.pose[: self.frames], 2) for c in clips]).astype(np.float32)
        sound = np.stack([c.audio[: self.frames] for c in clips])
        self.data, self.held = (torch.from_numpy(sound), torch.from_numpy(tracks)), len(clips) // 10
        self.model = AudioToPose()
        rows = sound.reshape(-1, WIDTH)
        self.model.audio_mean.copy_(torch.from_numpy(rows.mean(0)))
        self.model.audio_scale.copy_(torch.from_numpy(rows.std(0) + 1e-3))
        self.model.pose_scale.copy_(torch.from_numpy((tracks - tracks[:, :1]).std((0, 1))) + 1e-6)
        self.model.step_scale.copy_(torch.from_numpy(np.diff(tracks, axis=1).std((0, 1))) + 1e-6)
        self.networks = {"model": self.model}
        self.optimisers = {"optimiser": torch.optim.AdamW(self.model.parameters(), self.rate, weight_decay=0.01)}
        self.loss: nn.Module = PoseLoss(self.model)

    def draw(self, seed: int, ranks: Ranks) -> tuple[Tensor, ...]:
        """Whole clips, none of the first tenth, which is held out."""
        pick = torch.from_numpy(np.random.default_rng(seed).integers(self.held, len(self.data[0]), size=ranks.share(self.batch)))
        return self.data[0][pick], self.data[1][pick]

    def pace(self, portion: float) -> None:
        """A rise over 200 steps, then a cosine."""
        set_rate(self.optimisers["optimiser"], self.rate * cosine(self.step, portion, 200, 0.01))

    @torch.no_grad()
    def check(self) -> dict[str, Any]:
        """Negative log-likelihood of the held-out tenth."""
        if not self.held:
            return {}
        sound, tracks = (values[: self.held] for values in self.data)
        return {"held_out_nll": float(pose_loss(copy.deepcopy(self.model).cpu(), sound, tracks, noise=0.0))}


def pose_loss(model: AudioToPose, sound: Tensor, tracks: Tensor, noise: float) -> Tensor:
    """Gaussian negative log-likelihood of each next change, mean over frames and values; inputs blurred by `noise`."""
    away = tracks - tracks[:, :1]
    change = away.diff(dim=1, prepend=torch.zeros_like(away[:, :1]))
    codes, state = model.codes(sound), model.start(len(sound))
    total = sound.new_zeros(())
    for t in range(1, tracks.shape[1]):
        blur = torch.randn_like(away[:, 0]) * noise
        mean, spread, state = model.step(codes[:, t], away[:, t - 1] + blur * model.pose_scale, change[:, t - 1] + blur * model.step_scale, state)
        error = (change[:, t] / model.step_scale - mean) / spread.exp()
        total = total + (0.5 * error.square() + spread).mean()
    return total / (tracks.shape[1] - 1)
