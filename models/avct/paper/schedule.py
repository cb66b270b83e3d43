"""How the preset `paper` is trained, as numbers. What is published stands under `avct` and `fomm`; what is not is this project's choice.

Published (AVCT's shipped configuration; FOMM's own) is the schedule of detector, dense motion and generator. Optimiser, rate,
length and an extra perceptual term of AVCT's transformer, and all of audio-to-pose's training, are not: `motion` and `pose` say what is
taken in their place.
"""

from dataclasses import dataclass

SIZE = 256


@dataclass(frozen=True, kw_only=True)
class FommTraining:
    """Detector, dense motion and generator together (Siarohin et al. 2019). Batches are those of all processes."""

    batch: int = 36
    epochs: int = 100
    repeats: int = 50  # pairs of each clip in an epoch
    rate: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    milestones: tuple[int, ...] = (5, 20, 30)  # epochs at which the rate falls to a tenth
    perceptual: tuple[float, ...] = (10.0, 10.0, 10.0, 10.0, 10.0)  # of VGG-19's five layers
    scales: tuple[float, ...] = (1.0, 0.5, 0.25, 0.125)
    equivariance_value: float = 10.0
    equivariance_jacobian: float = 10.0
    affine_spread: float = 0.05
    bend_spread: float = 0.005
    bend_points: int = 5  # a side
    size: int = SIZE
    align_corners: bool = True  # the grids are corner-aligned, so sampling should be: new weights are trained with both alike


def avct() -> FommTraining:
    """AVCT's shipped configuration: VoxCeleb at 256 px, batch 36, 100 epochs of 50 pairs a clip, milestones 5, 20, 30; no GAN."""
    return FommTraining()


def fomm() -> FommTraining:
    """FOMM's own for VoxCeleb: batch 40, 75 pairs a clip, milestones 60 and 90; no GAN."""
    return FommTraining(batch=40, repeats=75, milestones=(60, 90))


@dataclass(frozen=True, kw_only=True)
class MotionTraining:
    """The transformer: L1 of keypoints and Jacobians to the frozen detector's, on the single speaker; the rest is chosen here."""

    clips: int = 8  # a step, of all processes
    frames: int = 24  # consecutive ones of each clip: neighbours share their tokens
    epochs: int = 200
    rate: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    milestones: tuple[int, ...] = (120, 170)


def motion() -> MotionTraining:
    """What is taken for the transformer's schedule, which is not published."""
    return MotionTraining()


@dataclass(frozen=True, kw_only=True)
class PoseTraining:
    """Audio-to-pose: L1 of poses and of their change, on runs of clips; all of it is chosen here."""

    clips: int = 16  # a step, of all processes
    frames: int = 64  # that are heard in a run
    epochs: int = 200
    rate: float = 2e-4
    betas: tuple[float, float] = (0.9, 0.999)
    milestones: tuple[int, ...] = (120, 170)


def pose() -> PoseTraining:
    """What is taken for audio-to-pose's schedule, which is not published."""
    return PoseTraining()


@dataclass(frozen=True, kw_only=True)
class Epochs:
    """Epochs, rates and milestones of a schedule over so many items, with so many of them a step."""

    items: int
    batch: int
    epochs: int
    rate: float
    milestones: tuple[int, ...]

    @property
    def steps(self) -> int:
        """Of the whole schedule."""
        return max(1, self.epochs * self.items // self.batch)

    def rate_at(self, step: int) -> float:
        """The learning rate of a step: a tenth after each milestone that its epoch has reached."""
        epoch = step * self.batch // self.items
        return self.rate * 0.1 ** sum(epoch >= m for m in self.milestones)
