"""The AVCT engine: a portrait and speech to frames. One pass over a clip; weights stay resident in the process.

Steps (SEEDS.md 1.3): audio to pose; phone and pose tokens, audio and identity tokens, each step encoded once and shared by the
windows that overlap it; head-frame keypoints and Jacobians; relative transfer from the anchor frame; renderer. Frames are
composed at the portrait's own resolution (models/avct/compose.py).
"""

import copy
import functools
from collections.abc import Iterator
from contextlib import closing

import numpy as np
import torch
from torch import Tensor

from kernels.switch import kernels_run
from models import checkpoints
from models.ahead import ahead
from models.avct import idle
from models.avct import keypoints as kp
from models.avct import pose as poses
from models.avct.audio2pose import AudioToPose
from models.avct.compose import Canvas
from models.avct.cpu import CpuGenerator, Drawn, best_dtype
from models.avct.features import ROWS_PER_FRAME, WIDTH, audio_rows, phone_rows
from models.avct.generator import Generator, GeneratorConfig
from models.avct.transformer import MotionTransformer, TransformerConfig, held
from models.device import best_device
from models.faces.crop import Square, face_square
from models.types import Motion, Portrait, Speech

NAME = "avct"
PARTS = ("compact-renderer", "compact-transformer", "compact-audio2pose")
BATCH = 4  # frames a call of the renderer on a processor
KERNEL_BATCH = 16  # and where kernels run
CHUNK = 250  # frames a call of the transformer
EMPHASIS = 1.4  # regression draws movement towards its mean: mouth and jaw move this much more
POSE_GAIN = 1.5  # the training speaker's head hardly moves; idle motion is drawn this much larger


