"""AVCT's preset `paper` at work: one pass over a clip, with the results of the published loop over frames (SEEDS.md 1.3).

What hangs on the portrait alone (keypoints, feature map, renderer's source features) is computed once; every step's tokens once,
shared by the eleven windows that hold it; windows in batches; frames are streamed. Weights stay resident. Frames at the
portrait's own resolution are composed as DESIGN.md's decision 5 asks; `square_frames` gives the published 256 px ones.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from infra.memory import give_back
from kernels.switch import kernels_run
from models import checkpoints
from models.avct.compose import Canvas
from models.avct.dense_motion import grid
from models.avct.features import ROWS_PER_FRAME, WIDTH, audio_rows, phone_rows, pitch_method
from models.avct.paper.audio2pose import AudioToPose, in_units
from models.avct.paper.blocks import corner_grid
from models.avct.paper.cpu import prepared
from models.avct.paper.generator import DenseFlow, Generator
from models.avct.paper.keypoints import KeypointDetector, Keypoints
from models.avct.paper.pose import reference_pose
from models.avct.paper.pose_picture import draw
from models.avct.paper.transformer import REACH, PaperTransformer
from models.avct.paper.transformer import WIDTH as WIDTH_OF_TOKENS
from models.avct.phonemes import SIL
from models.device import best_device
from models.faces.crop import cut, published_square
from models.imports import PAPER
from models.types import Motion, Portrait, Speech

NAME, SIZE = "avct", 256
STEPS = 11  # steps whose tokens are encoded in a call, and windows a call of the transformer
KERNEL_BATCH = 16  # frames a call of dense motion and renderer where kernels run; on a processor they come one by one


class PaperEngine:
    """The published networks, ready to render. Get it by `load`; not safe to share between threads."""

    def __init__(
        self, detector: KeypointDetector, generator: Generator, transformer: PaperTransformer, audio2pose: Callable[[], AudioToPose],
        weights: tuple[str, ...] = (), *, exact_pitch: bool = True,
    ) -> None:  # fmt: skip
        """audio2pose: gives that network with its weights. On a processor it is asked for once a clip and dropped after it, since its
        168 MiB are of no use to the frames, which are most of the work.
        """
        self.detector, self.generator, self.transformer, self.audio2pose = detector.eval(), generator.eval(), transformer.eval(), audio2pose
        self.weights, self.exact_pitch, self.device = weights, exact_pitch, best_device()
        if self.device.type == "cuda":
            for module in (self.detector, self.generator, self.transformer):
                module.to(self.device)
            self.audio2pose = functools.cache(lambda: audio2pose().to(self.device))
            return
        prepared(self.detector, often=False)
        for module in (self.generator, self.transformer):
            prepared(module)
        for part in (self.generator.up_blocks, self.generator.final):
            part.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        give_back()  # the weights as they were

    @classmethod
    def load(cls) -> "PaperEngine":
        """The engine with imported weights, kept for the life of the process. Raises WeightsError where none were imported."""
        return _load()

    @torch.inference_mode()
    def motion(self, portrait: Portrait, speech: Speech, *, seed: int = 0, anchor: int | None = None, **_: Any) -> Motion:
        """Driving keypoints for every frame of the speech, relative to the portrait's own.

        anchor: the predicted frame that stands for the portrait's expression, by default the first silent one (the published
        loop takes frame 0 whatever is said there). seed: nothing here is drawn by chance; a second take differs by its anchor.
        """
        frames = speech.frames
        square = published_square(portrait.landmarks, portrait.picture.shape[:2])
        picture = self._tensor(cut(portrait.picture, square, SIZE))
        rows = audio_rows(speech.wave, frames, exact_pitch=self.exact_pitch).reshape(frames, ROWS_PER_FRAME, WIDTH)
        give_back()  # what the pitch was found with
        landmarks = (square.to_unit(portrait.landmarks) + 1) * (SIZE / 2)
        poses = self.poses(reference_pose(landmarks), rows)
        give_back()  # the network that made them
        found = self.keypoints(picture, phone_rows(speech.phones, frames)[::ROWS_PER_FRAME], rows, poses)
        give_back()  # what the renderer has no use for
        if anchor is None:
            anchor = _first_silent(speech.activity, frames)
        return relative(found[0], found[1], anchor)

    def poses(self, reference: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Head pose [T, 6] of every frame in OpenFace's units, from the reference's own and feature rows [T, 4, 41]."""
        drawn = torch.from_numpy(draw(reference)).float()[None, None]
        made = self.audio2pose()(drawn.to(self.device), torch.from_numpy(rows).to(self.device))
        return in_units(made.cpu())[: len(rows)].numpy()

    def keypoints(self, picture: Tensor, phones: np.ndarray, rows: np.ndarray, poses: np.ndarray) -> tuple[Keypoints, Keypoints]:
        """The source's keypoints, and the regressed ones of every frame (before transfer).

        picture [1, 3, 256, 256]; phones int64 [T]; rows [T, 4, 41]; poses [T, 6]. Beyond the clip: silence, zeros, the edge's pose.
        """
        source, feature_map = self.detector(picture)
        phones = np.pad(phones, REACH, constant_values=SIL)
        rows = np.pad(rows, ((REACH, REACH), (0, 0), (0, 0)))
        poses = np.pad(poses, ((REACH, REACH), (0, 0)), mode="edge")
        seen = heard = torch.empty(0, WIDTH_OF_TOKENS, device=self.device)
        made = []
        for first in range(0, len(phones), STEPS):
            part = slice(first, first + STEPS)
            pictures = torch.from_numpy(np.stack([draw(pose) for pose in poses[part]])).to(self.device)[:, None].float()
            spoken, sound = (torch.from_numpy(track[part]).to(self.device) for track in (phones, rows))
            # the last ten steps' tokens are kept for the windows that reach back to them; memory does not grow with the speech
            seen = torch.cat([seen[-2 * REACH :], self.transformer.encoder_tokens(spoken, pictures)])
            heard = torch.cat([heard[-2 * REACH :], self.transformer.decoder_tokens(sound, feature_map)])
            if len(seen) > 2 * REACH:
                made.append(self.transformer.of_tokens(seen, heard))
        return source, Keypoints(torch.cat([m.values for m in made]), torch.cat([m.jacobians for m in made]))

    @torch.inference_mode()
    def square_frames(self, picture: Tensor, motion: Motion, start: int = 0, stop: int | None = None) -> Iterator[tuple[Tensor, DenseFlow]]:
        """Published frames [B, 3, 256, 256] in [0, 1] of a source [1, 3, 256, 256], each with its dense motion.

        Where kernels run B is 16. On a processor it is 1, and nothing is made ahead: a second thread works in memory of its own.
        """
        encoded, source = self.generator.encode(picture), self.detector(picture)[0]
        give_back()
        values, jacobians = motion.values[start:stop], motion.jacobians[start:stop]
        batch = KERNEL_BATCH if kernels_run(picture) else 1
        for first in range(0, len(values), batch):
            driving = Keypoints(*(torch.from_numpy(track[first : first + batch]).to(self.device) for track in (values, jacobians)))
            moves = self.generator.motion(encoded, source, driving)
            give_back()  # dense motion and renderer take 100 MiB each: not one beside what the other has left
            yield self.generator.render(encoded, moves)
            give_back()

    @torch.inference_mode()
    def render(self, portrait: Portrait, motion: Motion, start: int = 0, stop: int | None = None) -> Iterator[np.ndarray]:
        """Frames start..stop of a motion as uint8 RGB [H, W, 3] at the portrait's own size."""
        square = published_square(portrait.landmarks, portrait.picture.shape[:2])
        canvas = Canvas(portrait.picture, square, SIZE, relight=False)
        for painted, moved in self.square_frames(self._tensor(cut(portrait.picture, square, SIZE)), motion, start, stop):
            hidden = torch.nn.functional.interpolate(1 - moved.occlusion, size=(SIZE, SIZE), mode="bilinear")
            yield from canvas.frames(_from_edges(moved.flow), hidden, painted)

    def _tensor(self, picture: np.ndarray) -> Tensor:
        return torch.from_numpy(picture).to(self.device).permute(2, 0, 1)[None].float() / 255.0


