"""Landmarks, head pose and covered parts, on real portraits and on projections whose pose is known."""

import socket
from pathlib import Path

import numpy as np
import pytest

from infra.errors import SetupError
from models.faces import fan
from models.faces.cover import covered
from models.faces.landmarker import landmarker
from models.faces.mesh_landmarker import MeshLandmarker
from models.faces.points import MESH_68, Face
from models.faces.pose import CANONICAL, angles_of, head_pose, project, rotation, solve
from tasks.faces import read_picture

PORTRAITS = Path(__file__).resolve().parent.parent / "demo" / "portraits"
MODEL = np.array(list(CANONICAL.values()))


@pytest.fixture(scope="module")
def finder() -> MeshLandmarker:
    return MeshLandmarker()


@pytest.fixture(scope="module")
def hopper() -> np.ndarray:
    return read_picture(PORTRAITS / "grace_hopper.jpg")


def poses(count: int, reach: float) -> np.ndarray:
    """Random poses [count, 6] turned up to `reach` radians about each axis."""
    rng = np.random.default_rng(3)
    turns = rng.uniform(-reach, reach, (count, 3))
    return np.concatenate([turns, rng.uniform([-8, -8, 40], [8, 8, 120], (count, 3))], axis=1)


@pytest.mark.parametrize("focal", [300.0, 1500.0])
def test_pose_of_projections_is_recovered(focal: float) -> None:
    for pose in poses(40, 0.9):
        seen = project(pose, MODEL, focal, (320.0, 200.0))
        found = solve(seen, MODEL, focal, (320.0, 200.0))
        assert np.abs(found[:3] - pose[:3]).max() < np.radians(0.05)
        assert np.abs(found[3:] - pose[3:]).max() < 0.05


def test_pose_bears_a_pixel_of_noise() -> None:
    rng = np.random.default_rng(5)
    errors = []
    for pose in poses(60, 0.6):
        seen = project(pose, MODEL, 900.0, (0.0, 0.0))
        found = solve(seen + rng.normal(0, 1.0, seen.shape), MODEL, 900.0, (0.0, 0.0))
        errors.append(np.degrees(np.abs(found[:3] - pose[:3])))
    assert np.percentile(errors, 95) < 2.5


def test_angles_go_there_and_back() -> None:
    for pose in poses(50, 1.4):
        assert np.allclose(angles_of(rotation(pose[:3])), pose[:3], atol=1e-9)


def test_positive_yaw_looks_to_the_left_of_the_picture() -> None:
    nose = np.array([CANONICAL[4]])
    straight, turned = (project(np.array([0, yaw, 0, 0, 0, 60.0]), nose, 900.0, (0.0, 0.0))[0] for yaw in (0.0, 0.5))
    assert turned[0] < straight[0] - 20


def test_a_mirrored_portrait_turns_the_other_way(finder: MeshLandmarker, hopper: np.ndarray) -> None:
    (face,), (mirrored,) = finder(hopper), finder(np.ascontiguousarray(hopper[:, ::-1]))
    one, other = np.degrees(head_pose(face)), np.degrees(head_pose(mirrored))
    assert abs(one[1] + other[1]) < 3 and abs(one[2] + other[2]) < 2 and abs(one[0] - other[0]) < 3
    assert 40 < head_pose(face)[5] < 90, "a portrait is taken from some 60 cm"


def test_68_points_lie_where_their_names_say(finder: MeshLandmarker, hopper: np.ndarray) -> None:
    (face,) = finder(hopper)
    assert face.points.shape == (68, 2) and len(set(MESH_68)) == 68
    jaw, nose, eyes, mouth = face.points[:17], face.points[27:36], face.points[36:48], face.points[48:]
    assert eyes[:, 1].max() < nose[-1, 1] < mouth[:, 1].min() < jaw[8, 1]
    assert jaw[0, 0] < eyes[:6, 0].mean() < nose[0, 0] < eyes[6:, 0].mean() < jaw[16, 0]


