"""Faces followed through pictures: shots, tracks with gaps, what passes through and why, and the file that holds it."""

import itertools
import tracemalloc
import weakref
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.tracks import Still, filmed
from infra.errors import InputError
from infra.media import iter_frames
from models.faces import follow as follow_module
from models.faces import limits
from models.faces.crop import Square, face_square
from models.faces.follow import Followed, Lane, Sight
from models.faces.mesh import FaceMesh
from scene_cases import ROOM, Turner, portrait, shifted, swaying, wall
from tasks.dubbing.tracks import TrackFile, TrackWriter, follow


def tracked(frames: Iterable[np.ndarray], folder: Path, fps: int = 25) -> TrackFile:
    follow(filmed(frames, fps), folder / "scene.tracks")
    return TrackFile(folder / "scene.tracks")


@pytest.fixture(scope="module")
def collins() -> list[np.ndarray]:
    return swaying(portrait("astronaut_collins.png", 300, 300), 50)


@pytest.fixture(scope="module")
def hopper() -> list[np.ndarray]:
    return swaying(portrait("grace_hopper.jpg", 300, 300)[:300], 50)


def test_one_face_is_one_track_on_every_picture(collins: list[np.ndarray], tmp_path: Path) -> None:
    found = tracked(collins, tmp_path)
    (track,) = found.tracks
    assert found.frames == 50 and [(s.first, s.last) for s in found.shots] == [(0, 50)]
    assert (track.first, track.last, track.faces, track.usable) == (0, 50, 50, 50) and abs(track.yaw) < 20
    assert np.allclose(found.times, np.arange(50) / 25)
    with FaceMesh() as mesh:
        by_itself = mesh(collins[20])[0][:, :2]
    face = list(found.of(0))[20]
    assert np.abs(face.landmarks - by_itself).max() < 4 and face.frame == 20 and face.passes == ""


def test_a_picture_without_the_face_is_a_gap_and_no_cut(collins: list[np.ndarray], tmp_path: Path) -> None:
    found = tracked([wall(f) if i == 25 else f for i, f in enumerate(collins)], tmp_path)
    (track,) = found.tracks
    assert len(found.shots) == 1 and track.faces == 49
    assert [len(faces) for faces in found.faces()] == [0 if i == 25 else 1 for i in range(50)]
    assert found.passing() == {0: {"no face": [(25, 26)]}}


def test_every_tenth_picture_without_a_face(collins: list[np.ndarray], tmp_path: Path) -> None:
    found = tracked([wall(f) if i % 10 == 0 else f for i, f in enumerate(collins)], tmp_path)
    assert [len(faces) for faces in found.faces()] == [0 if i % 10 == 0 else 1 for i in range(50)]
    assert len(found.tracks) == 1 and found.passing()[0]["no face"] == [(n, n + 1) for n in (10, 20, 30, 40)]
    assert list(found.runs(frozenset({0}))) == [(n, n + size, why) for n in range(0, 50, 10) for n, size, why in ((n, 1, "no face"), (n + 1, 9, ""))]


def test_a_face_that_comes_late_begins_where_it_comes(collins: list[np.ndarray], tmp_path: Path) -> None:
    """It fades in over a wall that stays, between two searches, so that no cut tells of it."""
    found = tracked([*[wall(collins[0])] * 25, *collins[:30]], tmp_path)
    (track,) = found.tracks
    assert (track.first, track.last, track.faces) == (25, 55, 30)


def test_two_people_side_by_side_keep_their_tracks(collins: list[np.ndarray], hopper: list[np.ndarray], tmp_path: Path) -> None:
    found = tracked([np.hstack(pair) for pair in zip(collins, hopper, strict=True)], tmp_path)
    assert [t.faces for t in found.tracks] == [50, 50] and len({t.identity for t in found.tracks}) == 2
    sides = [{face.square.x < 300 for face in found.of(track.number)} for track in found.tracks]
    assert sorted(map(tuple, sides)) == [(False,), (True,)]


