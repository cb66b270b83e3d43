"""AVCT at its published size: parity with the published networks under deterministic weights, and one pass against the published order."""

import copy

import numpy as np
import pytest
import torch

from benchmarks import pipeline, published
from benchmarks.deterministic import networks
from models.avct.convolutions import GrownConv, PairedConv, Winograd
from models.avct.features import audio_rows, pitch_method
from models.avct.paper.audio2pose import AudioToPose
from models.avct.paper.engine import PaperEngine, relative
from models.avct.paper.generator import Generator
from models.avct.paper.keypoints import KeypointDetector, Keypoints
from models.avct.paper.pose import openface_angles, openface_rotation
from models.avct.paper.pose_picture import draw
from models.avct.paper.transformer import PaperTransformer
from models.faces.crop import cut, published_square
from models.types import Phone, Speech
from parity import fill, near, needs_vectors, vectors


@pytest.mark.parametrize(
    ("network", "entries", "parameters"),
    [(KeypointDetector, 75, 14_215_368), (PaperTransformer, 408, 49_323_113), (Generator, 196, 45_575_391), (AudioToPose, 446, 44_135_814)],
)
def test_state_dicts_have_the_published_entries(network: type[torch.nn.Module], entries: int, parameters: int) -> None:
    made = network()
    assert len(made.state_dict()) == entries
    assert sum(p.numel() for p in made.parameters()) == parameters


@needs_vectors
@torch.no_grad()
def test_the_keypoint_detector_is_the_published_one() -> None:
    given = vectors("avct_kp_detector")
    found, feature = fill(KeypointDetector(), "kp_detector.")(torch.from_numpy(given["image"]))
    near(found.values, given["value"])
    near(found.jacobians, given["jacobian"])
    near(feature[:, :, ::8, ::8], given["feature_map"])


@needs_vectors
@torch.no_grad()
def test_the_generator_is_the_published_one() -> None:
    given = {name: torch.from_numpy(value) for name, value in vectors("avct_generator").items()}
    source, driving = (Keypoints(given[f"{who}_value"], given[f"{who}_jacobian"]) for who in ("source", "driving"))
    frame, motion = fill(Generator(), "generator.")(given["image"], source, driving)
    near(motion.flow[:, ::4, ::4], given["deformation"].numpy())
    near(motion.occlusion[:, :, ::4, ::4], given["occlusion"].numpy())
    near(frame[:, :, ::4, ::4], given["prediction"].numpy())


@needs_vectors
@torch.no_grad()
def test_audio_to_pose_is_the_published_one() -> None:
    given = vectors("avct_audio2pose")
    picture, rows = torch.from_numpy(given["picture"]).float()[None, None], torch.from_numpy(given["audio"]).reshape(-1, 4, 41)
    near(fill(AudioToPose(), "audio2pose.")(picture, rows), given["pose"])


def same_frames(found: np.ndarray, expected: np.ndarray) -> None:
    apart = np.abs(found.astype(int) - expected.astype(int))
    assert (apart <= 1).mean() >= 0.999, f"{(apart > 1).mean():.4%} of the values are more than a level apart"


@needs_vectors
def test_a_clip_in_one_pass_is_the_published_clip() -> None:
    given = vectors("avct_clip")
    assert np.array_equal(np.stack([draw(given["pose"][t]) for t in (0, 6)]), given["pose_picture"])
    detector, transformer, generator, audio2pose = networks()
    engine = PaperEngine(detector, generator, transformer, lambda: audio2pose)
    picture = torch.from_numpy(given["image"])
    with torch.inference_mode():
        source, driving = engine.keypoints(picture, given["phonemes"], given["audio"].reshape(-1, 4, 41), given["pose"])
    near(driving.values, given["value"])
    near(driving.jacobians, given["jacobian"])
    made = engine.square_frames(picture, relative(source, driving, 0))
    frames = np.stack([(frame[0].permute(1, 2, 0) * 255).to(torch.uint8).numpy() for frame, _ in made])
    same_frames(frames[:, ::4, ::4], given["frames"])


