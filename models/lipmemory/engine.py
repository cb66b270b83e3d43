"""The lipmemory engine: pictures with tracked faces, a reference and new speech to pictures whose lips follow it.

What it does not do is find faces, follow them or read video: it is handed a face with each picture, and one that comes without a
face passes through as it is. Everything streams; nothing grows with length but the sound's features, half a minute at a time.
"""

import functools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice, repeat

import numpy as np
import torch
from torch import Tensor

from models import checkpoints
from models.avct.idle import speaking_frames
from models.avct.keypoints import from_landmarks, mouth_opening
from models.avct.layers import fuse
from models.corpus import smooth
from models.faces.crop import Square, cut, face_square
from models.lipmemory.align import NEAR, rigid, similarity, steady
from models.lipmemory.compose import Drawn, Reference, compose, reference_of, seen_reference
from models.lipmemory.config import compact
from models.lipmemory.mel import BANDS, CHUNK, REACH, chunks, levelled
from models.lipmemory.networks import Renderer
from models.types import Speech

NAME = "lipmemory"
PART = "compact"
BATCH = 8  # faces a call of the networks
HEARD = 750  # frames a call of the audio encoder
EMPHASIS = 1.0  # how much further from silence than it was heard; more is confidence for decibels


@dataclass(frozen=True)
class Seen:
    """A picture uint8 RGB [H, W, 3] and the face in it: landmarks [478, 3] and its square, in pixels; None where there is no face."""

    picture: np.ndarray
    landmarks: np.ndarray | None = None
    square: Square | None = None


class LipMemoryEngine:
    """Preset `compact`, ready to render. Get it by `load`; it is not safe to share between threads."""

    def __init__(self, renderer: Renderer, weights: tuple[str, ...] = ()) -> None:
        self.renderer, self.weights = renderer.eval(), weights
        fuse(self.renderer)
        self.renderer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.size = renderer.config.size

    @classmethod
    def load(cls, preset: str = "compact") -> "LipMemoryEngine":
        """The engine with its shipped weights, checked by hash and kept for the life of the process.

        Raises WeightsError when a file is missing or is not what its card says, ValueError for a preset that does not exist.
        """
        if preset != "compact":
            raise ValueError(f"lipmemory has weights of the preset 'compact', not {preset!r}")
        return _load()

    @staticmethod
    def reference(picture: np.ndarray, landmarks: np.ndarray, near: Sequence[np.ndarray] = ()) -> Reference:
        """What gives a track its skin and teeth: one picture of its face, best a frontal one with the mouth closed.

        near: landmarks of the track's frames beside it, against the landmarker's tremble, which would shift all that is drawn.
        """
        square = face_square(landmarks)
        still = steady([rigid(landmarks), *map(rigid, near)], 0, square.side)
        return reference_of(picture, landmarks, square, still)

    @torch.inference_mode()
    def hear(self, speech: Speech, frames: int, emphasis: float = EMPHASIS) -> Iterator[Tensor]:
        """What each of `frames` frames is drawn from [1, C]. Where nobody speaks it is silence's, the same every time: the mouth
        closes and stays; so it does after the speech's end. emphasis: how much further from silence than heard.
        """
        wave = levelled(speech.wave)
        speaking = torch.from_numpy(speaking_frames(speech.activity, frames)).float()[:, None]
        rest = self.renderer.hear(torch.full((1, 1, BANDS, CHUNK), -REACH))
        for first in range(0, frames, HEARD):
            last = min(first + HEARD, frames)
            share = speaking[first:last]
            told = self.renderer.hear(torch.from_numpy(chunks(wave, first, last))[:, None]) if share.any() else rest
            yield from (rest + emphasis * share * (told - rest)).split(1)

    def frames(
        self, faces: Iterable[Seen], reference: Reference, speech: Speech, frames: int, emphasis: float = EMPHASIS
    ) -> Iterator[np.ndarray]:
        """Pictures uint8 RGB [H, W, 3], one for each of `frames` faces, whose lower faces are drawn for the speech.

        Pixels outside the lower face, and pictures without a face, are as they were.
        """
        several, features = steadied(faces), self.hear(speech, frames, emphasis)
        while pairs := list(islice(several, BATCH)):
            group, still = [seen for seen, _ in pairs], [points for _, points in pairs]
            fused = torch.cat(list(islice(features, len(group))))
            shown = [i for i, seen in enumerate(group) if seen.landmarks is not None and seen.square is not None]
            changes = [change_of(still[i], reference) for i in shown]
            made = self.draw([group[i] for i in shown], reference, changes, fused[shown]) if shown else []
            drawn = dict(zip(shown, zip(made, changes, strict=True), strict=True))
            for i, seen in enumerate(group):
                if i not in drawn:
                    yield seen.picture
                    continue
                assert seen.landmarks is not None and seen.square is not None
                yield compose(seen.picture, seen.landmarks, seen.square, drawn[i][0], reference, drawn[i][1])

    @torch.inference_mode()
    def draw(self, faces: list[Seen], reference: Reference, changes: list[np.ndarray], fused: Tensor) -> list[Drawn]:
        """Lower faces drawn for fused features [N, C] of as many faces."""
        squares = [seen.square for seen in faces if seen.square is not None]
        target = _tensor([cut(seen.picture, square, self.size) for seen, square in zip(faces, squares, strict=True)])
        before = _tensor([seen_reference(reference, square, change, self.size) for square, change in zip(squares, changes, strict=True)])
        made = self.renderer.draw(fused, self.renderer.look(target, before), before)
        painted = (made.painted.flip(1).permute(0, 2, 3, 1).numpy() + 1) / 2
        if made.alpha is None or made.flow is None:
            return [Drawn(picture) for picture in painted]
        return [Drawn(*parts) for parts in zip(painted, made.alpha[:, 0].numpy(), made.flow.numpy(), strict=True)]