def test_no_track_crosses_a_cut_and_a_person_is_known_again(collins: list[np.ndarray], hopper: list[np.ndarray], tmp_path: Path) -> None:
    found = tracked([*collins[:20], *hopper[:20], *collins[25:45]], tmp_path)
    assert [(s.first, s.last) for s in found.shots] == [(0, 20), (20, 40), (40, 60)]
    assert [(t.first, t.last, t.shot) for t in found.tracks] == [(0, 20, 0), (20, 40, 1), (40, 60, 2)]
    first, second, third = (t.identity for t in found.tracks)
    assert first == third != second
    assert list(found.runs(frozenset({0, 2}))) == [(0, 20, ""), (20, 40, "another face"), (40, 60, "")]


def test_a_face_that_leaves_the_picture_is_cut_off_then_gone(collins: list[np.ndarray], tmp_path: Path) -> None:
    found = tracked([shifted(collins[0], 4.0 * i) for i in range(75)], tmp_path)
    (track,) = found.tracks
    told = [faces[0].passes if faces else "no face" for faces in found.faces()]
    assert told[0] == "" and told[-1] == "no face" and "cut off" in told
    assert told == sorted(told, key=["", "cut off", "no face"].index) and track.usable == told.count("")


def test_a_small_face_in_a_large_picture_is_found(collins: list[np.ndarray], tmp_path: Path) -> None:
    """A face of some 64 pixels in 1920 x 1080."""
    with FaceMesh() as mesh:
        side = float(np.ptp(mesh(collins[0])[0][:, :2], axis=0).max())
    zoom = 66 / side
    scene = np.full((1080, 1920, 3), ROOM, np.uint8)
    frames = []
    for i in range(20):
        small = cv2.resize(collins[i], None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)
        frame = scene.copy()
        frame[500 : 500 + small.shape[0], 1100 : 1100 + small.shape[1]] = small
        frames.append(frame)
    found = tracked(frames, tmp_path)
    (track,) = found.tracks
    assert 55 < track.side < 77 and track.faces == 20


def test_a_tiny_face_passes_as_small(collins: list[np.ndarray], tmp_path: Path) -> None:
    shrunk = [cv2.resize(f, (205, 205), interpolation=cv2.INTER_AREA) for f in collins[:20]]
    small = [cv2.copyMakeBorder(f, 40, 40, 60, 60, cv2.BORDER_CONSTANT, value=ROOM) for f in shrunk]
    found = tracked(small, tmp_path)
    assert {face.passes for faces in found.faces() for face in faces} == {"small"} and found.tracks[0].usable == 0


def test_a_hand_over_the_mouth_passes_as_covered(collins: list[np.ndarray], tmp_path: Path) -> None:
    with FaceMesh() as mesh:
        lips = mesh(collins[0])[0][[61, 291, 0, 17], :2]
    (left, top), (right, bottom) = lips.min(0).astype(int), lips.max(0).astype(int)
    frames = [f.copy() for f in collins]
    for frame in frames[15:40]:
        frame[top - 10 : bottom + 12, left - 12 : right + 12] = (20, 120, 60)
    told = [[f.passes for f in faces] for faces in tracked(frames, tmp_path).faces()]
    assert all(row == ["covered"] for row in told[18:36]) and all(row == [""] for row in [*told[:8], *told[47:]])


def test_a_head_that_turns_away_passes_and_comes_back(tmp_path: Path) -> None:
    head = Turner(portrait("grace_hopper.jpg", 360, 420))
    angles = [*[0.0] * 10, *np.linspace(0, 66, 25), *[66.0] * 10, *np.linspace(0, 66, 25)[::-1], *[0.0] * 10]
    seen = {angle: head(angle) for angle in set(angles)}
    found = tracked([seen[angle] for angle in angles], tmp_path)
    told = [faces[0].passes if faces else "no face" for faces in found.faces()]
    assert len(found.shots) == 1 and {told[i] for i in (*range(18), *range(65, 80))} == {""}
    assert set(told[30:48]) <= {"turned", "no face"} and "turned" in told and set(told) <= {"", "turned", "no face"}
    beyond = [angle for angle, why in zip(angles, told, strict=True) if why == "turned"]
    assert 24 < min(beyond) < 50, "some 40 degrees, read as 27"
    assert sum(a != b for a, b in itertools.pairwise(told)) <= 5, "no flicker between drawn and not"


