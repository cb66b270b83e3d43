"""AVCT's compact preset: geometry, motion transfer, renderer and composition, with the shipped weights."""

import copy
import threading

import cv2
import numpy as np
import pytest
import torch

from models.avct import idle
from models.avct import keypoints as kp
from models.avct import pose as poses
from models.avct.compose import Canvas
from models.avct.cpu import CpuGenerator, Drawn
from models.avct.engine import AvctEngine, source_keypoints
from models.avct.features import audio_rows, phone_rows, pitch
from models.avct.phonemes import PHONES, SIL, from_ipa, index
from models.avct.transformer import windows
from models.faces.crop import Square, cut, face_square
from models.faces.mesh import FaceMesh
from models.types import Motion, Phone, Portrait, Speech

PORTRAIT = "demo/portraits/grace_hopper.jpg"


@pytest.fixture(scope="module")
def portrait() -> Portrait:
    from PIL import Image

    with Image.open(PORTRAIT) as opened, FaceMesh() as mesh:
        picture = np.asarray(opened.convert("RGB")).copy()
        return Portrait(picture, mesh(picture)[0])


@pytest.fixture(scope="module")
def speech() -> Speech:
    """A second and a half: silence, "ma ma" as tones and pauses, silence."""
    phones = [Phone(s, 0.4 + 0.15 * i, 0.55 + 0.15 * i) for i, s in enumerate(("M", "AA", "M", "AA"))]
    time = np.arange(24_000) / 16_000
    wave = np.where((time > 0.4) & (time < 1.0), 0.3 * np.sin(2 * np.pi * 150 * time), 0).astype(np.float32)
    activity = ((np.arange(150) >= 40) & (np.arange(150) < 100)).astype(np.float32)
    return Speech(wave, tuple(phones), activity)


def track(count: int = 20) -> np.ndarray:
    random = np.random.default_rng(0)
    return np.cumsum(random.normal(0, 0.003, (count, 478, 2)), axis=0) + random.uniform(-0.7, 0.7, (1, 478, 2))


def test_phone_set_is_the_published_one() -> None:
    assert len(PHONES) == 41 and PHONES[24] == "NSN" and PHONES[31] == "SIL" and SIL == 31
    assert list(PHONES) == sorted(PHONES)
    assert index("AA1") == 0


@pytest.mark.parametrize(("ipa", "phone"), [("b", "B"), ("m", "M"), ("y", "UW"), ("f", "F"), ("tʃ", "CH"), ("oʊ", "OW"), ("ç", "HH")])
def test_lips_of_a_sound_survive_the_table(ipa: str, phone: str) -> None:
    assert from_ipa(ipa) == ((phone,), ())


def test_unknown_sounds_are_reported() -> None:
    assert from_ipa("a☃")[1] == ("☃",)


def test_mirror_swaps_sides_and_back() -> None:
    assert [kp.MIRROR[i] for i in kp.MIRROR] == list(range(kp.COUNT))
    assert kp.NAMES[kp.MIRROR[kp.NAMES.index("jaw_l")]] == "jaw_r"


def test_jacobians_turn_with_the_head() -> None:
    values, jacobians = kp.from_landmarks(track(1)[0])
    turn = np.array([[0.0, -1.0], [1.0, 0.0]])
    assert np.allclose(kp.jacobians_of(values @ turn.T), turn @ jacobians, atol=1e-9)


def test_anchor_frame_reproduces_the_source() -> None:
    driver, source = track(), track(1)[0] * 0.8 + 0.05
    pose = poses.pose_of(driver)
    driving = poses.to_head(*kp.from_landmarks(driver), pose)
    values, jacobians = kp.from_landmarks(source)
    motion = poses.transfer(driving, pose, 7, (values, jacobians), poses.pose_of(source))
    assert np.allclose(motion.values[7], values, atol=1e-5)
    assert np.allclose(motion.jacobians[7], jacobians, atol=1e-5)


def test_driving_oneself_is_the_identity() -> None:
    driver = track()
    pose = poses.pose_of(driver)
    values, jacobians = kp.from_landmarks(driver)
    motion = poses.transfer(poses.to_head(values, jacobians, pose), pose, 0, (values[0], jacobians[0]), pose[0])
    assert np.allclose(motion.values, values, atol=1e-4)


def test_windows_hold_the_ends() -> None:
    tokens = torch.arange(4.0)[:, None]
    assert windows(tokens, 2)[:, :, 0].tolist()[0] == [0, 0, 0, 1, 2]
    assert windows(tokens, 2)[:, :, 0].tolist()[3] == [1, 2, 3, 3, 3]


def test_features_count_rows_and_find_pitch() -> None:
    time = np.arange(16_000) / 16_000
    tone = np.sign(np.sin(2 * np.pi * 160 * time)).astype(np.float32) * 0.3
    rows = audio_rows(tone, 25)
    assert rows.shape == (100, 41) and np.isfinite(rows).all()
    assert abs(np.median(pitch(tone, 100)) - 160) < 3
    assert rows[20:80, 40].mean() > 0.95
    assert np.isfinite(audio_rows(np.zeros(100, np.float32), 3)).all()


