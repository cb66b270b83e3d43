"""Batches through the real engine, ledger and conductor: broken inputs (P5), repeats (P13), lineage (P14), kills (P1)."""

import random
import signal
import subprocess
import time
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import func, select

from db import tables as t
from db.lineage import lineage
from db.session import open_database
from flow_cases import (  # noqa: F401 (settings is a fixture)
    HOPPER,
    ROOT,
    Watched,
    allow,
    command,
    environment,
    new_home,
    run,
    run_manifest,
    settings,
    settings_of,
    videos,
    write_manifest,
)
from infra.settings import Settings
from infra.store import sha256_of
from redub_cases import scene, without
from tasks.manifest import load_manifest

RECORDING = ROOT / "demo" / "recordings" / "mission.en-GB.flac"
ENDED = {"delivered", "flagged", "failed"}


def wav(path: Path, sound: np.ndarray, kind: str = "<i2", code: int = 1) -> None:
    """A WAV file; code 3 is float samples, which the wave module does not write."""
    data = sound.astype(kind).tobytes()
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(np.dtype(kind).itemsize)
        out.setframerate(16_000)
        out.writeframes(data)
    raw = bytearray(path.read_bytes())
    raw[20:22] = code.to_bytes(2, "little")
    path.write_bytes(bytes(raw))


def broken_inputs(folder: Path) -> list[dict[str, Any]]:
    """A dozen jobs that cannot work, each in its own way, and what each is told as."""
    from PIL import Image

    picture = np.asarray(Image.open(HOPPER).convert("RGB"))
    (folder / "cut.jpg").write_bytes(HOPPER.read_bytes()[:9000])
    (folder / "zero.png").write_bytes(b"")
    (folder / "words.png").write_text("this is no picture")
    Image.fromarray(np.full((200, 200, 3), 90, np.uint8)).save(folder / "grey.png")
    Image.fromarray(np.concatenate([picture, picture], 1)).save(folder / "two.png")
    Image.fromarray(picture).resize((48, 56)).save(folder / "small.png")
    (folder / "zero.wav").write_bytes(b"")
    (folder / "cut.flac").write_bytes(RECORDING.read_bytes()[:300])
    wav(folder / "silence.wav", np.zeros(40_000))
    wav(folder / "nan.wav", np.full(40_000, np.nan), "<f4", 3)
    (folder / "claims.wav").write_bytes(b"RIFF\xff\xff\xff\x7fWAVEfmt \x10\0\0\0\x01\0\x01\0\x80>\0\0\0}\0\0\x02\0\x10\0data\xff\xff\xff\x7f")
    (folder / "times.vtt").write_text("WEBVTT\n\nnoon --> later\nhello\n")
    (folder / "latin.txt").write_bytes("olé".encode("latin-1"))
    spoken = {"text": "Hello."}
    return [
        *({"title": name, "portrait": name, **spoken} for name in ("cut.jpg", "zero.png", "words.png", "grey.png", "two.png", "small.png", "gone.png")),
        *({"title": name, "audio": name, "transcript": "hello there"} for name in ("zero.wav", "cut.flac", "silence.wav", "nan.wav", "claims.wav")),
        *({"title": name, "script": name} for name in ("times.vtt", "latin.txt")),
    ]


