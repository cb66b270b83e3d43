"""Who speaks: by wish, by being alone, by sound; and what is not clear is said, never guessed in silence."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from infra.errors import InputError
from infra.media import VideoWriter, iter_frames, probe, read_audio, write_wav
from infra.video import pictures
from models.syncnet.scorer import unscorable
from models.types import SyncScore
from tasks.dubbing.cast import Cast, Wish, by_sound, choose
from tasks.dubbing.speakers import Turn, parts_of
from tasks.dubbing.tracks import Track, TrackFile, follow
from tasks.score import score_tracks

PORTRAITS = Path(__file__).resolve().parent.parent / "demo" / "portraits"


def video(path: Path, frames: list[np.ndarray], wave: np.ndarray | None) -> Path:
    sound = None
    if wave is not None:
        sound = path.with_suffix(".wav")
        write_wav(sound, wave, 16_000)
    height, width = frames[0].shape[:2]
    with VideoWriter(path, width, height, Fraction(25), sound, crf=18) as out:
        for frame in frames:
            out.write(frame)
    return path


def tracks_of(path: Path) -> TrackFile:
    follow(pictures(path), path.with_suffix(".tracks"))
    return TrackFile(path.with_suffix(".tracks"))


def side_by_side(left: Path, right: Path, sound: Path, path: Path) -> Path:
    torch.set_num_threads(1)
    return video(path, [np.hstack(pair) for pair in zip(iter_frames(left), iter_frames(right), strict=False)], read_audio(sound))


def clip(shared: Path, speaker: str, number: int = 0) -> Path:
    folder = shared / "grid" / speaker
    return sorted([*folder.glob("*.mpg"), *folder.glob("*.mkv")])[number]


@pytest.fixture(scope="module")
def couple(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrackFile]:
    """Two portraits side by side, still and silent: Collins on the left, Hopper on the right."""
    faces = [cv2.resize(cv2.imread(str(PORTRAITS / n))[:500], (300, 300), interpolation=cv2.INTER_AREA)[..., ::-1] for n in ("astronaut_collins.png", "grace_hopper.jpg")]
    path = video(tmp_path_factory.mktemp("couple") / "couple.mp4", [np.ascontiguousarray(np.hstack(faces))] * 40, None)
    return path, tracks_of(path)


def lies_left(found: Cast, tracks: TrackFile, width: float) -> set[bool]:
    return {next(tracks.of(number)).square.x < width / 2 for number in found.tracks}


def test_a_point_a_box_and_a_picture_choose(couple: tuple[Path, TrackFile]) -> None:
    path, tracks = couple
    wishes = {
        True: (Wish(point=(0.22, 0.25), at=1.0), Wish(boxes=((0.5, 0.1, 0.1, 0.4, 0.8),)), Wish(picture=PORTRAITS / "astronaut_collins.png")),
        False: (Wish(point=(0.75, 0.4), at=1.0), Wish(boxes=((0.5, 0.6, 0.1, 0.9, 0.8),)), Wish(picture=PORTRAITS / "grace_hopper.jpg")),
    }
    for left, several in wishes.items():
        for wish in several:
            found = choose(tracks, path, wish)
            assert lies_left(found, tracks, 600) == {left} and not found.ambiguous, wish


def test_boxes_on_both_choose_both(couple: tuple[Path, TrackFile]) -> None:
    path, tracks = couple
    found = choose(tracks, path, Wish(boxes=((0.5, 0.1, 0.1, 0.4, 0.8), (0.5, 0.6, 0.1, 0.9, 0.8))))
    assert lies_left(found, tracks, 600) == {True, False}


def test_wishes_that_meet_nobody_say_what_is_there(couple: tuple[Path, TrackFile], tmp_path: Path) -> None:
    path, tracks = couple
    nobody = tmp_path / "wall.png"
    cv2.imwrite(str(nobody), np.full((200, 200, 3), 90, np.uint8))
    for wish in (Wish(point=(0.5, 0.98), at=1.0), Wish(point=(0.25, 0.4), at=9.0), Wish(boxes=((0.5, 0.0, 0.9, 0.1, 1.0),)), Wish(picture=nobody)):
        with pytest.raises(InputError) as caught:
            choose(tracks, path, wish)
        assert caught.value.code == "input.face_wish" and caught.value.next_step
    with pytest.raises(InputError, match=r"faces are at \(0\.\d\d, 0\.\d\d\) and \(0\.\d\d, 0\.\d\d\)"):
        choose(tracks, path, Wish(point=(0.5, 0.98), at=1.0))


def test_a_stranger_is_not_found(couple: tuple[Path, TrackFile], shared_data: Path) -> None:
    path, tracks = couple
    with pytest.raises(InputError, match="looks like grid_s3"):
        choose(tracks, path, Wish(picture=shared_data / "portraits" / "grid_s3.png"))


def test_without_sound_two_people_are_left_to_a_person(couple: tuple[Path, TrackFile]) -> None:
    path, tracks = couple
    found = choose(tracks, path, None)
    assert found.tracks == frozenset() and "there is no sound" in found.ambiguous and "point at the face" in found.ambiguous


def test_who_is_alone_is_chosen_without_sound(tmp_path: Path) -> None:
    face = cv2.resize(cv2.imread(str(PORTRAITS / "grace_hopper.jpg"))[..., ::-1], (300, 360), interpolation=cv2.INTER_AREA)
    path = video(tmp_path / "alone.mp4", [np.ascontiguousarray(face)] * 20, None)
    found = choose(tracks_of(path), path, None)
    assert found.tracks == {0} and not found.ambiguous and found.how == "the only person seen"


def test_nobody_is_nobody(tmp_path: Path) -> None:
    path = video(tmp_path / "wall.mp4", [np.full((120, 160, 3), 90, np.uint8)] * 10, None)
    found = choose(tracks_of(path), path, None)
    assert found.tracks == frozenset() and "no face" in found.ambiguous


@pytest.mark.parametrize(("left", "right", "speaks"), [("s4", "s20", 0), ("s4", "s20", 1), ("s5", "s1", 0)])
def test_the_one_who_speaks_is_chosen(shared_data: Path, tmp_path: Path, left: str, right: str, speaks: int) -> None:
    """Both people speak to the camera; the sound is one's."""
    clips = clip(shared_data, left), clip(shared_data, right)
    path = side_by_side(*clips, clips[speaks], tmp_path / "two.mp4")
    with tracks_of(path) as tracks:
        found = choose(tracks, path, None)
        width = probe(path).width
        assert len(found.tracks) == 1 and not found.ambiguous and "agree with the sound" in found.how
        assert lies_left(found, tracks, width) == {speaks == 0}
        assert max(found.scores.values()) == found.scores[tracks.track(min(found.tracks)).identity]