def change_of(points: np.ndarray | None, reference: Reference) -> np.ndarray:
    """The similarity [2, 3] that takes a target's pixels to the reference's, by the points [16, 2] that speech does not move."""
    assert points is not None
    return similarity(points[None], reference.still[None])[0]


def steadied(faces: Iterable[Seen]) -> Iterator[tuple[Seen, np.ndarray | None]]:
    """Each face with its steady points [16, 2], None where there is no face; looks three pictures ahead and holds seven."""
    window: deque[tuple[Seen, np.ndarray | None] | None] = deque([None] * (2 * NEAR + 1), 2 * NEAR + 1)
    for seen in chain(faces, repeat(None, NEAR)):
        marks = None if seen is None or seen.square is None else seen.landmarks
        window.append(None if seen is None else (seen, None if marks is None else rigid(marks)))
        if (middle := window[NEAR]) is not None:
            face = middle[0]
            yield face, None if face.square is None else steady([pair and pair[1] for pair in window], NEAR, face.square.side)


def tracked(pictures: Iterable[np.ndarray], landmarks: np.ndarray) -> Iterator[Seen]:
    """Pictures of one whole track with their faces' landmarks [T, 478, 3]; squares are smoothed over half a second."""
    raw = np.array([(s.x, s.y, s.side) for s in map(face_square, landmarks)])
    for picture, marks, row in zip(pictures, landmarks, smooth(raw), strict=True):
        yield Seen(picture, marks, Square(*row))


def closed_frame(landmarks: np.ndarray) -> int:
    """The frame of a track [T, 478, 3] whose mouth is most closed: the best reference."""
    return int(np.argmin([mouth_opening(from_landmarks(face_square(marks).to_unit(marks))[0]) for marks in landmarks]))


def _tensor(pictures: list[np.ndarray]) -> Tensor:
    """uint8 RGB pictures to BGR [N, 3, S, S] in [-1, 1]."""
    stacked = torch.from_numpy(np.stack(pictures)[..., ::-1].copy()).permute(0, 3, 1, 2)
    return (stacked.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


@functools.cache
def _load() -> LipMemoryEngine:
    renderer = Renderer(compact().model)
    renderer.load_state_dict(checkpoints.load(NAME, PART), strict=True)
    return LipMemoryEngine(renderer, (checkpoints.sha256(NAME, PART),))
