"""What a job delivers besides: one real take, delivered whole through an outage, each file read back by others; QC that fails what was damaged, and nothing else."""

import csv
import json
import re
import subprocess
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from db import ledger
from db.ledger import Lease
from db.session import Database, open_database
from flow_cases import HOPPER, ROOT, allow, new_home, write_manifest
from infra.artifacts import open_artifacts
from infra.errors import ManifestError, StoreUnavailable
from infra.marking import detect, manifest
from infra.marking.signer import open_signer
from infra.media import ffmpeg
from infra.packaging import heights_of, index_of, spec
from infra.settings import Settings
from infra.store import FolderStore, sha256_of
from models.types import Cue
from tasks import consent, judge, prepare, publish, takes
from tasks.deliverables.asked import QcRow
from tasks.ingest import ingest
from tasks.manifest import check, load_manifest
from tasks.motion import move
from tasks.plan import plan, submit
from tasks.qc.anyfile import examine_file, examine_package
from tasks.qc.checks import Known, judged
from tasks.qc.picture import beyond, overlap, watch
from tasks.qc.report import examine, written
from tasks.render import render
from tasks.stages import Work

RECORDING = ROOT / "demo" / "recordings" / "mission.en-GB.flac"
TEXT = "Buenas noches a todos. Me alegra mucho estar hoy con ustedes."
NAME = "welcome.es-ES"


@pytest.fixture(name="settings", scope="module")
def settings_fixture() -> Iterator[Settings]:
    with new_home() as home:
        yield Settings(home=home, max_takes=1)


def worker(database: Database, settings: Settings, held: Lease, folder: Path) -> Work:
    """A worker that came to the job."""
    folder.mkdir()
    work = Work(database, open_artifacts(settings), settings, held, folder)
    ingest(work)
    consent.check(work)
    prepare.speech(work)
    return work


@pytest.fixture(name="out", scope="module")
def out_fixture(tmp_path_factory: pytest.TempPathFactory, settings: Settings) -> Iterator[Path]:
    """One job with everything: its stages as a flow runs them, a store that fails in the middle of its delivery, and another worker that goes on."""
    folder = tmp_path_factory.mktemp("deliver")
    asked = {"formats": ["mov", "hls"], "heights": [240], "segment": 1, "tracks": [{"audio": str(RECORDING), "locale": "en-GB", "kind": "commentary"}], "stems": "wav", "qc": True}
    job = {"title": "welcome", "locale": "es-ES", "text": TEXT, "captions": ["vtt", "srt", "ttml"], "timecode": {"rate": 25, "start": "10:00:00:00"}, "deliver": asked}
    allow(settings, HOPPER, RECORDING)
    database = open_database(settings)
    made = plan(load_manifest(write_manifest(folder, [job])), database, settings)
    held = ledger.lease(database, submit(made, database, open_artifacts(settings)).batch_id, "w", 3600)
    assert held is not None
    first = worker(database, settings, held, folder / "first")
    prepare.faces(first)
    take = takes.next_take(first)
    assert take is not None
    for stage in (move, render, judge.score, judge.gate):
        stage(first, take)
    put = FolderStore.put

    def failing(self: FolderStore, key: str, source: Any, **how: Any) -> Any:
        if key.endswith("master.m3u8"):
            raise StoreUnavailable("the store does not answer")
        return put(self, key, source, **how)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(FolderStore, "put", failing)
        with pytest.raises(StoreUnavailable):
            publish.deliver(first, take)
    assert not (folder / "out" / f"{NAME}.mp4").exists()
    take.made.pop("score")  # as of a take that the ledger holds
    publish.deliver(worker(database, settings, held, folder / "second"), take)
    yield folder / "out"
    database.close()


def read_back(path: Path) -> dict[str, list[Any]]:
    """What ffmpeg's libraries find in a file: (codec, language, name) of each stream by kind."""
    with av.open(str(path)) as media:
        found: dict[str, list[Any]] = {}
        for stream in media.streams:
            found.setdefault(stream.type, []).append((stream.codec_context.name, stream.metadata.get("language"), stream.metadata.get("handler_name")))
        return found


def test_a_delivery_is_whole_after_an_outage_and_says_what_it_holds(out: Path) -> None:
    told = json.loads((out / f"{NAME}.json").read_text())["files"]
    names = {row["name"] for row in told.values()} | {f"{NAME}.json"}
    assert names == {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file() and not path.name.startswith("report-")}
    assert all(sha256_of(out / row["name"]) == row["sha256"] and (out / row["name"]).stat().st_size == row["size"] for row in told.values())
    assert {f"{NAME}{end}" for end in (".mp4", ".mov", ".vtt", ".srt", ".ttml", ".dialogue.wav", ".hls/master.m3u8", ".qc.json", ".qc.csv", ".qc.html")} <= names


