"""Re-dubs from manifest to delivery on real faces: the frame law whatever the gaps (P6), untouched pixels (P8), who is redrawn, length."""

import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from db.lineage import lineage
from db.session import open_database
from flow_cases import COLLINS, Watched, run_manifest, settings, write_manifest  # noqa: F401 (settings is a fixture)
from infra.media import ffmpeg
from infra.settings import Settings
from infra.video import Picture, pictures
from models.lipmemory.engine import LipMemoryEngine
from redub_cases import COUNT, WIDTH, scene, without
from tasks.dubbing.redub import Redrawn
from tasks.dubbing.references import References, find_references
from tasks.dubbing.spans import plan_spans, strengths
from tasks.dubbing.speakers import Lane
from tasks.dubbing.tracks import TrackFile, follow
from tasks.manifest import load_manifest
from tasks.scripts import from_text
from tasks.speech import synthesise

TEXT = "Good evening, my friends."


def mirrored(number: int, picture: np.ndarray) -> np.ndarray:
    """Two shots: from the middle on the same person in another studio."""
    return picture if number < 25 else picture[:, ::-1] // 2 + 20


@pytest.fixture(scope="module")
def dubbed(tmp_path_factory: pytest.TempPathFactory, settings: Settings) -> tuple[Path, dict[str, Any], Settings]:  # noqa: F811
    """One batch over footage in which faces come and go; its jobs by title."""
    folder = tmp_path_factory.mktemp("redub")
    scenes = {
        "gap": scene(folder / "gap.mp4", without(lambda number: number == 25)),
        "tenth": scene(folder / "tenth.mp4", without(lambda number: number % 10 == 9)),
        "late": scene(folder / "late.mp4", without(lambda number: number < 25), fps=Fraction(30000, 1001)),
        "leaving": scene(folder / "leaving.mp4", drift=5.0),
        "pair": scene(folder / "pair.mp4", pair=True),
        "cut": scene(folder / "cut.mp4", mirrored),
        "stranger": scene(folder / "stranger.mp4", without(lambda number: number == 25), who=COLLINS),
        "nobody": scene(folder / "nobody.mp4", without(lambda number: True)),
    }
    jobs: list[dict[str, Any]] = [{"title": name, "video": str(path), "text": TEXT} for name, path in scenes.items()]
    (folder / "hi.vtt").write_text("WEBVTT\n\n00:00.000 --> 00:00.600\nHi.\n")
    jobs[5] |= {"quiet_shots": "copy", "original_sound": "keep", "text": "", "script": "hi.vtt"}
    jobs[4]["face"] = {"point": [0.73, 0.23], "at": 0.5}
    jobs.append({"title": "held", "video": str(scenes["gap"]), "text": f"{TEXT} {TEXT} This takes longer than the picture does.", "length": "hold"})
    deep = folder / "deep.mp4"
    command = [ffmpeg(), "-v", "error", "-y", "-i", str(scenes["gap"]), "-c:v", "libx265", "-x265-params", "log-level=error", "-pix_fmt", "yuv420p10le", str(deep)]
    subprocess.run(command, check=True)
    jobs.append({"title": "deep", "video": str(deep), "text": TEXT})
    path = write_manifest(folder, jobs, batch="redub", defaults={"locale": "en-US"})
    done = run_manifest(load_manifest(path), settings, Watched())
    return folder, {row["title"]: row for row in done.rows["jobs"]}, settings


def shown(row: dict[str, Any], settings: Settings) -> list[tuple[float, int]]:  # noqa: F811
    """(time, mean brightness) of each picture of a job's last take, decoded by another reader than the pipeline's."""
    from infra.artifacts import open_artifacts

    with av.open(str(open_artifacts(settings).path(row["takes"][-1]["video"]))) as media:
        return [(float(frame.time or 0), int(frame.to_ndarray(format="gray").mean())) for frame in media.decode(video=0)]


@pytest.mark.parametrize("title", ["gap", "tenth", "late", "leaving", "pair", "cut", "nobody"])
def test_as_many_pictures_come_out_as_went_in(dubbed: tuple[Path, dict[str, Any], Settings], title: str) -> None:
    folder, rows, known = dubbed
    assert rows[title]["state"] in ("delivered", "flagged") and rows[title]["takes"], rows[title]["error"]
    came = shown(rows[title], known)
    with av.open(str(folder / f"{title}.mp4")) as media:
        went = [(float(frame.time or 0), int(frame.to_ndarray(format="gray").mean())) for frame in media.decode(video=0)]
    assert len(came) == len(went) == COUNT
    assert np.allclose([time for time, _ in came], [time for time, _ in went], atol=1e-4)
    assert max(abs(a - b) for (_, a), (_, b) in zip(came, went, strict=True)) <= 4  # walls are where they were