class AvctEngine:
    """Preset `compact` of AVCT, ready to render. Get it by `load`; it is not safe to share between threads."""

    def __init__(self, generator: Generator, transformer: MotionTransformer, audio2pose: AudioToPose, weights: tuple[str, ...]) -> None:
        self.device = best_device()
        self.generator = generator.eval().to(self.device)
        self.painter: CpuGenerator | None = None
        self.transformer = transformer.eval().to(self.device)
        self.audio2pose = audio2pose.eval()  # one small step after another: no work for a GPU
        self.weights = weights

    @classmethod
    def load(cls, preset: str = "compact") -> "AvctEngine":
        """The engine with its shipped weights, checked by hash and kept for the life of the process.

        Raises WeightsError when a file is missing or is not what its card says, ValueError for a preset that does not exist.
        """
        if preset != "compact":
            raise ValueError(f"AVCT has the preset 'compact', not {preset!r}")
        return _load()

    @torch.inference_mode()
    def motion(
        self,
        portrait: Portrait,
        speech: Speech,
        *,
        seed: int = 0,
        anchor: int | None = None,
        pose: np.ndarray | None = None,
        emphasis: float = EMPHASIS,
        exact_pitch: bool = False,
    ) -> Motion:
        """Driving keypoints for every frame of the speech, in the portrait's face square.

        seed: of head motion and blinks. anchor: the predicted frame that stands for the portrait's own expression; by default
        the quiet frame whose mouth is open as far as the portrait's. pose [frames, 6]: head poses to follow instead of drawn ones.
        emphasis: how much larger than regressed mouth and jaw move; 1 where a known video is to be matched. exact_pitch: F0 by WORLD
        instead of the fast one that the shipped weights were trained with.
        """
        frames = speech.frames
        square = face_square(portrait.landmarks)
        unit = square.to_unit(portrait.landmarks)
        source, source_pose = kp.from_landmarks(unit), poses.pose_of(unit)
        home, _ = poses.to_head(*source, source_pose)
        rows = audio_rows(speech.wave, frames, exact_pitch=exact_pitch).reshape(frames, ROWS_PER_FRAME, WIDTH)
        phones = phone_rows(speech.phones, frames).reshape(frames, ROWS_PER_FRAME)
        drawn = pose if pose is not None else self.head_motion(rows, seed)
        values, jacobians = self.face_motion(rows, phones, drawn, home)
        speaking = idle.speaking_frames(speech.activity, frames)
        rest = quiet_frame(values, speaking)
        values, jacobians = idle.rest_in_silence(values, jacobians, speaking, rest)
        if anchor is None:
            anchor = anchor_frame(values, home, rest)
        values = idle.emphasised(values, anchor, emphasis)
        if pose is None:
            values = steady_eyes(values, anchor)
        moved = poses.transfer((values, jacobians), drawn, anchor, source, source_pose)
        if pose is not None:
            return moved
        return Motion(idle.close_lids(moved.values, idle.blinks(frames, speaking, seed)), moved.jacobians, anchor)

    def head_motion(self, rows: np.ndarray, seed: int) -> np.ndarray:
        """Head poses [frames, 6] drawn for the sound's feature rows [frames, 4, 41], about the training speaker's mean pose."""
        away = self.audio2pose.draw(torch.from_numpy(rows), seed) * POSE_GAIN
        return self.transformer.pose_mean.cpu().numpy() + poses.ease(away)

    def face_motion(self, rows: np.ndarray, phones: np.ndarray, pose: np.ndarray, home: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Head-frame keypoints [T, K, 2] and Jacobians [T, K, 2, 2]; every step's tokens are encoded once."""
        reach = self.transformer.config.reach
        spoken, turned, heard = (torch.from_numpy(track).to(self.device) for track in (phones, pose.astype(np.float32), rows))
        encoder = self.transformer.encoder_tokens(spoken, turned)
        decoder = self.transformer.decoder_tokens(heard, self.transformer.values_mean)
        encoder, decoder = held(encoder, reach), held(decoder, reach)
        chunks = [slice(i, i + CHUNK + 2 * reach) for i in range(0, len(rows), CHUNK)]
        parts = [self.transformer.of_tokens(encoder[chunk], decoder[chunk]) for chunk in chunks]
        return tuple(torch.cat(part).double().cpu().numpy() for part in zip(*parts, strict=True))  # type: ignore[return-value]

    @torch.inference_mode()
    def render(self, portrait: Portrait, motion: Motion, start: int = 0, stop: int | None = None) -> Iterator[np.ndarray]:
        """Frames start..stop of a motion as uint8 RGB [H, W, 3] at the portrait's own size."""
        square = face_square(portrait.landmarks)
        canvas = Canvas(portrait.picture, square, self.generator.config.size)
        picture = torch.from_numpy(canvas.small).permute(2, 0, 1)[None]
        source = source_keypoints(portrait, square)
        part = motion.values[start:stop], motion.jacobians[start:stop]
        if kernels_run(self.transformer.positions):
            yield from self._by_kernels(canvas, picture, source, *part)
        else:
            yield from self._by_processor(canvas, picture, source, *part)

    def _by_kernels(self, canvas: Canvas, picture: Tensor, source: tuple[Tensor, Tensor], values: np.ndarray, jacobians: np.ndarray) -> Iterator[np.ndarray]:
        """Large batches, from keypoints to finished pixels without leaving the device."""
        picture = picture.to(self.device)
        encoded = self.generator.encode(picture)
        for first in range(0, len(values), KERNEL_BATCH):
            driving = tuple(torch.from_numpy(track[first : first + KERNEL_BATCH]).to(self.device) for track in (values, jacobians))
            count = len(driving[0])
            spread = type(encoded)(*(part.expand(count, -1, -1, -1) for part in encoded))
            held = tuple(part.to(self.device).expand(count, *part.shape[1:]) for part in source)
            made = self.generator(picture.expand(count, -1, -1, -1), spread, held, driving)  # type: ignore[arg-type]
            yield from canvas.frames(made.flow, made.alpha, made.painted)

    def _by_processor(self, canvas: Canvas, picture: Tensor, source: tuple[Tensor, Tensor], values: np.ndarray, jacobians: np.ndarray) -> Iterator[np.ndarray]:
        """As many batches as torch has threads are made at once, while the caller has the frames before them."""
        painter = self._painter()
        scene = painter.scene(picture, source)

        @torch.inference_mode()
        def drawn(first: int) -> Drawn:
            return painter(scene, (torch.from_numpy(values[first : first + BATCH]), torch.from_numpy(jacobians[first : first + BATCH])))

        with closing(ahead(drawn, range(0, len(values), BATCH), torch.get_num_threads())) as batches:
            for made in batches:
                for flow, paint in zip(made.flow.numpy(), made.paint.numpy(), strict=True):
                    yield canvas.compose(flow, paint)

    def _painter(self) -> CpuGenerator:
        """The renderer as a processor likes it, made once."""
        if self.painter is None:
            self.painter = CpuGenerator(copy.deepcopy(self.generator), best_dtype())
        return self.painter


def source_keypoints(portrait: Portrait, square: Square) -> tuple[torch.Tensor, torch.Tensor]:
    """The portrait's keypoints [1, K, 2] and Jacobians [1, K, 2, 2] in its face square."""
    values, jacobians = kp.from_landmarks(square.to_unit(portrait.landmarks))
    return torch.from_numpy(values).float()[None], torch.from_numpy(jacobians).float()[None]


def quiet_frame(values: np.ndarray, speaking: np.ndarray) -> int:
    """The frame whose mouth is most closed, among silent ones where there are any; head-frame keypoints [T, K, 2]."""
    opening = kp.mouth_opening(values)
    silent = speaking < 0.05
    return int(np.argmin(np.where(silent, opening, opening + (1.0 if silent.any() else 0.0))))


def anchor_frame(values: np.ndarray, home: np.ndarray, rest: int) -> int:
    """The frame that stands for the portrait's expression: `rest` for a closed mouth, else the frame as far open as the portrait."""
    opening, wanted = kp.mouth_opening(values), float(kp.mouth_opening(home))
    if wanted <= opening[rest] + 0.015:
        return rest
    return int(np.argmin(np.abs(opening - wanted)))


def steady_eyes(values: np.ndarray, anchor: int) -> np.ndarray:
    """Lids held as at the anchor: what the training speaker's blinks left in the mean is not this face's."""
    held = list(kp.LIDS)
    values = values.copy()
    values[:, held] = values[anchor, held]
    return values


@functools.cache
def _load() -> AvctEngine:
    generator, transformer, audio2pose = Generator(GeneratorConfig()), MotionTransformer(TransformerConfig()), AudioToPose()
    for module, part in zip((generator, transformer, audio2pose), PARTS, strict=True):
        module.load_state_dict(checkpoints.load(NAME, part), strict=True)
    return AvctEngine(generator, transformer, audio2pose, tuple(checkpoints.sha256(NAME, part) for part in PARTS))