def test_tracks_have_their_languages_and_the_dub_comes_first(out: Path) -> None:
    for suffix in (".mp4", ".mov"):
        found = read_back(out / f"{NAME}{suffix}")
        assert found["video"][0][0] == "h264" and [row[:2] for row in found["audio"]] == [("aac", "spa"), ("aac", "eng")]
        assert found["audio"][1][2] == "English (United Kingdom)"
    with av.open(str(out / f"{NAME}.mp4")) as media:
        from av.stream import Disposition

        first, second = media.streams.audio
        assert first.disposition & Disposition.default and not second.disposition & Disposition.default


def packets(path: Path, kind: str) -> list[bytes]:
    with av.open(str(path)) as media:
        return [bytes(packet) for packet in media.demux(getattr(media.streams, kind)[0]) if packet.size]


def test_mov_holds_the_same_pictures_and_each_file_is_signed(out: Path, settings: Settings) -> None:
    assert packets(out / f"{NAME}.mov", "video") == packets(out / f"{NAME}.mp4", "video")
    anchor = open_signer(settings).anchor
    files = [out / f"{NAME}.mp4", out / f"{NAME}.mov", out / f"{NAME}.dialogue.wav", *(out / f"{NAME}.hls").glob("*.mp4")]
    assert len(files) == 7
    told = [manifest.read(path, anchor) for path in files]
    assert [one.state for one in told] == ["trusted"] * 7
    for path, one in zip(files, told, strict=True):
        pictures = "video" in read_back(path)
        assert bool(one.payload) == pictures
        if pictures:
            assert f"{detect.carries(path, int(one.payload, 16)).payload:016x}" == one.payload


def test_whose_voice_a_further_track_is_must_be_allowed(out: Path, settings: Settings) -> None:
    """The recording is among what the delivery rests on, by the database's own walk; without a record its job is not even planned."""
    from sqlalchemy import select

    from db import tables as t
    database = open_database(settings)
    with database.begin() as session:
        assert {sha256_of(RECORDING), sha256_of(HOPPER)} <= set(session.execute(select(t.DeliveryConsent.sha256)).scalars())
    (out.parent / "other.flac").write_bytes(RECORDING.read_bytes() + b"\0")
    deliver = {"tracks": [{"audio": "other.flac", "locale": "en-GB"}]}
    made = plan(load_manifest(write_manifest(out.parent, [{"title": "b", "text": TEXT, "deliver": deliver}])), database, settings)
    assert made.jobs[0].error is not None and made.jobs[0].error.code == "consent.missing" and "other.flac" in made.jobs[0].error.message


def test_the_ladder_is_read_by_ffmpeg_and_keeps_the_rules(out: Path, tmp_path: Path, settings: Settings) -> None:
    master = out / f"{NAME}.hls" / "master.m3u8"
    assert spec.faults_of(master) == [] and examine_package(master, settings)["verdict"] == "pass"
    done = subprocess.run([ffmpeg(), "-v", "error", "-i", str(master), "-map", "0:v", "-map", "0:a", "-f", "framecrc", "-"], capture_output=True, text=True, check=True)
    assert not done.stderr
    counts = [sum(line.startswith(f"{stream},") for line in done.stdout.splitlines()) for stream in (0, 1)]
    film = len(packets(out / f"{NAME}.mp4", "video"))
    assert counts == [film, film] and film > 80
    tall = {row[1]: row for row in re.findall(r"BANDWIDTH=(\d+).*RESOLUTION=\d+x(\d+),FRAME-RATE=25.000", master.read_text())}
    assert set(tall) == {"240", "600"} and int(tall["240"][0]) < int(tall["600"][0])
    indices = [index_of(path) for path in sorted(master.parent.glob("v*.mp4"))]
    assert [one.start for one in indices[0].segments] == [Fraction(n) for n in range(len(indices[0].segments))] == [one.start for one in indices[1].segments]


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("master.m3u8", lambda text: re.sub(r"BANDWIDTH=\d+", "BANDWIDTH=1000", text, count=1), "BANDWIDTH is 1000"),
        ("master.m3u8", lambda text: text.replace("avc1.", "avc1.00", 1), "CODECS does not name"),
        ("master.m3u8", lambda text: text.replace("RESOLUTION=512x600", "RESOLUTION=512x602"), "the pictures are 512x600"),
        ("master.m3u8", lambda text: text.replace("DEFAULT=NO", "DEFAULT=YES"), "not exactly one sound is the default"),
        ("v240.m3u8", lambda text: text.replace("TARGETDURATION:1", "TARGETDURATION:0"), "more than the target duration"),
        ("v240.m3u8", lambda text: re.sub(r"BYTERANGE:(\d+)@(\d+)", lambda m: f"BYTERANGE:{m[1]}@{int(m[2]) + 1}", text, count=1), "byte ranges"),
        ("v240.m3u8", lambda text: text.replace("#EXT-X-ENDLIST", ""), "ENDLIST"),
        ("a1.m3u8", lambda text: text.replace("#EXTINF", "#EXT-X-DISCONTINUITY\n#EXTINF", 1), "discontinuity"),
        ("s1.m3u8", lambda text: text.replace("s1.vtt", "s2.vtt"), "WebVTT file is missing"),
    ],
    ids=["bandwidth", "codecs", "resolution", "default", "target", "range", "end", "discontinuity", "captions"],
)  # fmt: skip
def test_a_package_that_breaks_a_rule_is_told(out: Path, tmp_path: Path, name: str, change: Any, said: str) -> None:
    for path in (out / f"{NAME}.hls").iterdir():
        (tmp_path / path.name).symlink_to(path)
    text = (tmp_path / name).read_text()
    assert change(text) != text
    (tmp_path / name).unlink()
    (tmp_path / name).write_text(change(text))
    assert any(said in fault for fault in spec.faults_of(tmp_path / "master.m3u8"))


