"""The lipmemory engine, and what others share with it: pictures with tracked faces, a reference and new speech to pictures whose lips follow it.

What it does not do is find faces, follow them or read video: it is handed a face with each picture, and one that comes without a
face passes through as it is. Everything streams; nothing grows with length but the sound's features, half a minute at a time.
"""

import functools
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from models import checkpoints
from models.avct.idle import speaking_at
from models.avct.keypoints import from_landmarks, mouth_opening
from models.avct.layers import fuse
from models.corpus import smooth
from models.device import best_device
from models.faces.crop import Square, cut, face_square
from models.lipmemory.align import rigid, similarity, steadied, steady
from models.lipmemory.compose import Drawn, Patch, Reference, pasted, patch_of, reference_of, seen_reference
from models.lipmemory.config import compact
from models.lipmemory.mel import BANDS, CHUNK, REACH, Heard, chunks
from models.lipmemory.networks import FaceRenderer, Renderer
from models.types import FRAME_RATE, Speech

NAME = "lipmemory"
PART = "compact"
BATCH = 8  # faces a call of the networks
AHEAD = 6  # pictures on each side that a face's square is averaged over
HEARD = 25  # pictures a call of the audio encoder: more save no time, and their maps take a MiB each
EMPHASIS = 1.0  # how much further from silence than it was heard; more is confidence for decibels


@dataclass(frozen=True)
class Seen:
    """A picture uint8 RGB [H, W, 3] and the face in it that is redrawn: landmarks [478, 2 or 3] and its square, in pixels; None where
    there is no such face. reference: what gives that face its skin and teeth. still: its steady points [16, 2]
    (align.py), by default the landmarks' own.
    """

    picture: np.ndarray
    landmarks: np.ndarray | None = None
    square: Square | None = None
    reference: Reference | None = None
    still: np.ndarray | None = None


def heard(speech: Speech, times: np.ndarray) -> Callable[[int, int], str]:
    """What hashes all that pictures first..last-1 of those at `times` [T], in seconds, are drawn from of a speech."""
    sound, shares = Heard(speech), speaking_at(speech.activity, times).astype(np.float32)
    return lambda first, last: sound.digest(times[first:last], shares[first:last])


