"""Train the compact motion transformer and audio-to-pose network on the single speaker: keypoint regression, as published."""

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

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


def batches(clips: list[ClipMotion], model: MotionTransformer, count: int, random: np.random.Generator) -> Iterator[tuple[Tensor, ...]]:
    """Endless augmented runs: encoder windows, decoder windows, values, Jacobians; [count * RUN, ...] each, in time order."""
    reach = model.config.reach
    while True:
        encoded, decoded, values, jacobians = [], [], [], []
        for clip in (clips[i] for i in random.integers(len(clips), size=count)):
            start = int(random.integers(0, max(1, len(clip.pose) - RUN + 1)))
            steps = np.clip(np.arange(start - reach, start + RUN + reach), 0, len(clip.pose) - 1)
            inner = slice(start, start + RUN)
            encoder, decoder = _tokens(model, clip, steps, clips[int(random.integers(len(clips)))], random)
            encoded.append(encoder.unfold(0, 2 * reach + 1, 1).transpose(1, 2)[: len(clip.pose[inner])])
            decoded.append(decoder.unfold(0, 2 * reach + 1, 1).transpose(1, 2)[: len(clip.pose[inner])])
            values.append(torch.from_numpy(clip.values[inner]))
            jacobians.append(torch.from_numpy(clip.jacobians[inner]))
        yield torch.cat(encoded), torch.cat(decoded), torch.cat(values), torch.cat(jacobians)