def test_stems_are_the_speech_at_its_place_in_the_programme(out: Path) -> None:
    data = (out / f"{NAME}.dialogue.wav").read_bytes()
    at = data.index(b"bext") + 8
    with av.open(str(out / f"{NAME}.dialogue.wav")) as media:
        rate, seconds = media.streams.audio[0].rate, float(media.duration) / 1e6
    low, high = (int.from_bytes(data[at + 338 + 4 * n : at + 342 + 4 * n], "little") for n in (0, 1))  # EBU Tech 3285: after the time
    assert low + (high << 32) == 36_000 * rate
    assert abs(seconds - len(packets(out / f"{NAME}.mp4", "video")) / 25) < 0.05


def test_a_report_says_the_same_three_times(out: Path) -> None:
    told = json.loads((out / f"{NAME}.qc.json").read_text())
    rows = list(csv.DictReader((out / f"{NAME}.qc.csv").open(newline="")))
    page = (out / f"{NAME}.qc.html").read_text()
    assert [row["name"] for row in rows] == [one["name"] for one in told["checks"]] and [row["state"] for row in rows] == [one["state"] for one in told["checks"]]
    assert told["sha256"] == sha256_of(out / f"{NAME}.mp4") and told["sha256"] in page and all(one["name"] in page for one in told["checks"])
    assert "http" not in page.replace("http-equiv", "") and "<script" not in page
    states = {one["name"]: one["state"] for one in told["checks"]}
    sure = ("A/V offset", "Sync score, as the gate judges it", "C2PA manifest", "Watermark", "Black frames", "Frozen frames", "Number of pictures", "Clipping", "HLS package", "Cues")
    assert {name: states[name] for name in sure} == dict.fromkeys(sure, "pass")
    assert states["Sound 2 ends with the picture"] == "fail"  # that recording is longer than the picture, and the report says so


PICTURES, SOUND = ("-map", "0:v", "-map", "0:a:0", "-c:a", "copy"), ("-map", "0:v", "-map", "0:a:0", "-c:v", "copy")
DAMAGE = {
    "black": ((*PICTURES, "-vf", "drawbox=enable='between(t,1,1.5)':color=black:t=fill"), {"Black frames"}),
    "frozen": ((*PICTURES, "-vf", "trim=end=0.8,tpad=stop_mode=clone:stop_duration=4"), {"Frozen frames"}),
    "held": ((*PICTURES, "-vf", "tpad=stop_mode=clone:stop_duration=3"), set[str]()),
    "clipped": ((*SOUND, "-af", "volume=24dB"), {"Clipping", "True peak"}),
    "mute": ((*SOUND, "-af", "volume=enable='between(t,2,4)':volume=0"), {"Cues in which nothing is heard"}),
    "late": ((*SOUND, "-af", "adelay=400"), {"Sound ends with the picture"}),
}  # fmt: skip


@pytest.mark.parametrize("way", DAMAGE)
def test_damage_fails_where_it_is_and_nowhere_else(out: Path, tmp_path: Path, settings: Settings, way: str) -> None:
    """A portrait that keeps still while nobody speaks is not frozen."""
    options, wanted = DAMAGE[way]
    path = tmp_path / f"{way}.mp4"
    subprocess.run([ffmpeg(), "-v", "error", "-y", "-i", str(out / f"{NAME}.mp4"), "-threads", "1", *options, "-movflags", "+faststart", str(path)], check=True)
    report = examine_file(path, settings, QcRow(true_peak=0), captions=out / f"{NAME}.vtt", sync=False)
    failed = {one["name"] for one in report["checks"] if one["state"] == "fail"}
    assert failed - {"C2PA manifest", "Sound ends with the picture"} == wanted - {"Sound ends with the picture"} and "C2PA manifest" in failed
    assert ("Sound ends with the picture" in failed) == (way in ("late", "held"))
    assert report["verdict"] == "fail"


