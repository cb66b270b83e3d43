"""A clip with the kernels on, under Triton's interpreter, against the same clip with them off: one level in 99.9 % of values."""

import copy

import numpy as np
import torch
from PIL import Image

from kernel_cases import Called
from kernels.switch import use_kernels
from models.avct.cpu import CpuGenerator
from models.avct.engine import AvctEngine, source_keypoints
from models.avct.paper.engine import PaperEngine
from models.avct.paper.generator import Generator
from models.avct.paper.keypoints import KeypointDetector
from models.faces.crop import face_square
from models.faces.mesh import FaceMesh
from models.types import Motion, Portrait
from parity import fill


def portrait_of(width: int, height: int) -> Portrait:
    """A small one, as the interpreter pays by the pixel."""
    with Image.open("demo/portraits/grace_hopper.jpg") as opened, FaceMesh() as mesh:
        picture = np.asarray(opened.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)).copy()
        return Portrait(picture, mesh(picture)[0])


def same_frames(engine: AvctEngine | PaperEngine, portrait: Portrait, motion: Motion, moved: float) -> set[str]:
    """Frames with and without kernels are the same, and differ from the portrait in a part of their values; the operators used."""
    off = np.stack(list(engine.render(portrait, motion)))
    called = Called()
    with use_kernels(), called:
        on = np.stack(list(engine.render(portrait, motion)))
    differing = (on != portrait.picture) | (off != portrait.picture)
    assert differing.mean() > moved
    apart = np.abs(on.astype(int) - off.astype(int))[differing]
    assert (apart <= 1).mean() >= 0.999, f"{(apart > 1).mean():.4%} of the values are more than a level apart"
    return called.names


def moving(values: np.ndarray, jacobians: np.ndarray, frames: int) -> Motion:
    """Keypoints [1, K, 2] that drift to the right, every other one downwards, and Jacobians [1, K, 2, 2] that shear a little."""
    step = np.arange(1, frames + 1)[:, None]
    values, jacobians = np.repeat(values, frames, 0), np.repeat(jacobians, frames, 0)
    values[..., 0] += 0.03 * step
    values[:, ::2, 1] += 0.05 * step
    jacobians[..., 0, 1] += 0.1 * step
    return Motion(values, jacobians, 0)


def test_the_compact_preset() -> None:
    portrait = portrait_of(290, 340)  # whose face is larger than what the networks see
    source = source_keypoints(portrait, face_square(portrait.landmarks))
    engine = copy.copy(AvctEngine.load())
    engine.painter = CpuGenerator(copy.deepcopy(engine.generator), torch.float32)  # not in a processor's own bfloat16
    names = same_frames(engine, portrait, moving(*(part.numpy() for part in source), frames=1), 0.2)
    assert names == {"sparse_motion", "dense_warp", "warp", "picture_warp"}


def test_the_published_preset() -> None:
    unused = torch.nn.Identity()
    detector, generator = fill(KeypointDetector(), "kp_detector."), fill(Generator(), "generator.")
    engine = PaperEngine(detector, generator, unused, lambda: unused)  # type: ignore[arg-type]  # rendering needs neither
    random = np.random.default_rng(0)
    motion = moving(random.uniform(-0.5, 0.5, (1, 10, 2)).astype(np.float32), np.tile(np.eye(2, dtype=np.float32), (1, 10, 1, 1)), frames=1)
    assert same_frames(engine, portrait_of(170, 200), motion, 0.3) == {"sparse_motion", "dense_warp", "picture_warp"}
