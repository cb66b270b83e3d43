"""Deliveries: captions that players read, names that stay in the folder, files created once, sidecars that say all."""

import io
import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import webvtt as reader
from PIL import Image

from infra.errors import AlreadyThere, MediaError
from infra.media import VideoWriter, write_wav
from infra.settings import Settings
from infra.store import sha256_of
from models.types import Cue
from tasks.deliver import deliver, names, sidecar, slug, webvtt
from tasks.marking import Marked
from tasks.pictures import contact_sheet, frames_at, length, poster
from tasks.scripts import Reading, read_script

CUES = (Cue(0.4, 1.25, "Hello, you & me.", "Ann"), Cue(1.5, 3.0, "Is 1 < 2?\nYes --> it is."))
HOSTILE = [
    "; touch x", "$(id)", "`id`", "-i", "--version", "../../etc/passwd", "/etc/passwd", "..", ".", "", " ", "a/b", "a\\b", "nul\0byte", "x" * 4096,
    "\u202egnp.exe", "CON", "aux", "com1", "new\nline", "tab\t", "a:b", "*?<>|", "%2e%2e%2f", "\ud800", "é" * 300, "..%c0%af", "a b", "a-b", "A-B",
]  # fmt: skip


def made_video(path: Path, seconds: int = 3, seed: int = 0) -> Path:
    """A real MP4: a square that moves over grey, with a tone."""
    write_wav(path.with_suffix(".wav"), 0.3 * np.sin(np.arange(16_000 * seconds) * 0.1).astype(np.float32), 16_000)
    with VideoWriter(path, 96, 64, Fraction(25), path.with_suffix(".wav")) as out:
        for number in range(25 * seconds):
            frame = np.full((64, 96, 3), 40 + seed, np.uint8)
            frame[16:48, number : number + 16] = (200, 120, 40)
            out.write(frame)
    return path


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_video(tmp_path_factory.mktemp("video") / "take.mp4")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


FACTS = {
    "engine": "avct",
    "preset": "compact",
    "take": 1,
    "verdict": "pass",
    "consent": ["c-test"],
    "score": {"confidence": 0.31, "distance": float("nan")},
    "offset": np.int64(0),
}


def put(video: Path, output: Path | str, settings: Settings, title: str = "welcome", **facts: object):
    return deliver(Marked(video, f"{7:016x}", "a test"), CUES, title=title, locale="es-ES", output=str(output), facts=FACTS | facts, settings=settings)


def test_captions_read_back_as_they_were_meant(tmp_path: Path) -> None:
    path = tmp_path / "a.vtt"
    path.write_text(webvtt(CUES[::-1]))
    first, second = reader.read(str(path)).captions
    assert (first.start, first.end, first.voice) == ("00:00:00.400", "00:00:01.250", "Ann")
    assert (second.start, second.end) == ("00:00:01.500", "00:00:03.000")
    assert "Hello, you &amp; me." in path.read_text() and "Yes --&gt; it is." in path.read_text()


def test_captions_survive_awkward_cues() -> None:
    text = webvtt(
        [Cue(3599.9996, 3600.5, "late"), Cue(1.0, 1.0, "no length"), Cue(2.0, 3.0, " \n "), Cue(0.0, 1.0, "one\n\n\ntwo", "A\nB")]
    )
    assert "01:00:00.000 --> 01:00:00.500" in text and "00:00:01.000 --> 00:00:01.001" in text
    assert "<v A B>one\ntwo\n" in text, "an empty line would end the cue"
    assert text.startswith("WEBVTT\n\n") and text.count("-->") == 3


@pytest.mark.parametrize("title", HOSTILE, ids=[ascii(t)[:24] for t in HOSTILE])
def test_no_title_leaves_the_folder(tmp_path: Path, title: str) -> None:
    for name in names(title, "es-ES").values():
        assert (tmp_path / name).resolve().parent == tmp_path.resolve()
        assert name[0] not in ".-" and len(name.encode()) < 200 and name.isprintable()
        assert not set(name) & set('/\\:*?"<>|\0 ')
        (tmp_path / name).write_text("a file of that name can be made")


