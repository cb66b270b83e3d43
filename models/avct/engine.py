"""The AVCT engine: a portrait and speech to frames. One pass over a clip; weights stay resident in the process.

Steps (SEEDS.md 1.3): audio to pose; phone and pose tokens, audio and identity tokens, each step encoded once and shared by the
windows that overlap it; head-frame keypoints and Jacobians; relative transfer from the anchor frame; renderer. Frames are
composed at the portrait's own resolution (models/avct/compose.py).

A frame hangs on what is near it and on nothing else, so that one changed cue leaves most frames as they were: heads and blinks are drawn
block by block and rest where blocks meet, and of cues that were spoken apart the face's rest is that of silence, not of a frame of the clip.
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
from models.avct.features import ROWS_PER_FRAME, WIDTH, phone_rows, silent_row, spoken_rows
from models.avct.generator import Generator, GeneratorConfig
from models.avct.phonemes import SIL, index
from models.avct.transformer import MotionTransformer, TransformerConfig
from models.device import best_device
from models.faces.crop import Square, face_square
from models.types import Motion, Portrait, Speech

NAME = "avct"
PARTS = ("compact-renderer", "compact-transformer", "compact-audio2pose")
BATCH = 4  # frames a call of the renderer on a processor
KERNEL_BATCH = 16  # and where kernels run
CHUNK = 250  # frames a call of the transformer
EMPHASIS = 1.4  # regression draws movement towards its mean: mouth and jaw move this much more
NARROW = 0.015  # of the face's width: a mouth that is no further open counts as closed
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
        block: int = idle.BLOCK,
    ) -> Motion:
        """Driving keypoints for every frame of the speech, in the portrait's face square.

        seed: of head motion and blinks. anchor: the predicted frame that stands for the portrait's own expression; by default
        the face of silence, or the quiet frame, with the mouth as far open as the portrait's. pose [frames, 6]: head poses to follow instead of drawn ones.
        emphasis: how much larger than regressed mouth and jaw move; 1 where a known video is to be matched. exact_pitch: F0 by WORLD
        instead of the fast one that the shipped weights were trained with. block: frames whose head motion and blinks are drawn together.
        """
        frames = speech.frames
        square = face_square(portrait.landmarks)
        unit = square.to_unit(portrait.landmarks)
        source, source_pose = kp.from_landmarks(unit), poses.pose_of(unit)
        home, _ = poses.to_head(*source, source_pose)
        rows = spoken_rows(speech, frames, exact_pitch=exact_pitch).reshape(frames, ROWS_PER_FRAME, WIDTH)
        phones = phone_rows(speech.phones, frames).reshape(frames, ROWS_PER_FRAME)
        drawn = pose if pose is not None else self.head_motion(rows, seed, block)
        values, jacobians = self.face_motion(rows, phones, drawn, home)
        speaking = idle.speaking_frames(speech.activity, frames)
        if speech.apart and pose is None:  # the face of silence stands behind the last frame
            values, jacobians = (np.concatenate([track, still]) for track, still in zip((values, jacobians), self.at_rest(float(kp.mouth_opening(home))), strict=True))
            still = np.tile(self.transformer.pose_mean.cpu().numpy(), (2, 1))
            drawn, speaking, rest = np.concatenate([drawn, still]), np.append(speaking, [0.0, 1.0]), frames  # the second as it is, not at rest
        else:
            rest = quiet_frame(values, speaking)
        values, jacobians = idle.rest_in_silence(values, jacobians, speaking, rest)
        if anchor is None:
            anchor = anchor_frame(values, home, rest) if rest < frames else rest + 1
        values = idle.emphasised(values, anchor, emphasis)
        if pose is None:
            values = steady_eyes(values, anchor)
        moved = poses.transfer((values, jacobians), drawn, anchor, source, source_pose)
        if pose is not None:
            return moved
        made = moved.values[:frames], moved.jacobians[:frames]
        if anchor >= frames:
            anchor = int(np.argmin(np.abs(kp.mouth_opening(made[0]) - kp.mouth_opening(source[0]))))
        return Motion(idle.close_lids(made[0], idle.blinks(frames, speaking, seed, block)), made[1], anchor)

    def at_rest(self, opening: float) -> tuple[np.ndarray, np.ndarray]:
        """Head-frame keypoints [2, K, 2] and Jacobians [2, K, 2, 2] of a face in silence: as it is, and with its mouth as far open as `opening`.

        A vowel opens it, heard of its phone alone, since no sound is at hand that would hang on no voice.
        """
        steps = 2 * self.transformer.config.reach + 1
        mean = self.transformer.pose_mean.cpu().numpy()
        silence = np.tile(silent_row(), (3 * steps, ROWS_PER_FRAME, 1))
        phones = np.full((3 * steps, ROWS_PER_FRAME), SIL)
        phones[2 * steps :] = index("AA")
        heard = np.repeat(np.array([1, 0, 0], np.float32), steps)[:, None]
        values, jacobians = self.face_motion(silence, phones, np.tile(mean, (3 * steps, 1)), heard=heard)
        values, jacobians = values[steps // 2 :: steps], jacobians[steps // 2 :: steps]
        wide = values[:1].copy()
        wide[:, idle.MOUTH] += values[2, idle.MOUTH] - values[1, idle.MOUTH]
        closed, most = kp.mouth_opening(values[0]), kp.mouth_opening(wide[0])
        share = (opening - closed) / (most - closed) if opening > closed + NARROW and most > closed + NARROW else 0.0
        return np.concatenate([values[:1], values[:1] + share * (wide - values[:1])]), jacobians[[0, 0]]

    def head_motion(self, rows: np.ndarray, seed: int, block: int = idle.BLOCK) -> np.ndarray:
        """Head poses [frames, 6] drawn for the sound's feature rows [frames, 4, 41], about the training speaker's mean pose.

        Each block is drawn for itself; the head is where it began while one block goes over into the next.
        """
        away = np.zeros((len(rows), poses.REST.size))
        for number, first in enumerate(range(0, len(rows), block)):
            part = rows[first : first + block]
            drawn = self.audio2pose.draw(torch.from_numpy(part), seed if not number else int(np.random.default_rng([seed, number]).integers(2**62)))
            away[first : first + block] = poses.ease(drawn * POSE_GAIN) * idle.between(len(part), begins=first == 0, ends=first + block >= len(rows))[:, None]
        return self.transformer.pose_mean.cpu().numpy() + away

    def face_motion(
        self, rows: np.ndarray, phones: np.ndarray, pose: np.ndarray, home: np.ndarray | None = None, *, heard: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Head-frame keypoints [T, K, 2] and Jacobians [T, K, 2, 2]; every step's tokens are encoded once a chunk, the ends held.

        heard: [T, 1], 0 where the sound is withheld.
        """
        reach, parts = self.transformer.config.reach, []
        for first in range(0, len(rows), CHUNK):
            at = np.clip(np.arange(first - reach, min(first + CHUNK, len(rows)) + reach), 0, len(rows) - 1)
            spoken, turned, sound = (torch.from_numpy(track[at]).to(self.device) for track in (phones, pose.astype(np.float32), rows))
            withheld = None if heard is None else torch.from_numpy(heard[at]).to(self.device)
            tokens = self.transformer.encoder_tokens(spoken, turned), self.transformer.decoder_tokens(sound, self.transformer.values_mean, withheld)
            parts.append(self.transformer.of_tokens(*tokens))
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
            driving = tuple(torch.tensor(track[first : first + KERNEL_BATCH], device=self.device) for track in (values, jacobians))
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
            return painter(scene, (torch.tensor(values[first : first + BATCH]), torch.tensor(jacobians[first : first + BATCH])))

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
    if wanted <= opening[rest] + NARROW:
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