def test_long_sound_gives_the_same_rows_as_its_parts() -> None:
    wave = np.random.default_rng(1).normal(0, 0.1, 16_000 * 65).astype(np.float32)
    whole = audio_rows(wave, 65 * 25)
    assert whole.shape == (6_500, 41) and np.isfinite(whole).all()
    assert np.abs(whole[3_001:3_010, :39].mean() - whole[2_985:2_994, :39].mean()) < 3  # no seam at the block's border


def test_phone_rows_leave_silence_between() -> None:
    rows = phone_rows([Phone("B", 0.1, 0.2)], 10)
    assert rows[5] == SIL and rows[15] == index("B") and rows[25] == SIL


def test_no_motion_gives_the_portrait_back(portrait: Portrait) -> None:
    values, jacobians = (t.numpy() for t in source_keypoints(portrait, face_square(portrait.landmarks)))
    frame = next(iter(AvctEngine.load().render(portrait, Motion(values, jacobians, 0))))
    error = np.mean((frame.astype(float) - portrait.picture) ** 2)
    assert 10 * np.log10(255**2 / max(error, 1e-9)) > 45


def test_pixels_outside_the_face_square_stay(portrait: Portrait, speech: Speech) -> None:
    engine = AvctEngine.load()
    frames = list(engine.render(portrait, engine.motion(portrait, speech, seed=3)))
    square = face_square(portrait.landmarks)
    outside = np.ones(portrait.picture.shape[:2], bool)
    outside[
        max(0, int(np.floor(square.y - square.side / 2))) : int(np.ceil(square.y + square.side / 2)),
        max(0, int(np.floor(square.x - square.side / 2))) : int(np.ceil(square.x + square.side / 2)),
    ] = False
    assert len(frames) == speech.frames == 38
    assert all(frame.shape == portrait.picture.shape for frame in frames)
    assert max(int(np.abs(f.astype(int) - portrait.picture)[outside].max(initial=0)) for f in frames) == 0


def test_same_seed_same_frames_other_seed_other_frames(portrait: Portrait, speech: Speech) -> None:
    engine = AvctEngine.load()
    first, again, other = (engine.motion(portrait, speech, seed=s) for s in (5, 5, 6))
    assert np.array_equal(first.values, again.values)
    assert not np.array_equal(first.values, other.values)
    made = [np.stack(list(engine.render(portrait, first, 0, 12))) for _ in range(2)]
    assert np.array_equal(*made)


def test_rendering_from_the_middle_gives_the_same_frames(portrait: Portrait, speech: Speech) -> None:
    engine = AvctEngine.load()
    motion = engine.motion(portrait, speech, seed=5)
    whole = list(engine.render(portrait, motion))
    part = list(engine.render(portrait, motion, 11, 17))
    assert len(part) == 6
    assert max(int(np.abs(a.astype(int) - b).max()) for a, b in zip(whole[11:17], part, strict=True)) <= 1


def plain(engine: AvctEngine, portrait: Portrait, motion: Motion, frames: slice) -> Drawn:
    """The networks as they were trained, over one batch."""
    canvas = Canvas(portrait.picture, face_square(portrait.landmarks), engine.generator.config.size)
    driving = torch.from_numpy(motion.values[frames]), torch.from_numpy(motion.jacobians[frames])
    picture = torch.from_numpy(canvas.small).permute(2, 0, 1)[None].expand(len(driving[0]), -1, -1, -1)
    source = source_keypoints(portrait, face_square(portrait.landmarks))
    made = engine.generator(picture, engine.generator.encode(picture), tuple(t.expand_as(d) for t, d in zip(source, driving, strict=True)), driving)
    return Drawn(made.flow, torch.cat([made.painted, made.alpha], 1).permute(0, 2, 3, 1))


@pytest.mark.parametrize(("dtype", "tolerance", "level"), [(torch.float32, 5e-5, 0), (torch.bfloat16, 0.25, 1)])
@torch.inference_mode()
def test_the_renderer_for_cpus_is_the_trained_one(portrait: Portrait, speech: Speech, dtype: torch.dtype, tolerance: float, level: int) -> None:
    engine, part = AvctEngine.load(), slice(14, 20)
    motion = engine.motion(portrait, speech, seed=5)
    expected = plain(engine, portrait, motion, part)
    canvas = Canvas(portrait.picture, face_square(portrait.landmarks), engine.generator.config.size)
    made = CpuGenerator(copy.deepcopy(engine.generator), dtype)
    scene = made.scene(torch.from_numpy(canvas.small).permute(2, 0, 1)[None], source_keypoints(portrait, face_square(portrait.landmarks)))
    found = made(scene, (torch.from_numpy(motion.values[part]), torch.from_numpy(motion.jacobians[part])))
    assert (found.flow - expected.flow).abs().max() < tolerance * 0.1 and (found.paint - expected.paint).abs().max() < tolerance
    frames = [np.stack([canvas.compose(*pair) for pair in zip(d.flow.numpy(), d.paint.numpy(), strict=True)]).astype(int) for d in (found, expected)]
    assert (np.abs(frames[0] - frames[1]) > level).mean() < 1e-3 and frames[0].std(0).max() > 5