def test_names_are_plain_where_titles_are_and_never_shared() -> None:
    assert names("welcome", "es-ES")["video"] == "welcome.es-ES.mp4"
    assert slug("été_2026") == "été_2026" and slug("Welcome Aboard").startswith("welcome-aboard-")
    distinct = {slug(title).casefold() for title in HOSTILE}
    assert len(distinct) == len(HOSTILE)
    assert "/" not in names("a", "../../x")["video"]


def test_a_delivery_is_four_files_that_agree(tmp_path: Path, video: Path, settings: Settings) -> None:
    made = put(video, tmp_path / "out", settings)
    folder = tmp_path / "out"
    assert sorted(p.name for p in folder.iterdir()) == [
        "welcome.es-ES.jpg",
        "welcome.es-ES.json",
        "welcome.es-ES.mp4",
        "welcome.es-ES.vtt",
    ]
    assert made.url == str(folder / "welcome.es-ES.mp4") and made.sha256 == sha256_of(video)
    told = json.loads((folder / "welcome.es-ES.json").read_text())
    for role, facts in told["files"].items():
        assert (
            sha256_of(folder / facts["name"]) == facts["sha256"] == made.hashes[role]
            and (folder / facts["name"]).stat().st_size == facts["size"]
        )
    assert (
        told["title"] == "welcome"
        and told["locale"] == "es-ES"
        and told["verdict"] == "pass"
        and told["score"] == {"confidence": 0.31, "distance": None}
    )
    assert told["disclosure"]["ai_generated"] is True and "AI-generated" in told["disclosure"]["text"]
    assert told["lineage"]["command"] == f"dubwright lineage {sha256_of(video)}"
    with Image.open(folder / "welcome.es-ES.jpg") as picture:
        assert picture.format == "JPEG" and picture.size == (96, 64)


def test_captions_in_other_formats_lie_beside_it_and_are_named(tmp_path: Path, video: Path, settings: Settings) -> None:
    made = deliver(Marked(video, "0" * 16, "nobody"), CUES, title="welcome", locale="es-ES", output=str(tmp_path / "out"), facts=FACTS, settings=settings, captions=("srt", "ttml"))
    told = json.loads((tmp_path / "out" / "welcome.es-ES.json").read_text())["files"]
    assert {"captions", "captions_srt", "captions_ttml"} < set(told) and set(made.files) == {*told, "sidecar"}
    for role, suffix in (("captions_srt", ".srt"), ("captions_ttml", ".ttml")):
        path = tmp_path / "out" / f"welcome.es-ES{suffix}"
        assert told[role]["name"] == path.name and sha256_of(path) == told[role]["sha256"] == made.hashes[role]
        assert [(cue.start, cue.end, cue.text) for cue in read_script(path, Reading(speakers=("Ann",)))] == [(0.4, 1.25, "Hello, you & me."), (1.5, 3.0, "Is 1 < 2? Yes --> it is.")]


def test_delivering_again_changes_nothing(tmp_path: Path, video: Path, settings: Settings) -> None:
    first = put(video, tmp_path / "out", settings)
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "out").iterdir()}
    assert put(video, tmp_path / "out", settings) == first
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "out").iterdir()} == before


def test_an_interrupted_delivery_is_completed(tmp_path: Path, video: Path, settings: Settings) -> None:
    first = put(video, tmp_path / "out", settings)
    (tmp_path / "out" / "welcome.es-ES.mp4").unlink()
    assert put(video, tmp_path / "out", settings) == first
    assert sha256_of(tmp_path / "out" / "welcome.es-ES.mp4") == first.sha256