def told(row: dict[str, Any]) -> str:
    return " ".join(row["takes"][0]["parameters"]["notes"])


def test_the_report_says_which_pictures_pass_through_and_why(dubbed: tuple[Path, dict[str, Any], Settings]) -> None:
    _, rows, _ = dubbed
    assert "pictures 25 to 25 (1.00 to 1.00 s) stay as they are: no face is seen" in told(rows["gap"])
    assert all(f"pictures {at} to {at} " in told(rows["tenth"]) for at in range(9, COUNT - 1, 10))
    assert "pictures 0 to 24 (0.00 to 0.80 s) stay as they are: no face is seen" in told(rows["late"])
    assert "cut off by the picture's edge" in told(rows["leaving"]) or "no face is seen" in told(rows["leaving"])
    assert f"pictures 0 to {COUNT - 1}" in told(rows["nobody"])


def test_what_nobody_can_be_sure_of_is_never_delivered(dubbed: tuple[Path, dict[str, Any], Settings]) -> None:
    _, rows, _ = dubbed
    assert rows["nobody"]["state"] == "flagged"
    assert {take["verdict"] for take in rows["nobody"]["takes"]} == {"unscorable"}


def test_a_deep_picture_is_refused_before_anything_is_made(dubbed: tuple[Path, dict[str, Any], Settings]) -> None:
    _, rows, _ = dubbed
    assert rows["deep"]["state"] == "failed" and rows["deep"]["error"]["code"] == "media.ten_bit"
    assert "deep.mp4" in rows["deep"]["error"]["message"] and rows["deep"]["error"]["next_step"]


def test_quiet_shots_and_the_original_sound_stay_where_that_is_asked(dubbed: tuple[Path, dict[str, Any], Settings]) -> None:
    from infra.artifacts import open_artifacts

    _, rows, known = dubbed
    assert "stay as they are: nothing is said in the shot" in told(rows["cut"])
    with av.open(str(open_artifacts(known).path(rows["cut"]["takes"][0]["video"]))) as media:
        assert [stream.metadata.get("language") for stream in media.streams.audio] == ["eng", "und"]


def test_speech_that_runs_on_holds_the_last_picture(dubbed: tuple[Path, dict[str, Any], Settings]) -> None:
    _, rows, known = dubbed
    came = shown(rows["held"], known)
    assert len(came) > COUNT + 10
    assert np.allclose(np.diff([time for time, _ in came]), 0.04, atol=1e-4)
    cues = rows["held"]["takes"][0]["parameters"]["cues"]
    assert cues[-1]["how"] == "held" and {cue["rate"] for cue in cues} == {1.0}
    assert 0 <= came[-1][0] - came[COUNT - 1][0] - sum(cue["held"] for cue in cues) < 0.7  # pauses between sentences are held, too
    assert {value for _, value in came[COUNT:]} <= {came[COUNT - 1][1] + change for change in (-2, -1, 0, 1, 2)}


def test_equal_casts_do_not_share_faces(dubbed: tuple[Path, dict[str, Any], Settings]) -> None:
    """What becomes of every picture is the same in both videos; whose face they show is not."""
    _, rows, known = dubbed
    database = open_database(known)
    parts = []
    for title in ("gap", "stranger"):
        tree = lineage(database, rows[title]["takes"][0]["video"])
        assert tree is not None
        parts.append({part["role"]: part["sha256"] for part in tree["made_from"]})
    assert parts[0]["cast"] == parts[1]["cast"] and parts[0]["references"] != parts[1]["references"]


def test_a_dub_walks_back_to_its_video_and_weights(dubbed: tuple[Path, dict[str, Any], Settings]) -> None:
    _, rows, known = dubbed
    tree = lineage(open_database(known), rows["gap"]["takes"][0]["video"])
    assert tree is not None
    assert {part["role"] for part in tree["made_from"]} == {"video", "speech", "sound", "tracks", "cast", "references"}
    assert {weight["engine"] for weight in tree["takes"][0]["weights"]} == {"lipmemory", "syncnet"}


# before the encode