def test_frames_made_ahead_are_the_plain_loops(portrait: Portrait, speech: Speech) -> None:
    engine = AvctEngine.load()
    motion = engine.motion(portrait, speech, seed=5)
    alone = list(engine.render(portrait, motion, 0, 14))
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        together = list(engine.render(portrait, motion, 0, 14))
        started = engine.render(portrait, motion)
        assert np.array_equal(next(started), alone[0])
        started.close()
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(alone, together)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]


def test_mouth_moves_in_speech_and_rests_in_silence(portrait: Portrait, speech: Speech) -> None:
    motion = AvctEngine.load().motion(portrait, speech, seed=1)
    opening = kp.mouth_opening(motion.values)
    assert opening[10:25].std() > 4 * opening[31:].std()


def test_blinks_close_the_lids_and_are_rare() -> None:
    closure = idle.blinks(2_500, np.ones(2_500), seed=1)
    starts = int(((closure[1:] > 0) & (closure[:-1] == 0)).sum())
    assert 8 <= starts <= 60 and closure.max() == 1.0
    values = np.tile(np.random.default_rng(0).normal(0, 0.1, (1, kp.COUNT, 2)), (3, 1, 1))
    shut = idle.close_lids(values, np.array([0.0, 1.0, 0.5]))
    upper, lower = kp.NAMES.index("upper_lid_l"), kp.NAMES.index("lower_lid_l")
    gaps = np.linalg.norm(shut[:, upper] - shut[:, lower], axis=-1)
    assert gaps[1] < 0.1 * gaps[0] < gaps[0]


def test_squares_and_their_matrices_agree() -> None:
    square = Square(50.0, 40.0, 20.0)
    points = np.array([[45.0, 33.0], [58.0, 49.5]])
    assert np.allclose(square.to_pixels(square.to_unit(points)), points)
    centre = square.matrix(10) @ np.array([49.5, 39.5, 1.0])  # the pixel whose centre is the square's, counted from 0
    assert np.allclose(centre, 4.5)


def test_composition_without_flow_keeps_the_picture() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (90, 120, 3)).astype(np.uint8)
    canvas = Canvas(picture, Square(60.0, 45.0, 100.0), 128)  # leaves the picture above and below
    line = (np.arange(64, dtype=np.float32) * 2 + 1) / 64 - 1
    frame = canvas.compose(np.stack(np.meshgrid(line, line), -1), np.zeros((128, 128, 4), np.float32))
    assert np.abs(frame.astype(int) - picture).max() <= 1
    assert cut(picture, Square(60.0, 45.0, 100.0), 128).shape == (128, 128, 3)


def noisy_patch(side: float) -> tuple[Canvas, np.ndarray, np.ndarray]:
    """A canvas whose face is `side` pixels wide, a patch of skin with grain, and the same as a network at 128 px would paint it."""
    random = np.random.default_rng(2)
    canvas = Canvas(random.integers(0, 256, (600, 600, 3), np.uint8), Square(300.0, 300.0, side), 128)
    moved = cv2.GaussianBlur(random.normal(120, 40, (*canvas.fade.shape, 3)), (0, 0), 1.5).astype(np.float32)
    return canvas, moved, cv2.GaussianBlur(moved, (0, 0), 1.2 * side / 128)


def test_painted_skin_keeps_the_portraits_detail_and_what_opens_is_left_alone() -> None:
    canvas, moved, painted = noisy_patch(400.0)
    used = np.zeros(moved.shape[:2], bool)
    used[150:250, 120:280] = True
    found = canvas.detailed(painted.copy(), moved, used)
    inner = (slice(160, 240), slice(130, 270))
    assert np.abs(found - moved)[inner].mean() < 0.4 * np.abs(painted - moved)[inner].mean()
    assert np.array_equal(found[:100], painted[:100])  # where nothing is painted nothing is computed
    other = painted * 0.2  # a dark opening where the warp shows stretched lips
    assert np.abs(canvas.detailed(other.copy(), moved, used) - other).mean() < 0.05 * np.abs(moved - painted).mean()


def test_a_portrait_no_larger_than_the_networks_see_is_painted_as_it_is() -> None:
    canvas, moved, painted = noisy_patch(128.0)
    assert canvas.detailed(painted, moved, np.ones(moved.shape[:2], bool)) is painted