def test_one_pass_gives_the_frames_of_the_published_order() -> None:
    random = np.random.default_rng(3)
    phones, rows = random.integers(0, 41, 5), random.normal(0, 1, (5, 4, 41)).astype(np.float32)
    poses = np.array([0, 0, 0, 0, 0, 240]) + random.normal(0, 1, (5, 6)) * [0.1, 0.1, 0.05, 8, 8, 20]
    picture = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(1))
    detector, transformer, generator, audio2pose = networks()
    before = np.stack(list(published.frames(detector, transformer, generator, picture, phones, rows, poses)))
    engine = PaperEngine(detector, generator, transformer, lambda: audio2pose)
    with torch.inference_mode():
        source, driving = engine.keypoints(picture, phones, rows, poses)
    made = [(frame[0].permute(1, 2, 0) * 255).to(torch.uint8).numpy() for frame, _ in engine.square_frames(picture, relative(source, driving, 0))]
    same_frames(np.stack(made), before)
    assert before.std() > 5 and np.abs(before[0].astype(int) - before[-1]).max() > 5  # something moves


def test_a_portrait_speaks_at_its_own_resolution() -> None:
    detector, transformer, generator, audio2pose = networks()
    engine, portrait = PaperEngine(detector, generator, transformer, lambda: audio2pose, exact_pitch=False), pipeline.portrait()
    wave = np.concatenate([np.zeros(3200), 0.3 * np.sin(np.arange(6400) * 0.08), np.zeros(3200)]).astype(np.float32)
    speech = Speech(wave, (Phone("AA", 0.2, 0.6),), (np.abs(wave.reshape(-1, 160)).max(1) > 0).astype(np.float32))
    motion = engine.motion(portrait, speech)
    assert motion.frames == speech.frames == 20 and motion.anchor == 0 and np.isfinite(motion.values).all()
    assert engine.motion(portrait, speech, anchor=12).anchor == 12
    square = published_square(portrait.landmarks, portrait.picture.shape[:2])
    with torch.inference_mode():
        own = engine.detector(torch.from_numpy(cut(portrait.picture, square, 256)).permute(2, 0, 1)[None].float() / 255)[0]
    near(motion.values[0], own.values[0].numpy())  # the anchor is the portrait's own expression
    near(motion.jacobians[0], own.jacobians[0].numpy())
    frames = list(engine.render(portrait, motion, 9, 12))
    assert len(frames) == 3 and all(frame.shape == portrait.picture.shape and frame.dtype == np.uint8 for frame in frames)
    below = int(square.y + square.side / 2) + 2
    assert np.array_equal(frames[1][below:], portrait.picture[below:])  # what lies outside the square is the portrait
    assert not np.array_equal(frames[0], frames[2])


@needs_vectors
def test_features_are_the_published_ones() -> None:
    given = vectors("audio_features")
    wave = given["wav"].astype(np.float32) / 32768
    frames = len(wave) // 640
    rows = audio_rows(wave, frames, exact_pitch=pitch_method() == "harvest")
    count = frames * 4 - 4  # the last rows hear past the end of the file
    near(rows[:count, :13], given["avct_mfcc"][:count])
    near(rows[:count, 13:39], given["avct_logfbank"][:count])
    if pitch_method() == "harvest":
        voiced = given["avct_f0_raw"][:count] > 0
        assert np.array_equal(rows[:count, 40] > 0, voiced)
        assert np.abs(rows[:count, 39] - given["avct_f0_raw"][:count])[voiced].max() <= 1e-3 * given["avct_f0_raw"].max()


def test_rotations_are_read_in_openfaces_order() -> None:
    for angles in np.random.default_rng(0).uniform(-0.6, 0.6, (20, 3)):
        assert np.allclose(openface_angles(openface_rotation(angles)), angles)


@torch.no_grad()
def test_less_arithmetic_gives_the_same_numbers() -> None:
    torch.manual_seed(0)
    feature = torch.randn(2, 12, 8, 16)
    wide = torch.nn.Conv2d(12, 7, 3, padding=1)
    assert torch.allclose(Winograd(wide)(feature), wide(feature), atol=1e-5)
    grown = torch.nn.functional.interpolate(feature, scale_factor=2, mode="nearest")
    for layout in (torch.contiguous_format, torch.channels_last):
        assert torch.allclose(copy.deepcopy(GrownConv(wide))(feature.contiguous(memory_format=layout)), wide(grown), atol=1e-5)
    narrow = torch.nn.Conv2d(12, 3, 7, padding=3)
    assert torch.allclose(PairedConv(narrow)(feature), narrow(feature), atol=1e-6)