def test_a_face_that_is_gone_for_longer_is_another_track_of_the_same_person(collins: list[np.ndarray], tmp_path: Path) -> None:
    """Something stands before it for 1.4 seconds, then for 0.8."""
    with FaceMesh() as mesh:
        square = face_square(mesh(collins[0])[0])
    (top, bottom), (left, right) = ([int(v - 0.6 * square.side), int(v + 0.6 * square.side)] for v in (square.y, square.x))

    def scene(frames: int, gone: range) -> list[np.ndarray]:
        made = [frame.copy() for frame in [*collins, *collins][:frames]]
        for i in gone:
            made[i][max(0, top) : bottom, left:right] = (150, 120, 90)
        return made

    found = tracked(scene(85, range(25, 60)), tmp_path)
    assert len(found.shots) == 1 and [(t.first, t.last) for t in found.tracks] == [(0, 25), (60, 85)]
    assert len({track.identity for track in found.tracks}) == 1
    bridged = tracked(scene(70, range(25, 45)), tmp_path)
    assert [(t.first, t.last, t.faces) for t in bridged.tracks] == [(0, 70, 50)]


def test_few_pictures_are_held(collins: list[np.ndarray], tmp_path: Path) -> None:
    copies: weakref.WeakValueDictionary[int, np.ndarray] = weakref.WeakValueDictionary()
    most = 0

    def stream() -> Iterator[Still]:
        nonlocal most
        for number, frame in enumerate([*collins, *collins]):
            copy = frame.copy()
            still, copies[number] = Still(number, Fraction(number, 25), copy), copy
            del copy
            most = max(most, len(copies))
            yield still
            del still

    follow(stream(), tmp_path / "held.tracks")
    assert 3 <= most <= 14