def test_broken_inputs_end_as_classified_errors_and_the_batch_goes_on(tmp_path: Path, settings: Settings) -> None:  # noqa: F811
    """One of the jobs shows somebody whom nobody asked."""
    from PIL import Image

    from flows.run import run_manifest as flow

    jobs = broken_inputs(tmp_path)
    jobs.insert(5, {"title": "good", "text": "Hello there."})
    allow(settings, write_manifest(tmp_path, jobs))
    Image.open(HOPPER).resize((500, 586)).save(tmp_path / "unasked.png")
    jobs.insert(2, {"title": "unasked", "portrait": "unasked.png", "text": "Hello."})
    watched = Watched()
    done = flow(load_manifest(write_manifest(tmp_path, jobs)), settings, watched)
    planned = next(job for job in watched.plans[0].jobs if job.row.title == "unasked")
    assert planned.state == "invalid" and planned.error.code == "consent.missing" and "dubwright consent add" in planned.error.next_step
    rows = {row["title"]: row for row in done.rows["jobs"]}
    assert rows["good"]["state"] in ("delivered", "flagged") and rows["good"]["takes"]
    assert rows["unasked"]["error"]["code"] == "consent.missing" and not list((tmp_path / "out").glob("unasked*"))
    for title, row in rows.items():
        if title != "good":
            assert row["state"] == "failed", title
            assert row["error"]["code"].startswith(("input.", "media.", "store.", "script.", "consent.")), row["error"]
            assert row["error"]["next_step"] and row["error"]["message"], title
    assert not any(row["takes"] for title, row in rows.items() if title != "good")
    page = done.report.read_text()
    assert all(title in page for title in rows)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, settings: Settings) -> tuple[Path, Any, Watched]:  # noqa: F811
    """A batch of two jobs with one portrait that share nothing else, run once in this process."""
    folder = tmp_path_factory.mktemp("small")
    path = write_manifest(folder, [{"title": "one", "text": "Hello, my friends."}, {"title": "two", "text": "Hola, amigos.", "locale": "es-ES"}], batch="small")
    watched = Watched()
    return path, run_manifest(load_manifest(path), settings, watched), watched


def test_every_job_ends_and_the_same_manifest_again_renders_nothing(small: tuple[Path, Any, Watched], settings: Settings) -> None:  # noqa: F811
    path, first, watched = small
    assert {row["state"] for row in first.rows["jobs"]} <= {"delivered", "flagged"}
    assert first.rendered >= 2 and {step.stage for step in watched.steps} >= {"speech", "faces", "motion", "render", "score"}
    before = {p: p.stat().st_mtime_ns for p in (path.parent / "out").glob("*.*4")}
    again = Watched()
    second = run_manifest(load_manifest(path), settings, again)
    assert (second.batch_id, second.rendered) == (first.batch_id, 0)
    assert not [step for step in again.steps if step.stage == "render"]
    assert before == {p: p.stat().st_mtime_ns for p in (path.parent / "out").glob("*.*4")}


def test_a_take_short_of_the_gate_is_tried_once_more_by_another_engine_and_seed(small: tuple[Path, Any, Watched], settings: Settings) -> None:  # noqa: F811
    _, done, _ = small
    for row in done.rows["jobs"]:
        takes = row["takes"]
        passed = [take["verdict"] == "pass" for take in takes]
        assert not any(passed[:-1]) and len(takes) <= settings.max_takes
        assert (row["state"] == "delivered") == passed[-1]
        assert len(takes) == settings.max_takes or passed[-1]
        assert len({take["parameters"]["seed"] for take in takes}) == len({take["engine"] for take in takes}) == len(takes)
        assert all(take["thresholds"]["levels"] and take["scorer"] for take in takes)


def test_every_video_walks_back_to_known_inputs_weights_and_code(small: tuple[Path, Any, Watched], settings: Settings) -> None:  # noqa: F811
    _, done, _ = small
    database = open_database(settings)
    portrait = sha256_of(HOPPER)
    for row in done.rows["jobs"]:
        for take in row["takes"]:
            tree = lineage(database, take["video"])
            assert tree is not None

            def walk(node: dict[str, Any]) -> list[tuple[str, str]]:
                return [(part["role"], part["sha256"]) for part in node["made_from"]] + [x for part in node["made_from"] for x in walk(part)]

            assert ("portrait", portrait) in walk(tree)
            assert {role for role, _ in walk(tree)} == {"portrait", "faces", "motion", "speech", "sound", "loudness"}
            told = next(x for x in tree["takes"] if x["number"] == take["number"])
            assert {w["engine"] for w in told["weights"]} == {"avct", "syncnet", take["engine"]} and told["code_version"] and told["seconds"]
        if row["delivery"]:
            assert sha256_of(Path(row["delivery"]["url"])) == row["delivery"]["sha256"]
            tree = lineage(database, row["delivery"]["sha256"])
            assert tree is not None and [part["role"] for part in tree["made_from"]] == ["render"] and tree["takes"][0]["delivered"] == row["delivery"]["url"]