def _tokens(model: MotionTransformer, clip: ClipMotion, steps: np.ndarray, other: ClipMotion, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    phones = clip.phones[steps].copy()
    if random.random() < 0.5:  # boundaries are never certain: shift them by up to two rows
        phones = np.roll(phones.reshape(-1), int(random.integers(-2, 3))).reshape(phones.shape)
    withheld = random.random(len(steps)) < (1.0 if random.random() < 0.1 else 0.05)
    phones[withheld] = np.where(random.random() < 0.5, SIL, phones[withheld])
    pose = clip.pose[steps] + random.normal(0, 0.02, 6)
    tilt = random.normal(0, 1, WIDTH) * np.repeat([0.35, 0.35, 0.0], [13, 26, 2])
    audio = clip.audio[steps] + (tilt * model.audio_scale.numpy()) + random.normal(0, 0.15, (len(steps), 1, WIDTH)) * model.audio_scale.numpy()
    heard = np.full((len(steps), 1), float(random.random() > 0.35))
    identity = other.values[int(random.integers(len(other.values)))] + random.normal(0, 0.03, clip.values.shape[1:])
    tensors = (torch.from_numpy(np.asarray(a, np.float32)) for a in (pose, audio, identity, heard))
    pose_t, audio_t, identity_t, heard_t = tensors
    return model.encoder_tokens(torch.from_numpy(phones), pose_t), model.decoder_tokens(audio_t, identity_t, heard_t)


def motion_loss(made: tuple[Tensor, Tensor], values: Tensor, jacobians: Tensor, scale: Tensor) -> Tensor:
    """L1 on keypoints in units of their spread, lips weighted, on their change from frame to frame, and on Jacobians."""
    weight = torch.ones(values.shape[1], 1)
    weight[list(kp.LIPS)] = LIP_WEIGHT
    error = (made[0] - values) / scale
    place = (error.abs() * weight).mean()
    runs = error.reshape(-1, RUN, *error.shape[1:]) if len(error) % RUN == 0 else error[None]
    change = (runs.diff(dim=1).abs() * weight).mean()
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


def train_transformer(cache: Path, out: Path, seconds: float, *, count: int = 10, rate: float = 5e-4, threads: int = 1, seed: int = 1) -> dict:
    """Train the transformer for a fixed time with checkpoints in `out`; goes on from one that is there."""
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    out.mkdir(parents=True, exist_ok=True)
    model = MotionTransformer(TransformerConfig())
    clips, held_out = gather(cache, "train"), gather(cache, "validation")
    set_scales(model, clips)
    step = _fit(model, lambda: _transformer_loss(model, clips, count, seed), out / "transformer.pt", seconds, rate,
                lambda: evaluate(model, held_out[:40]))
    return {"step": step, **evaluate(model, held_out), "withheld": evaluate(model, held_out, 0.0)}


def _transformer_loss(model: MotionTransformer, clips: list[ClipMotion], count: int, seed: int) -> Iterator[Tensor]:
    random = np.random.default_rng(seed + int(time.time()))
    for encoded, decoded, values, jacobians in batches(clips, model, count, random):
        yield motion_loss(model(encoded, decoded), values, jacobians, model.values_scale)


def train_pose(cache: Path, out: Path, seconds: float, *, count: int = 32, rate: float = 2e-3, threads: int = 1, seed: int = 1) -> dict:
    """Train audio-to-pose for a fixed time; negative log-likelihood of the next change of pose."""
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    out.mkdir(parents=True, exist_ok=True)
    model = AudioToPose()
    clips = [c for c in gather(cache, "train") if len(c.pose) >= 74]
    tracks = np.stack([smooth(c.pose[:74], 2) for c in clips]).astype(np.float32)
    sound = np.stack([c.audio[:74] for c in clips])
    for name, rows in (("audio", sound.reshape(-1, WIDTH)), ):
        getattr(model, f"{name}_mean").copy_(torch.from_numpy(rows.mean(0)))
        getattr(model, f"{name}_scale").copy_(torch.from_numpy(rows.std(0) + 1e-3))
    model.pose_scale.copy_(torch.from_numpy((tracks - tracks[:, :1]).std((0, 1))))
    model.step_scale.copy_(torch.from_numpy(np.diff(tracks, axis=1).std((0, 1))))
    held = slice(0, len(clips) // 10)
    data = (torch.from_numpy(sound), torch.from_numpy(tracks))

    def losses() -> Iterator[Tensor]:
        random = np.random.default_rng(seed)
        while True:
            pick = torch.from_numpy(random.integers(len(clips) // 10, len(clips), size=count))
            yield pose_loss(model, data[0][pick], data[1][pick], noise=0.3)

    def check() -> dict[str, float]:
        with torch.no_grad():
            return {"held_out_nll": float(pose_loss(model, data[0][held], data[1][held], noise=0.0))}

    step = _fit(model, losses, out / "audio2pose.pt", seconds, rate, check)
    return {"step": step, **check()}


def pose_loss(model: AudioToPose, sound: Tensor, tracks: Tensor, noise: float) -> Tensor:
    """Gaussian negative log-likelihood of each next change, mean over frames and values; inputs blurred by `noise`."""
    away = tracks - tracks[:, :1]
    change = away.diff(dim=1, prepend=torch.zeros_like(away[:, :1]))
    codes, state = model.codes(sound), model.start(len(sound))
    total = torch.zeros(())
    for t in range(1, tracks.shape[1]):
        blur = torch.randn_like(away[:, 0]) * noise
        mean, spread, state = model.step(codes[:, t], away[:, t - 1] + blur * model.pose_scale, change[:, t - 1] + blur * model.step_scale, state)
        error = (change[:, t] / model.step_scale - mean) / spread.exp()
        total = total + (0.5 * error.square() + spread).mean()
    return total / (tracks.shape[1] - 1)


def _fit(
    model: nn.Module, losses: Callable[[], Iterator[Tensor]], kept: Path, seconds: float, rate: float, check: Callable[[], dict[str, float]]
) -> int:
    optimiser = torch.optim.AdamW(model.parameters(), rate, weight_decay=0.01)
    step, spent = 0, 0.0
    if kept.exists():
        state = torch.load(kept, weights_only=True)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        step, spent = state["step"], state["spent"]
    started = saved = time.monotonic()
    for loss in losses():
        now = spent + time.monotonic() - started
        if now >= seconds:
            break
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 200) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * now / seconds)))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        step += 1
        if time.monotonic() - saved > 120:
            saved = time.monotonic()
            _keep(kept, model, optimiser, step, now)
            with kept.with_suffix(".log").open("a") as log:
                log.write(json.dumps({"step": step, "minutes": round(now / 60, 1), "loss": float(loss.detach()), **check()}) + "\n")
    _keep(kept, model, optimiser, step, seconds)
    return step


def _keep(path: Path, model: nn.Module, optimiser: torch.optim.Optimizer, step: int, spent: float) -> None:
    fresh = path.with_suffix(".new")
    torch.save({"model": model.state_dict(), "optimiser": optimiser.state_dict(), "step": step, "spent": spent}, fresh)
    fresh.replace(path)
