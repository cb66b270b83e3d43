"""LSE-D and LSE-C of videos: crops, tracks, whole pictures. The weights are made up: what is checked is what reaches the network."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from flow_cases import COLLINS, HOPPER
from infra.jpeg import JpegStep
from infra.media import VideoWriter, write_wav
from infra.settings import get_settings
from infra.video import pictures
from models.imports import bring
from models.syncnet.published import scorer as at_work
from models.syncnet.published.network import PublishedSyncNet
from models.syncnet.published.scorer import PublishedScorer
from parity import fill
from redub_cases import face, swayed
from tasks import score_published
from tasks.dubbing.tracks import TrackFile, follow
from tasks.score import sound_of
from tasks.score_published import cropped, places_of, score_frames_published, score_tracks_published
from tasks.scored import lse_of, scored_tracks

COUNT, AFTER, SIZE = 44, 26, (360, 320)  # pictures of the first person; of the second; width and height


@pytest.fixture(name="film", scope="module")
def film_fixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One person for 44 pictures, then another for 26, and a hum that rises."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    times = np.arange((COUNT + AFTER) * 640) / 16_000
    write_wav(path.with_suffix(".wav"), (0.2 * np.sin(900 * times + 200 * times**2)).astype(np.float32), 16_000)
    people = [face(path, SIZE[1], SIZE[0]) for path in (HOPPER, COLLINS)]
    with VideoWriter(path, *SIZE, Fraction(25), path.with_suffix(".wav"), crf=16, preset="veryfast", threads=1) as out:
        for number in range(COUNT + AFTER):
            out.write(swayed(people[number >= COUNT], number))
    return path


@pytest.fixture(name="imported", scope="module")
def imported_fixture(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A home folder with made-up weights."""
    torch.set_num_threads(1)
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DUBWRIGHT_HOME", str(home))
        get_settings.cache_clear()
        at_work._load.cache_clear()
        torch.save(fill(PublishedSyncNet(), "").state_dict(), home / "syncnet_v2.model")
        yield bring("syncnet", [home / "syncnet_v2.model"], licence="made up")[0]
    get_settings.cache_clear()
    at_work._load.cache_clear()


@pytest.fixture(name="tracks", scope="module")
def tracks_fixture(film: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("tracks") / "faces.tracks"
    follow(pictures(film), path)
    with TrackFile(path) as found:
        yield found


def test_crops_are_the_published_ones(film: Path) -> None:
    """Against the published arithmetic on a padded picture: inside, over an edge, and mostly outside."""
    picture = next(pictures(film))
    whole = picture.rgb()[..., ::-1]
    for x, y, half in ((128.0, 110.3, 55.7), (20.2, 230.9, 61.0), (250.0, 5.0, 90.9)):
        margin = int(half * 1.8)
        padded = np.pad(whole, ((margin, margin), (margin, margin), (0, 0)), "constant", constant_values=110)
        middle_y, middle_x = y + margin, x + margin
        patch = padded[int(middle_y - half) : int(middle_y + half * 1.8), int(middle_x - half * 1.4) : int(middle_x + half * 1.4)]
        assert np.array_equal(cropped(picture, x, y, half), cv2.resize(patch, (224, 224)))


def test_tracks_are_scored_from_their_own_crops_and_sound(film: Path, tracks: TrackFile, imported: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tracks.tracks
    assert {score.reason for score in score_tracks_published(film, tracks).values()} == {"seen for less than 100 pictures"}
    monkeypatch.setattr(score_published, "SHORTEST", 40)
    scores = score_tracks_published(film, tracks)
    assert list(scores) == [first.number, second.number] and scores[second.number].reason == "seen for less than 40 pictures"
    places, step = places_of(tracks, first.number), JpegStep()
    assert places.shape == (COUNT, 3) and abs(places[20, 2] - places[30, 2]) < 3
    faces = [step.array(cropped(picture, *place)) for picture, place in zip(pictures(film, 0, COUNT), places, strict=True)]
    expected = PublishedScorer.load().score(faces, sound_of(film)[: COUNT * 640])
    found = scores[first.number]
    assert found.offset == expected.offset and len(found.window_confidence) == COUNT - 5
    np.testing.assert_allclose(found.distances, expected.distances, rtol=1e-5)


def test_a_track_that_begins_late_hears_what_is_said_then(film: Path, tracks: TrackFile, imported: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score_published, "SHORTEST", 20)
    monkeypatch.setattr(score_published, "SMALLEST", 40.0)
    second = tracks.tracks[1]
    step, places = JpegStep(), places_of(tracks, second.number)
    faces = [step.array(cropped(picture, *place)) for picture, place in zip(pictures(film, second.first), places, strict=True)]
    expected = PublishedScorer.load().score(faces, sound_of(film)[second.first * 640 :])
    found = score_tracks_published(film, tracks)[second.number]
    np.testing.assert_allclose(found.distances, expected.distances, rtol=1e-5)


def test_whole_pictures_are_resized_after_the_jpeg_step(film: Path, imported: Any) -> None:
    step = JpegStep()
    faces = [cv2.resize(step(picture.frame()), (224, 224)) for picture in pictures(film)]
    expected, found = PublishedScorer.load().score(faces, sound_of(film)), score_frames_published(film)
    assert found.offset == expected.offset and len(found.window_confidence) == COUNT + AFTER - 5
    np.testing.assert_allclose(found.distances, expected.distances, rtol=1e-5)


def test_what_is_told_of_a_video(film: Path, imported: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score_published, "SHORTEST", 40)
    rows = scored_tracks(film)
    told = lse_of(film, rows, cropped=False)
    assert told is not None and told["scored"] == 1 and told["mode"] == "real video" and told["weights"] == imported.sha256
    assert told["lse_d"] == rows[0]["published"]["lse_d"] and told["lse_c"] == rows[0]["published"]["lse_c"]
    assert rows[1]["published"]["lse_d"] is None and "same build" in told["note"]
    json.dumps([rows, told])


def test_without_sound_nothing_is_scored_and_without_weights_nothing_is_told(film: Path, imported: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with VideoWriter(tmp_path / "mute.mp4", 256, 240, Fraction(25), None) as out:
        out.write(face(HOPPER))
    told = lse_of(tmp_path / "mute.mp4", [], cropped=True)
    assert told is not None and told["lse_d"] is None and told["scored"] == 0
    monkeypatch.setenv("DUBWRIGHT_HOME", str(tmp_path / "other"))
    get_settings.cache_clear()
    assert lse_of(film, [], cropped=True) is None
    monkeypatch.undo()
    get_settings.cache_clear()