def test_each_speaker_is_found_by_their_own_cues(shared_data: Path, tmp_path: Path) -> None:
    """Both people move their lips all the time; the sound is first one's, then the other's."""
    clips = clip(shared_data, "s4"), clip(shared_data, "s20")
    pairs = [np.hstack(pair) for pair in zip(*(list(iter_frames(one))[:75] for one in clips), strict=True)]
    waves = [np.pad(read_audio(one), (0, 48_000))[:48_000] for one in clips]
    path = video(tmp_path / "turns.mp4", pairs * 2, np.concatenate(waves))
    turns = tuple(Turn(name, False, at, at + 3, at, at + 3) for name, at in (("Anna", 0.0), ("Ben", 3.0)))
    with tracks_of(path) as tracks:
        parts = parts_of(tracks, path, turns, {})
        assert {part.speakers: lies_left(part.cast, tracks, probe(path).width) for part in parts} == {("Anna",): {True}, ("Ben",): {False}}
    assert not any(part.cast.ambiguous for part in parts)


def test_a_stranger_s_sound_is_ambiguous_and_says_so(shared_data: Path, tmp_path: Path) -> None:
    """An off-screen voice: neither person on screen says what is heard."""
    path = side_by_side(clip(shared_data, "s4"), clip(shared_data, "s20"), clip(shared_data, "s24"), tmp_path / "off.mp4")
    with tracks_of(path) as tracks:
        found = choose(tracks, path, None)
    assert found.ambiguous and "nobody's lips agree" in found.ambiguous and len(found.tracks) == 1