def relative(source: Keypoints, driving: Keypoints, anchor: int) -> Motion:
    """Relative motion transfer: kp_src + (d_t - d_0); (J_t J_0^-1) J_src."""
    values = source.values + (driving.values - driving.values[anchor])
    jacobians = driving.jacobians @ torch.linalg.inv(driving.jacobians[anchor]) @ source.jacobians
    return Motion(values.cpu().numpy(), jacobians.cpu().numpy(), anchor)


def _first_silent(activity: np.ndarray, frames: int) -> int:
    silent = np.flatnonzero(activity[: frames * ROWS_PER_FRAME : ROWS_PER_FRAME] < 0.5)
    return int(silent[0]) if len(silent) else 0


def _from_edges(flow: Tensor) -> Tensor:
    """A flow [B, h, w, 2] over the corner-aligned grid as the same movement over pixels' centres."""
    height, width = flow.shape[1:3]
    return flow - corner_grid(height, width, flow) + grid(height, width, flow)


@functools.cache
def _load() -> PaperEngine:
    facts = checkpoints.card(NAME, "paper-generator").config
    align_corners, exact = bool(facts.get("align_corners", False)), pitch_method() == "harvest"
    modules = KeypointDetector(), Generator(align_corners=align_corners), PaperTransformer()
    for module, part in zip(modules, PAPER, strict=False):
        module.load_state_dict(checkpoints.load(NAME, part), strict=True)
    return PaperEngine(*modules, _audio2pose, tuple(checkpoints.sha256(NAME, part) for part in PAPER), exact_pitch=exact)


def _audio2pose() -> AudioToPose:
    return made_of(AudioToPose, checkpoints.mapped(NAME, PAPER[-1]))


def made_of(kind: type[AudioToPose], weights: dict[str, Tensor]) -> AudioToPose:
    """A network that holds these very weights, never a second copy of them."""
    with torch.device("meta"):
        network = kind()
    network.load_state_dict(weights, strict=True, assign=True)
    return network.eval()