def test_every_delivered_video_carries_its_marks_and_is_known_by_what_is_left_of_them(small: tuple[Path, Any, Watched], settings: Settings, tmp_path: Path) -> None:  # noqa: F811
    """P21: an independent reader accepts it, and stripped and encoded again it still leads to its lineage."""
    import c2pa

    from benchmarks.tampering import again
    from tasks.detect import detect

    _, done, _ = small
    database = open_database(settings)
    urls = [Path(row["delivery"]["url"]) for row in done.rows["jobs"] if row["delivery"]]
    assert urls
    for url in urls:
        with url.open("rb") as file, c2pa.Reader("video/mp4", file) as reader:
            assert reader.get_validation_state() in ("Valid", "Trusted")
        told = detect(url, database, settings)
        assert (told["ours"], told["as_delivered"], told["manifest"]["state"], told["watermark"]["agrees"]) == ("yes", True, "trusted", True)
        left = detect(again(url, tmp_path / url.name, "-crf", "28", "-vf", "scale=iw/2:ih/2"), database, settings)
        assert (left["ours"], left["as_delivered"], left["manifest"]["state"]) == ("yes", False, "absent")
        assert left["deliveries"][0]["url"] == str(url)


@pytest.fixture(name="home")
def home_fixture() -> Iterator[Path]:
    with new_home() as folder:
        yield folder


def test_a_killed_run_started_again_ends_every_job_once(tmp_path: Path, home: Path) -> None:
    """P1: SIGKILL to the whole command at seeded points (rows in the ledger), twice; the third run is left alone."""
    film = scene(tmp_path / "film.mp4", without(lambda number: number == 25))
    path = write_manifest(tmp_path, [{"title": "one", "text": "Good morning."}, {"title": "two", "text": "Good night.", "video": str(film)}], batch="killed")
    patient = {"DUBWRIGHT_MAX_ATTEMPTS": "9", "DUBWRIGHT_BACKOFF_SECONDS": "0"}  # kills of one job would set it aside, to be tried again by the next run
    known = environment(home, **patient)
    draw = random.Random(20261123)
    allow(settings_of(home), path)
    for rows in sorted(draw.sample(range(0, 11), 2)):
        process = subprocess.Popen(command("run", str(path)), env=known, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        kill_when(process, home, rows, draw.uniform(0.0, 1.5))
    last = run("run", str(path), "--json", home=home, **patient)
    assert last.returncode in (0, 3), last.stderr
    counted = ledger_counts(home)
    assert set(counted["states"]) <= ENDED and len(counted["states"]) == 2
    assert counted["deliveries"] == sum(state == "delivered" for state in counted["states"]) == len(videos(tmp_path / "out"))
    assert counted["delivered_events"] == counted["deliveries"]
    assert len(set(counted["rungs"])) == len(counted["rungs"])  # whatever was killed, no rung was tried twice
    again = run("run", str(path), "--json", home=home, **patient)
    assert '"rendered": 0' in again.stdout


def database_of(home: Path) -> Any:
    from db.session import Database
    from infra.postgres import embedded_url

    return Database(embedded_url(home))


def kill_when(process: subprocess.Popen[bytes], home: Path, rows: int, after: float) -> None:
    """Kill once the ledger holds so many stage results, and a moment later; a run that ends before is left."""
    deadline = time.monotonic() + 180
    while process.poll() is None and time.monotonic() < deadline:
        if (home / "postgres" / "postmaster.pid").exists() and stage_rows(home) >= rows:
            time.sleep(after)
            break
        time.sleep(0.25)
    process.send_signal(signal.SIGKILL)
    process.wait()


def stage_rows(home: Path) -> int:
    from sqlalchemy.exc import SQLAlchemyError

    database = database_of(home)
    try:
        with database.engine.connect() as connection:
            return int(connection.execute(select(func.count()).select_from(t.StageResult)).scalar_one())
    except SQLAlchemyError:
        return -1  # not migrated yet
    finally:
        database.close()


def ledger_counts(home: Path) -> dict[str, Any]:
    database = database_of(home)
    with database.begin() as session:
        events = session.execute(select(func.count()).select_from(t.Event).where(t.Event.kind == "delivered")).scalar_one()
        deliveries = session.execute(select(func.count()).select_from(t.Delivery)).scalar_one()
        states = list(session.execute(select(t.Job.state)).scalars())
        rungs = [(job, str(parameters["rung"])) for job, parameters in session.execute(select(t.Take.job_id, t.Take.parameters))]
    database.close()
    return {"states": states, "rungs": rungs, "deliveries": deliveries, "delivered_events": events}