def followed(path: Path, folder: Path, speaking: frozenset[int] | None = None) -> tuple[TrackFile, list[Any]]:
    follow(pictures(path), folder / "faces.tracks")
    tracks = TrackFile.open(folder / "faces.tracks")
    return tracks, plan_spans(tracks, speaking or frozenset(track.number for track in tracks.tracks), None)


def redrawn(path: Path, folder: Path, tracks: TrackFile, spans: list[Any]) -> list[Picture]:
    speech = synthesise(from_text(TEXT), "en-US").speech
    find_references(path, tracks, spans, folder / "references.npz", 2)
    with References(folder / "references.npz", 0) as references:
        return list(Redrawn(LipMemoryEngine.load(), tracks, [Lane(spans)], references, speech, 1.4).of(pictures(path), 2))


def test_nothing_changes_outside_the_redrawn_face(tmp_path: Path) -> None:
    path = scene(tmp_path / "two.mp4", without(lambda number: number == 25), pair=True)
    tracks, _ = followed(path, tmp_path)
    right = frozenset(track.number for track in tracks.tracks if next(tracks.of(track.number)).square.x > WIDTH)
    assert right and len(right) < len(tracks.tracks)
    spans = plan_spans(tracks, right, None)
    made = redrawn(path, tmp_path, tracks, spans)
    before, faces = list(pictures(path)), list(tracks.faces())
    assert len(made) == len(before) == COUNT
    changed = 0
    for number, (new, old) in enumerate(zip(made, before, strict=True)):
        assert (new.number, new.time) == (old.number, old.time)
        touched = new.y != old.y
        own = [face.square for face in faces[number] if face.track in right]
        if not own:
            assert not touched.any() and np.array_equal(new.u, old.u) and np.array_equal(new.v, old.v)
            continue
        rows, columns = np.nonzero(touched)
        changed += len(rows) > 0
        if len(rows):  # the lower half of the right face's square, and nothing else
            assert rows.min() >= own[0].y - 1 and columns.min() >= own[0].x - own[0].side / 2 - 1
            assert rows.max() <= own[0].y + own[0].side / 2 + 1 and columns.max() <= own[0].x + own[0].side / 2 + 1
            colour = np.nonzero((new.u != old.u) | (new.v != old.v))
            assert not len(colour[0]) or colour[1].min() >= (own[0].x - own[0].side / 2) / 2 - 1
    assert changed > COUNT - 10
    again = redrawn(path, tmp_path, tracks, spans)
    assert all(np.array_equal(a.y, b.y) and np.array_equal(a.u, b.u) for a, b in zip(made, again, strict=True))  # P11


def test_lips_come_and_go_softly_within_a_shot() -> None:
    from tasks.dubbing.spans import Span
    from tasks.dubbing.tracks import Shot

    spans = [Span(0, 10, 1), Span(10, 11, None, "no face"), Span(11, 30, 1), Span(30, 40, None, "turned")]
    found = strengths(spans, [Shot(0, 40)], 25.0)
    assert found[0] == 1 and found[10] == 0 and (found[30:] == 0).all()
    assert 0 < found[9] < found[7] < 1 == found[5] and 0 < found[11] < found[12] < 1 == found[20] and 0 < found[29] < 1
    assert (strengths([Span(0, 40, 1)], [Shot(0, 20), Shot(20, 40)], 25.0) == 1).all()  # a cut asks for no easing


def test_a_shot_in_which_nothing_is_said_can_stay(tmp_path: Path) -> None:
    path = scene(tmp_path / "cut.mp4", mirrored)
    tracks, _ = followed(path, tmp_path)
    assert len(tracks.shots) == 2
    activity = np.zeros(200, np.float32)
    activity[20:60] = 1
    spans = plan_spans(tracks, frozenset(track.number for track in tracks.tracks), activity)
    assert {span.why for span in spans if span.first >= 25} == {"nothing is said"}
    assert all(span.why != "nothing is said" for span in spans if span.last <= 25)


def test_a_real_clip_with_its_own_sound_is_in_sync(tmp_path: Path, shared_data: Path, settings: Settings) -> None:  # noqa: F811
    clip = shared_data / "grid" / "s1" / "bbaf2n.mkv"
    path = write_manifest(tmp_path, [{"title": "own", "video": str(clip), "audio": str(clip)}], batch="own", defaults={"locale": "en-GB"})
    (row,) = run_manifest(load_manifest(path), settings, Watched()).rows["jobs"]
    assert row["state"] == "delivered" and abs(row["takes"][-1]["offset"]) <= 1
    assert len(shown(row, settings)) == 75