class LipEngine(ABC):
    """What hears speech and redraws lower faces with a renderer that is ready; not safe to share between threads. Get one by `load`."""

    name: ClassVar[str]  # whose weights it has

    def __init__(self, renderer: FaceRenderer, weights: tuple[str, ...] = ()) -> None:
        self.renderer, self.weights, self.device = renderer.eval(), weights, best_device()
        fuse(self.renderer)
        self.renderer.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.size = renderer.config.size

    @classmethod
    def load(cls, preset: str = PART) -> Self:
        """The engine with its shipped weights, checked by hash and kept for the life of the process.

        Raises WeightsError when a file is missing or is not what its card says, ValueError for a preset that does not exist.
        """
        if preset != PART:
            raise ValueError(f"{cls.name} has weights of the preset {PART!r}, not {preset!r}")
        return _load(cls)  # type: ignore[no-any-return]

    @staticmethod
    @abstractmethod
    def bare() -> FaceRenderer:
        """The renderer without its weights."""

    @staticmethod
    def reference(picture: np.ndarray, landmarks: np.ndarray, near: Sequence[np.ndarray] = ()) -> Reference:
        """What gives a track its skin and teeth: one picture of its face, best a frontal one with the mouth closed.

        near: landmarks of the track's frames beside it, against the landmarker's tremble, which would shift all that is drawn.
        """
        square = face_square(landmarks)
        still = steady([rigid(landmarks), *map(rigid, near)], 0, square.side)
        return reference_of(picture, landmarks, square, still)

    @torch.inference_mode()
    def hear(self, speech: Speech, times: np.ndarray, emphasis: float = EMPHASIS, start: int = 0) -> Iterator[Tensor]:
        """What the pictures shown at each of `times` [T], in seconds of the speech, are drawn from [1, C]; from number `start` on.

        Where nobody speaks it is silence's, the same every time: the mouth closes and stays; so it does after the speech's end.
        emphasis: how much further from silence than heard. A start at a multiple of HEARD gives the very numbers of the whole.
        """
        sound = Heard(speech)
        speaking = torch.from_numpy(speaking_at(speech.activity, times)).float()[:, None].to(self.device)
        rest = self.renderer.hear(torch.full((1, 1, BANDS, CHUNK), -REACH, device=self.device))
        for first in range(start, len(times), HEARD):
            share = speaking[first : first + HEARD]
            heard = torch.from_numpy(chunks(sound, times[first : first + HEARD]))[:, None].to(self.device)
            told = self.renderer.hear(heard) if share.any() else rest
            yield from (rest + emphasis * share * (told - rest)).split(1)

    def frames(
        self, faces: Iterable[Seen], reference: Reference, speech: Speech, frames: int, emphasis: float = EMPHASIS, start: int = 0
    ) -> Iterator[np.ndarray]:
        """Pictures uint8 RGB [H, W, 3] at 25 a second, one for each of `frames` faces, whose lower faces are drawn for the speech.

        start: the first one's number in the speech.

        Pixels outside the lower face, and pictures without a face, are as they were.
        """
        several = (replace(seen, reference=reference) for seen in faces)
        for seen, patch in self.patches(several, speech, (start + np.arange(frames)) / FRAME_RATE, emphasis):
            yield seen.picture if patch is None else pasted(seen.picture, patch)

    def patches(
        self, faces: Iterable[Seen], speech: Speech, times: np.ndarray, emphasis: float = EMPHASIS
    ) -> Iterator[tuple[Seen, Patch | None]]:
        """Each face, with the lower face that is drawn for what is said at its time [T], in seconds; None where there is no face."""
        steady_ones = steadied(faces, lambda seen: None if seen.landmarks is None or seen.square is None else (rigid(seen.landmarks), seen.square.side))
        several, features = (replace(seen, still=still) for seen, still in steady_ones), self.hear(speech, times, emphasis)
        while group := list(islice(several, BATCH)):
            fused = torch.cat(list(islice(features, len(group))))
            shown = [i for i, seen in enumerate(group) if seen.landmarks is not None]
            drawn = dict(zip(shown, self.draw([group[i] for i in shown], fused[shown]), strict=True)) if shown else {}
            yield from ((seen, drawn.get(i)) for i, seen in enumerate(group))

    @torch.inference_mode()
    def draw(self, faces: list[Seen], fused: Tensor) -> list[Patch]:
        """Lower faces drawn for fused features [N, C] of as many faces that are there."""
        placed = [_placed(seen) for seen in faces]
        stills = [rigid(marks) if seen.still is None else seen.still for seen, (marks, _, _) in zip(faces, placed, strict=True)]
        changes = [similarity(still[None], reference.still[None])[0] for still, (_, _, reference) in zip(stills, placed, strict=True)]
        target = self._tensor([cut(seen.picture, square, self.size) for seen, (_, square, _) in zip(faces, placed, strict=True)])
        before = self._tensor([seen_reference(ref, square, change, self.size) for (_, square, ref), change in zip(placed, changes, strict=True)])
        made = self.renderer.draw(fused, self.renderer.look(target, before), before)
        painted = (made.painted.flip(1).permute(0, 2, 3, 1).cpu().numpy() + 1) / 2
        drawn = [Drawn(picture) for picture in painted]
        if made.alpha is not None and made.flow is not None:
            drawn = [Drawn(*parts) for parts in zip(painted, made.alpha[:, 0].cpu().numpy(), made.flow.cpu().numpy(), strict=True)]
        several = zip(faces, placed, drawn, changes, strict=True)
        return [patch_of(seen.picture, marks, square, one, ref, change) for seen, (marks, square, ref), one, change in several]

    def _tensor(self, pictures: list[np.ndarray]) -> Tensor:
        """uint8 RGB pictures to BGR [N, 3, S, S] in [-1, 1]."""
        stacked = torch.from_numpy(np.stack(pictures)[..., ::-1].copy()).to(self.device).permute(0, 3, 1, 2)
        return (stacked.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


class LipMemoryEngine(LipEngine):
    """Preset `compact`: lips drawn by sound and memory."""

    renderer: Renderer
    name = NAME

    @staticmethod
    def bare() -> Renderer:
        """The renderer without its weights."""
        return Renderer(compact().model)


def _placed(seen: Seen) -> tuple[np.ndarray, Square, Reference]:
    assert seen.landmarks is not None and seen.square is not None and seen.reference is not None
    return seen.landmarks, seen.square, seen.reference


def tracked(pictures: Iterable[np.ndarray], landmarks: np.ndarray) -> Iterator[Seen]:
    """Pictures of one whole track with their faces' landmarks [T, 478, 3]; squares are smoothed over half a second."""
    raw = np.array([(s.x, s.y, s.side) for s in map(face_square, landmarks)])
    for picture, marks, row in zip(pictures, landmarks, smooth(raw), strict=True):
        yield Seen(picture, marks, Square(*row))


def streamed(frames: Iterable[tuple[np.ndarray, np.ndarray | None]]) -> Iterator[Seen]:
    """As `tracked`, of pictures each with its face's landmarks or None, as they come: six pictures are held for what is ahead of them."""
    waiting: deque[tuple[np.ndarray, np.ndarray | None]] = deque()
    rows: deque[tuple[float, float, float]] = deque(maxlen=2 * AHEAD + 1)

    def emit() -> Seen:
        picture, marks = waiting.popleft()
        return Seen(picture, marks, Square(*np.mean(rows, axis=0)) if marks is not None else None)

    for picture, marks in frames:
        waiting.append((picture, marks))
        square = face_square(marks) if marks is not None else None
        if square is not None or rows:
            row = (square.x, square.y, square.side) if square is not None else rows[-1]
            rows.extend([row] * (1 if rows else AHEAD + 1))
        if len(waiting) > AHEAD:
            yield emit()
    while waiting:
        rows.extend([rows[-1]] if rows else [])
        yield emit()


def closed_frame(landmarks: np.ndarray) -> int:
    """The frame of a track [T, 478, 3] whose mouth is most closed: the best reference."""
    return int(np.argmin([mouth_opening(from_landmarks(face_square(marks).to_unit(marks))[0]) for marks in landmarks]))


@functools.cache
def _load(kind: type[Any]) -> Any:
    renderer = kind.bare()
    renderer.load_state_dict(checkpoints.load(kind.name, PART), strict=True)
    return kind(renderer, (checkpoints.sha256(kind.name, PART),))