def test_networks_are_used_again_shot_after_shot(
    collins: list[np.ndarray], hopper: list[np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[follow_module.Eye] = []

    class Counted(follow_module.Eye):
        def __init__(self) -> None:
            super().__init__()
            made.append(self)

    monkeypatch.setattr(follow_module, "Eye", Counted)
    found = tracked([frame for _ in range(3) for frame in (*collins[:12], *hopper[:12])], tmp_path)
    assert len(found.tracks) == 6 and len({t.identity for t in found.tracks}) == 2
    assert 1 <= len(made) <= 2, "one face at a time, and one more to look back with"


def test_short_sights_are_no_track(collins: list[np.ndarray], tmp_path: Path) -> None:
    found = tracked([f if 20 <= i < 27 else wall(f) for i, f in enumerate(collins)], tmp_path)
    assert found.tracks == () and found.frames == 50 and all(faces == [] for faces in found.faces())


def test_other_rates_change_nothing(collins: list[np.ndarray], tmp_path: Path) -> None:
    """At ten pictures a second, and at fifty."""
    assert tracked(collins[:15], tmp_path, 10).tracks[0].faces == 15
    assert tracked([f for f in collins[:25] for _ in (0, 1)], tmp_path, 50).tracks[0].faces == 50


def test_squares_are_steady_and_landmarks_are_not_smoothed(shared_data: Path, tmp_path: Path) -> None:
    frames = list(iter_frames(shared_data / "grid" / "s4" / "lwbsza.mpg"))
    faces = [row[0] for row in tracked(frames, tmp_path).faces()]
    with FaceMesh(video=True) as mesh:
        raw = np.stack([mesh(frame)[0][:, :2] for frame in frames])
    landmarks = np.stack([face.landmarks for face in faces])
    assert np.median(np.abs(landmarks - raw)) < 0.6
    gap, gap_raw = (np.abs(marks[:, 13, 1] - marks[:, 14, 1]) for marks in (landmarks, raw))
    assert np.corrcoef(gap, gap_raw)[0, 1] > 0.97, "lips move as they do"
    steps = np.abs(np.diff([face.square.side for face in faces]))
    assert steps.max() < 0.5 * np.abs(np.diff([face_square(marks).side for marks in raw])).max()


# the file


def synthetic(rows: int, faces: int = 1) -> Iterator[Followed]:
    """Rows as the tracker hands them on, without pictures; a new track every 100 rows."""
    rng = np.random.default_rng(0)
    shape = rng.normal(0, 50, (478, 2)).astype(np.float32)
    lanes: list[Lane] = []
    for number in range(rows):
        if number % 100 == 0:
            for lane in lanes:
                lane.closed = True
            lanes = [Lane(0, None, kept=True, number=number // 100 * faces + i) for i in range(faces)]
        sights = []
        for i, lane in enumerate(lanes):
            marks = shape + np.float32(200 + 150 * i + number % 7)
            sights.append(Sight(lane, number / 25, marks, 3.0, 300.0, False, square=Square(200.0 + 150 * i, 200.0, 420.0)))
        yield Followed(number, number / 25, 0, sights)


def written(path: Path, rows: int) -> TrackFile:
    with TrackWriter(path) as out:
        for row in synthetic(rows, 2):
            out.write(row)
    return TrackFile(path)


def test_the_file_gives_back_what_was_written(tmp_path: Path) -> None:
    found = written(tmp_path / "x.tracks", 450)
    assert found.frames == 450 and len(found.tracks) == 10 and np.allclose(found.times, np.arange(450) / 25)
    rows = list(found.faces())
    assert len(rows) == 450
    for given, read in zip(synthetic(450, 2), rows, strict=True):
        for sight, face in zip(given.faces, read, strict=True):
            assert np.abs(sight.landmarks - face.landmarks).max() < 0.01 and face.square == sight.square
            assert (face.frame, face.track) == (given.number, sight.lane.number)
    assert [len(row) for row in found.faces(60, 70)] == [2] * 10
    assert [face.frame for face in found.of(3)] == list(range(100, 200)) == [face.frame for row in found.faces(100, 200) for face in row if face.track == 3]
    with pytest.raises(KeyError):
        found.track(10)


def test_memory_does_not_grow_with_length(tmp_path: Path) -> None:
    def peak(rows: int) -> int:
        tracemalloc.start()
        found = written(tmp_path / "long.tracks", rows)
        assert sum(len(faces) for faces in found.faces()) == 2 * rows
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(300)
    short, long = peak(500), peak(5000)
    assert long < short + 2**20, "4,500 rows more are 17 MB of faces: nothing but a row of numbers for each of 90 tracks is held"


def test_a_damaged_file_is_named_and_a_failed_one_leaves_nothing(tmp_path: Path) -> None:
    whole = tmp_path / "whole.tracks"
    written(whole, 120).close()
    for data in (b"", b"text", whole.read_bytes()[:-7], b"X" + whole.read_bytes()[1:]):
        (tmp_path / "bad.tracks").write_bytes(data)
        with pytest.raises(InputError, match=r"bad\.tracks") as caught:
            TrackFile(tmp_path / "bad.tracks")
        assert caught.value.code == "tracks.damaged"

    def failing() -> Iterator[Still]:
        yield from filmed([np.zeros((64, 64, 3), np.uint8)] * 3)
        raise RuntimeError("the decoder broke")

    with pytest.raises(RuntimeError):
        follow(failing(), tmp_path / "never.tracks")
    assert not list(tmp_path.glob("*never*"))


def test_limits_have_a_way_back() -> None:
    """A face that was beyond a limit must come back further than where it went beyond."""
    free = {"yaw": 5.0, "side": 100.0, "cut": False, "hidden": False, "before": ""}
    cases = [
        ({}, ""), ({"yaw": -28.0}, "turned"), ({"yaw": 26.0}, ""), ({"yaw": 26.0, "before": "turned"}, "turned"), ({"yaw": 20.0, "before": "turned"}, ""),
        ({"side": 47.0}, "small"), ({"side": 50.0}, ""), ({"side": 50.0, "before": "small"}, "small"), ({"side": 54.0, "before": "small"}, ""),
        ({"hidden": True}, "covered"), ({"cut": True, "hidden": True, "yaw": 80.0}, "cut off"),
    ]  # fmt: skip
    for given, why in cases:
        assert limits.beyond(**(free | given)) == why, given  # type: ignore[arg-type]