@pytest.mark.parametrize("place", [(0.1, 0.1), (0.5, 0.45), (0.88, 0.8)], ids=["corner", "middle", "far"])
def test_a_small_face_in_a_huge_picture_is_found(finder: MeshLandmarker, hopper: np.ndarray, place: tuple[float, float]) -> None:
    height, width = hopper.shape[:2]
    huge = np.full((3600, 5200, 3), (96, 120, 150), np.uint8)
    y, x = int(place[0] * (3600 - height)), int(place[1] * (5200 - width))
    huge[y : y + height, x : x + width] = hopper
    (alone,), faces = finder(hopper), finder(huge)
    assert len(faces) == 1
    apart = np.abs(faces[0].mesh[:, :2] - (alone.mesh[:, :2] + [x, y]))
    assert np.percentile(apart, 95) < 0.02 * alone.size


def test_faces_side_by_side_are_two(finder: MeshLandmarker, hopper: np.ndarray) -> None:
    faces = finder(np.concatenate([hopper, hopper[:, ::-1]], axis=1))
    assert len(faces) == 2 and abs(faces[0].size - faces[1].size) < 0.1 * faces[0].size


def test_every_shared_portrait_shows_eyes_and_mouth(finder: MeshLandmarker, shared_data: Path) -> None:
    names = sorted(p for p in (shared_data / "portraits").iterdir() if p.suffix in (".png", ".jpg"))
    assert len(names) == 12
    for path in names:
        picture = read_picture(path)
        (face,) = finder(picture)
        yaw = float(np.degrees(head_pose(face)[1]))
        assert abs(yaw) < 12, path.name
        assert covered(picture, face, yaw) == {}, path.name


def fan_files(home: Path) -> Path:
    """FAN's files with weights of nought: S3FD then sees no face, and everything else runs as it does with the real ones."""
    import torch
    from face_alignment.detection.sfd.net_s3fd import s3fd
    from face_alignment.models import FAN

    place = home / "hub" / "checkpoints"
    place.mkdir(parents=True)
    for name, net in ((fan.DETECTOR, s3fd()), (fan.POINTS, FAN(4))):
        torch.save({key: torch.zeros_like(value) for key, value in net.state_dict().items()}, place / name)
    return place


def test_without_its_files_fan_says_so_and_the_mesh_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert fan.missing() == [fan.DETECTOR, fan.POINTS]
    with pytest.raises(SetupError) as caught:
        fan.FanLandmarker()
    assert caught.value.code == "setup.fan" and fan.DETECTOR in caught.value.message and str(tmp_path) in caught.value.message
    assert landmarker().name == "mesh"
    assert list(tmp_path.rglob("*")) == []


def test_with_its_files_fan_is_picked_and_fetches_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hopper: np.ndarray, finder: MeshLandmarker
) -> None:
    place = fan_files(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    picked = landmarker()
    assert isinstance(picked, fan.FanLandmarker)
    assert picked(hopper[::4, ::4]) == []
    (seen,) = finder(hopper)
    (face,) = picked.meshed(hopper, [seen.points, np.full((68, 2), 5.0) + np.random.default_rng(0).uniform(0, 40, (68, 2))])
    assert face.source == "fan" and np.percentile(np.abs(face.mesh[:, :2] - seen.mesh[:, :2]), 95) < 0.03 * seen.size
    assert np.abs(np.degrees(head_pose(face)[1] - head_pose(seen)[1])) < 4
    (place / fan.POINTS).write_bytes(b"no weights")
    with pytest.raises(SetupError, match="do not load"):
        fan.FanLandmarker()


def test_a_face_knows_its_box() -> None:
    mesh = np.zeros((478, 3), np.float32)
    mesh[0], mesh[1] = (10, 20, 0), (110, 170, 5)
    face = Face.of_mesh(mesh + np.array([5, 5, 0], np.float32))
    assert face.box == (5, 5, 115, 175) and face.size == 170
