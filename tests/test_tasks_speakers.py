"""Several speakers: each cue moves its own speaker's lips, others' pixels stay the source's, off-screen speech moves nobody's."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from flow_cases import COLLINS, HOPPER, Watched, run_manifest, settings, write_manifest  # noqa: F401 (settings is a fixture)
from infra.errors import InputError, ManifestError
from infra.settings import Settings
from infra.video import pictures
from models.lipmemory.engine import LipMemoryEngine
from models.syncnet.scorer import unscorable
from redub_cases import COUNT, WIDTH, scene
from tasks.dubbing.cast import Cast, Wish
from tasks.dubbing.redub import Redrawn
from tasks.dubbing.references import References, find_references
from tasks.dubbing.speakers import Part, Turn, lanes_of, parts_of, several, turns_of, untouched
from tasks.dubbing.tracks import Shot, TrackFile, follow
from tasks.manifest import load_manifest
from tasks.scripts import from_webvtt
from tasks.speech import synthesise
from tasks.speech.assigned import check_faces

SCRIPT = "WEBVTT\n\n00:00.000 --> 00:00.600\n<v GRACE>Bob!\n\n00:00.900 --> 00:01.300\n<v Eileen>My!\n\n00:01.500 --> 00:01.900\n<v Grace (V.O.)>Oh!\n"
VOICES = {"GRACE": "espeak:en-us+f2", "EILEEN": "espeak:en-us+f3"}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrackFile]:
    """Hopper on the left, Collins on the right, swaying."""
    folder = tmp_path_factory.mktemp("pair")
    path = scene(folder / "pair.mp4", pair=True)
    follow(pictures(path), folder / "faces.tracks")
    return path, TrackFile.open(folder / "faces.tracks")


@pytest.fixture(scope="module")
def turns() -> tuple[Turn, ...]:
    return turns_of(synthesise(from_webvtt(SCRIPT), "en-US", voices=VOICES))


def left(tracks: TrackFile, numbers: frozenset[int]) -> set[bool]:
    return {next(tracks.of(number)).square.x < WIDTH for number in numbers}


def test_marks_of_speech_off_screen_are_read_and_not_said() -> None:
    cues = from_webvtt(SCRIPT + "\n00:01.900 --> 00:02.000\n<v Eileen>(OFF) Hi (off) you\n\n00:02.000 --> 00:02.100\n<v Eileen>(off) no\n")
    assert [(cue.speaker, cue.text, cue.off) for cue in cues] == [("GRACE", "Bob!", False), ("Eileen", "My!", False), ("Grace", "Oh!", True), ("Eileen", "Hi (off) you", True), ("Eileen", "(off) no", False)]


def test_places_pictures_and_numbers_give_each_speaker_a_face(pair: tuple[Path, TrackFile], turns: tuple[Turn, ...]) -> None:
    path, tracks = pair
    mine = {at: frozenset(track.number for track in tracks.tracks if left(tracks, frozenset([track.number])) == {at}) for at in (True, False)}
    for faces in (
        {"grace": Wish(point=(0.25, 0.4), at=0.5), "EILEEN": Wish(point=(0.73, 0.23), at=0.5)},
        {"Grace": Wish(picture=HOPPER), "Eileen": Wish(picture=COLLINS)},
        {"GRACE": Wish(tracks=tuple(mine[True])), "EILEEN": Wish(tracks=tuple(mine[False]))},
    ):
        parts = parts_of(tracks, path, turns, faces)
        assert {part.speakers: left(tracks, part.cast.tracks) for part in parts} == {("GRACE",): {True}, ("Eileen",): {False}}
        assert not any(part.cast.ambiguous for part in parts)
    with pytest.raises(InputError, match="no face track 99"):
        parts_of(tracks, path, turns, {"GRACE": Wish(tracks=(99,))})


def test_who_is_not_told_and_not_heard_is_left_to_a_person(pair: tuple[Path, TrackFile], turns: tuple[Turn, ...]) -> None:
    path, tracks = pair  # its sound is a hum
    parts = parts_of(tracks, path, turns, {"GRACE": Wish(point=(0.25, 0.4), at=0.5)})
    assert [bool(part.cast.ambiguous) for part in parts] == [False, True] and parts[1].cast.ambiguous.startswith("Eileen: ")
    assert [part.speakers for part in parts_of(tracks, path, turns, {"GRACE": Wish(point=(0.25, 0.4), at=0.5), "EILEEN": "off"})] == [("GRACE",)]


@pytest.mark.parametrize("still", [False, True])
def test_lips_move_with_their_own_cues_alone(pair: tuple[Path, TrackFile], turns: tuple[Turn, ...], tmp_path: Path, still: bool) -> None:
    path, tracks = pair
    speech = synthesise(from_webvtt(SCRIPT), "en-US", voices=VOICES).speech
    faces = {"GRACE": Wish(point=(0.25, 0.4), at=0.5), "EILEEN": Wish(point=(0.73, 0.23), at=0.5)}
    lanes, lead = lanes_of(tracks, turns, parts_of(tracks, path, turns, faces), still=still)
    find_references(path, tracks, [span for lane in lanes for span in lane.spans], tmp_path / "references.npz", 1)
    with References(tmp_path / "references.npz", 0) as references:
        def drawn(chosen: list) -> list[np.ndarray]:  # type: ignore[type-arg]
            return [picture.y for picture in Redrawn(LipMemoryEngine.load(), tracks, chosen, references, speech, 1.4).of(pictures(path), 1)]
        made, silent = drawn(lanes), drawn([replace(lane, times=()) for lane in lanes])
    source = [picture.y for picture in pictures(path)]
    assert len(made) == len(source) == COUNT and lead[0].first == 0 and lead[-1].last == COUNT
    for number, turn in enumerate(turns):
        inside = range(round(turn.begins * 25) + 2, min(COUNT, round(turn.ends * 25) - 1))
        for side, part in enumerate((slice(0, WIDTH), slice(WIDTH, 2 * WIDTH))):
            moved = [not np.array_equal(made[at][:, part], silent[at][:, part]) for at in inside]
            assert all(moved) if side == number else not any(moved), (turn.speaker, side)
            if not still and side != number and (number == 2 or side == 0):  # long after the other's last cue
                far = [at for at in inside if at / 25 > (turns[side].ends if side < number else 0) + 0.3]
                assert all(np.array_equal(made[at][:, part], source[at][:, part]) for at in far)
    off = next(span for span in lead if span.why == "off screen")
    assert off.first >= round(turns[1].ends * 25) and off.last == COUNT
    assert any(span.why == "off screen" for span in untouched(lanes, lead)) != still


def test_two_speakers_with_one_face_by_sound_are_doubted(pair: tuple[Path, TrackFile], turns: tuple[Turn, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    path, tracks = pair
    heard = replace(unscorable("", "x"), scorable=True, extra={"in_sync": 0.9, "seconds": 4.0})
    poor = replace(heard, extra={"in_sync": 0.1, "seconds": 4.0})
    numbers = [track.number for track in tracks.tracks]
    monkeypatch.setattr("tasks.dubbing.speakers.score_turns", lambda path, tracks, slots: {key: {number: heard if number == numbers[0] else poor for number in numbers} for key in slots})
    (part,) = parts_of(tracks, path, turns, {})
    assert part.speakers == ("GRACE", "Eileen") and "given one face" in part.cast.ambiguous


def test_an_hour_of_turns_costs_little() -> None:
    parts = [Part(("A",), Cast(frozenset(), "")), Part(("B",), Cast(frozenset(), ""))]
    many = tuple(Turn("AB"[n % 2], False, 2.0 * n, 2.0 * n + 1, 2.0 * n, 2.0 * n + 1) for n in range(1800))

    class Empty:
        frames, shots, tracks = 90_000, (Shot(0, 90_000),), ()
        times = np.arange(90_000) / 25

        def faces(self, start: int, stop: int) -> object:
            return ([] for _ in range(start, stop))

    lanes, lead = lanes_of(Empty(), many, parts)  # type: ignore[arg-type]
    assert len(lanes) == 2 and lead[-1].last == 90_000 and lanes[0].times is not None and len(lanes[0].times) == 900


def test_names_that_the_script_does_not_have_are_refused_and_one_speaker_asks_nothing(turns: tuple[Turn, ...]) -> None:
    with pytest.raises(ManifestError, match="no cue of BEN") as caught:
        check_faces(from_webvtt(SCRIPT), {"BEN": "off", "grace": "off"})
    assert "GRACE, Eileen" in caught.value.next_step
    assert several(turns, {}) and not several(turns[:1], {})


def test_a_manifest_s_speakers_end_in_one_video(tmp_path: Path, settings: Settings) -> None:  # noqa: F811
    video = scene(tmp_path / "pair.mp4", pair=True)
    (tmp_path / "pair.vtt").write_text(SCRIPT)
    job = {"title": "pair", "video": str(video), "script": "pair.vtt", "voices": VOICES, "faces": {"GRACE": {"picture": str(HOPPER)}, "EILEEN": {"point": [0.73, 0.23], "at": 0.5}}}
    wrong = [{**job, "title": "typo", "faces": {"GRASE": False}}]
    path = write_manifest(tmp_path, [job, *wrong], batch="speakers", defaults={"locale": "en-US"})
    rows = {row["title"]: row for row in run_manifest(load_manifest(path), settings, Watched()).rows["jobs"]}
    assert rows["pair"]["takes"], rows["pair"]["error"]
    notes = " ".join(rows["pair"]["takes"][0]["parameters"]["notes"])
    assert "GRACE: looks like face.1" in notes and "Eileen: wished for by place" in notes and "whoever speaks is off screen" in notes
    assert rows["typo"]["state"] == "failed" and rows["typo"]["error"]["code"] == "faces.unknown"