def test_sound_that_is_moved_is_out_of_sync(shared_data: Path, tmp_path: Path, settings: Settings) -> None:
    clip = sorted((shared_data / "grid").rglob("*.mpg"))[0]
    moved = tmp_path / "moved.mp4"
    subprocess.run([ffmpeg(), "-v", "error", "-y", "-i", str(clip), "-c:v", "libx264", "-threads", "1", "-crf", "16", "-af", "adelay=320:all=1,atrim=end=3", str(moved)], check=True)
    found = {one["name"]: one for one in examine_file(moved, settings, QcRow())["checks"]}
    assert found["A/V offset"]["state"] == "fail" and abs(found["A/V offset"]["number"] + 320) <= 80


def test_limits_decide(out: Path) -> None:
    film, cues = out / f"{NAME}.mp4", (Cue(0.4, 2.0, "one"), Cue(1.5, 9.0, " "))
    found = {one["name"]: one for one in examine(film, Known(cues=cues, wanted=3, frames=5), QcRow(loudness=-40, loudness_range=0.1))["checks"] if not one["group"].startswith("Sound 2")}
    failed = {name for name, one in found.items() if one["state"] == "fail"}
    assert {"Integrated loudness", "Loudness range", "Number of pictures", "Cues", "Overlapping cues", "Cues past the end"} <= failed
    loud = found["Integrated loudness"]["number"]
    assert -30 < loud < -15
    near = examine(film, Known(), QcRow(loudness=round(loud, 1), tolerance=0.2))
    assert next(one for one in near["checks"] if one["name"] == "Integrated loudness")["state"] == "pass"


def test_what_the_source_does_is_no_fault_of_the_dub(out: Path) -> None:
    from tasks.qc.container import look

    film = out / f"{NAME}.mp4"
    pictures, outside = watch(film), look(film)
    pictures.black, pictures.still = [(1.0, 2.0)], [(1.0, 4.0)]
    states = [
        {one.name: one.state for one in judged(outside, pictures, [], Known(cues=(Cue(0.5, 4.5, "x"),), black=spans[:1], still=spans), QcRow())}
        for spans in ([], [(1.0, 2.0)], [(1.0, 4.0)])
    ]
    assert [row["Black frames"] for row in states] == ["fail", "pass", "pass"]
    assert [row["Frozen frames"] for row in states] == ["fail", "fail", "pass"]
    assert beyond([(0, 5)], [(1, 2), (4, 9)]) == [(0, 1), (2, 4)] and overlap([(0, 3)], [(1, 2), (2.5, 9)]) == [(1, 2), (2.5, 3)]


def test_a_spreadsheet_takes_no_cell_for_a_formula(out: Path) -> None:
    report = json.loads((out / f"{NAME}.qc.json").read_text()) | {"file": "=cmd|' /C calc'!A0.mp4"}
    assert all(row["file"].startswith("'=") for row in csv.DictReader(written(report, "csv").decode().splitlines()))
    hostile = written(report | {"file": "<script>alert(1)</script>"}, "html").decode()
    assert "<script" not in hostile


def test_heights_are_never_above_the_picture() -> None:
    assert heights_of([], 1080) == [1080, 720, 480, 360] and heights_of([720, 360], 480) == [480, 360] and heights_of([], 97) == [96]


@pytest.mark.parametrize(
    ("deliver", "said"),
    [
        ({"formats": ["mp5"]}, "mov or hls"), ({"tracks": [{"audio": "a.wav"}]}, "no language"), ({"tracks": ["original"]}, "no original sound"), ({"heights": [720]}, "without HLS"),
        ({"formats": ["hls"], "heights": [721]}, "odd"), ({"qc": {"loudness": 3}}, "qc.loudness"), ({"stem": "wav"}, "stem"), ({"tracks": [{"audio": "a.wav", "locale": "fr", "name": "a\0b"}]}, "invisible"), ("{", "not JSON"), ({"tracks": [{"audio": "http://x/a.wav", "locale": "fr"}]}, "http:// cannot be read"),
    ],
    ids=["format", "language", "original", "heights", "odd", "loudness", "unknown", "name", "json", "place"],
)  # fmt: skip
def test_faults_of_what_is_asked_are_told(deliver: Any, said: str) -> None:
    job = {"title": "a", "locale": "es", "portrait": "p.png", "text": "x", "deliver": deliver}
    with pytest.raises(ManifestError) as told:
        check({"batch": "b", "output": "o", "jobs": [job]}, "/")
    assert any(fault["field"] == "deliver" and said in fault["problem"] for fault in told.value.faults), told.value.faults