def track(number: int, identity: int) -> Track:
    return Track(number, identity, 0, 0, 100, 100, 120.0, 3.0, 100)


def heard(value: float, seconds: float = 4.0) -> SyncScore:
    return replace(unscorable("", "x"), scorable=True, extra={"in_sync": value, "seconds": seconds})


class Listed:
    """Tracks without a file: all that the decision by scores looks at."""

    def __init__(self, *tracks: Track) -> None:
        self.tracks = tracks


@pytest.mark.parametrize(
    ("scores", "chosen", "said"),
    [
        ({0: heard(0.8), 1: heard(0.2), 2: heard(0.9)}, {0, 2}, ""),
        ({0: heard(0.8), 1: heard(0.7), 2: heard(0.9)}, {0, 2}, "more than one person"),
        ({0: heard(0.2), 1: heard(0.1), 2: heard(0.2)}, {0, 2}, "nobody's lips"),
        ({0: heard(0.2, 1.0), 1: heard(0.1), 2: heard(0.9, 9.0)}, {0, 2}, ""),
        ({0: unscorable("shorter than a second", "x"), 1: heard(0.6)}, {1}, ""),
        ({0: unscorable("shorter than a second", "x")}, set(), "shorter than a second"),
    ],
)
def test_a_person_s_tracks_count_together(scores: dict[int, SyncScore], chosen: set[int], said: str) -> None:
    found = by_sound(Listed(track(0, 0), track(1, 1), track(2, 0)), scores)  # type: ignore[arg-type]
    assert found.tracks == chosen and (said in found.ambiguous if said else not found.ambiguous)


@pytest.mark.parametrize(
    ("scores", "chosen"),
    [
        ({0: heard(0.8), 1: heard(0.7), 2: heard(0.9)}, {0, 1, 2}),  # both agree with the sound: perhaps one person
        ({0: heard(0.8), 1: heard(0.3), 2: heard(0.9)}, {0, 2}),  # one of them clearly does not
        ({}, {0, 1, 2}),
    ],
)
def test_people_who_are_never_seen_together_may_be_one(scores: dict[int, SyncScore], chosen: set[int]) -> None:
    shots = [replace(track(number, identity), first=100 * number, last=100 * number + 100) for number, identity in ((0, 0), (1, 1), (2, 0))]
    found = by_sound(Listed(*shots), scores)  # type: ignore[arg-type]
    assert found.tracks == chosen and ("may be one person" in found.ambiguous) == (len(chosen) == 3)
    together = by_sound(Listed(*shots[:2], replace(shots[2], first=150)), scores)  # type: ignore[arg-type]
    assert together.tracks == (chosen if len(chosen) == 2 else {0, 2} if scores else set())


def test_tracks_are_scored_by_shot(shared_data: Path, tmp_path: Path) -> None:
    """One clip after another, each with its own sound: each track is in sync where it plays, and says when that is."""
    clips = clip(shared_data, "s4"), clip(shared_data, "s1", 3)
    waves = [np.pad(read_audio(c), (0, 48_000))[:48_000] for c in clips]
    path = video(tmp_path / "cut.mp4", [f for c in clips for f in list(iter_frames(c))[:75]], np.concatenate(waves))
    scores = score_tracks(path)
    assert [round(score.extra["start"]) for score in scores.values()] == [0, 3]
    for score in scores.values():
        assert score.scorable and abs(score.offset) <= 1 and len(score.seconds) == 3