@pytest.mark.parametrize("taken", ["welcome.es-ES.mp4", "welcome.es-ES.vtt"])
def test_another_file_of_that_name_is_never_touched(tmp_path: Path, video: Path, settings: Settings, taken: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / taken).write_bytes(b"somebody's work")
    with pytest.raises(AlreadyThere) as caught:
        put(video, tmp_path / "out", settings)
    assert caught.value.job == "welcome/es-ES" and "output" in caught.value.next_step and taken in caught.value.message
    assert [p.name for p in (tmp_path / "out").iterdir()] == [taken]
    assert (tmp_path / "out" / taken).read_bytes() == b"somebody's work"


def test_deliveries_go_to_an_s3_server(tmp_path: Path, video: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from moto.server import ThreadedMotoServer

    for name, value in {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}.items():
        monkeypatch.setenv(name, value)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        there = settings.model_copy(update={"s3_endpoint_url": f"http://{host}:{port}"})
        import boto3

        client = boto3.client("s3", endpoint_url=there.s3_endpoint_url, region_name="us-east-1")
        client.create_bucket(Bucket="deliveries")
        made = put(video, "s3://deliveries/spring/", there)
        assert made.url == "s3://deliveries/spring/welcome.es-ES.mp4"
        assert put(video, "s3://deliveries/spring/", there) == made
        head = client.head_object(Bucket="deliveries", Key="spring/welcome.es-ES.vtt")
        assert head["ContentType"] == "text/vtt"
        other = made_video(tmp_path / "other.mp4", seed=9)
        with pytest.raises(AlreadyThere):
            put(other, "s3://deliveries/spring/", there)
        assert client.get_object(Bucket="deliveries", Key="spring/welcome.es-ES.mp4")["Body"].read() == video.read_bytes()
    finally:
        server.stop()


def test_a_sidecar_is_the_same_bytes_each_time() -> None:
    files = {"video": {"name": "a.mp4", "sha256": "ab" * 32, "size": 1, "type": "video/mp4"}}
    assert sidecar("título", "es", FACTS, files) == sidecar("título", "es", FACTS, files)
    assert "título" in sidecar("título", "es", FACTS, files).decode()


def test_frames_are_those_shown_at_their_times(video: Path) -> None:
    assert length(video) == pytest.approx(3.0, abs=0.05)
    for time, frame in frames_at(video, [0.0, 0.5, 1.02, 2.9, 99.0]):
        left = np.flatnonzero(frame[32, :, 0].astype(int) - frame[32, :, 2] > 60)[0]
        assert abs(left - min(int(time * 25 + 1e-6), 74)) <= 1


def test_far_frames_are_sought_not_decoded_through(tmp_path: Path) -> None:
    path = made_video(tmp_path / "long.mp4", seconds=3)
    with av.open(str(path)) as source, av.open(str(tmp_path / "slow.mp4"), "w") as out:
        stream = out.add_stream("libx264", rate=1, options={"g": "5"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for frame in source.decode(video=0):
            plain = av.VideoFrame.from_ndarray(frame.to_ndarray(format="rgb24"), format="rgb24")
            out.mux(stream.encode(plain))
        out.mux(stream.encode())
    found = [
        np.flatnonzero(f[32, :, 0].astype(int) - f[32, :, 2] > 60)[0]
        for _, f in frames_at(tmp_path / "slow.mp4", [1.5, 30.5, 60.5])
    ]
    assert np.abs(np.array(found) - [1, 30, 60]).max() <= 1


def test_sheets_and_posters_are_jpegs_of_the_right_shape(video: Path, tmp_path: Path) -> None:
    with Image.open(io.BytesIO(contact_sheet(video, 8))) as sheet:
        assert sheet.format == "JPEG" and sheet.size == (5 * 96, 2 * (64 + 20))
    with Image.open(io.BytesIO(poster(video, 48))) as small:
        assert small.size == (48, 32)
    (tmp_path / "broken.mp4").write_bytes(video.read_bytes()[:400])
    with pytest.raises(MediaError):
        poster(tmp_path / "broken.mp4")
