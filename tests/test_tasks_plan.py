"""Plans: what would be made, what cannot work and why, before anything is rendered (P22); submission is idempotent (P13)."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from db import queries
from db.session import Database, open_database
from flow_cases import COLLINS, HOPPER, allow, settings, write_manifest  # noqa: F401 (settings is a fixture)
from infra.artifacts import open_artifacts
from infra.media import write_wav
from infra.settings import Settings
from infra.store import sha256_of
from tasks.ingest import bring
from tasks.manifest import load_manifest
from tasks.plan import SHIPPED_RATE, plan, submit


@pytest.fixture(scope="module")
def database(settings: Settings) -> Database:  # noqa: F811
    allow(settings, HOPPER, COLLINS, HOPPER.parent.parent / "recordings" / "mission.en-GB.flac")
    return open_database(settings)


def test_each_broken_job_is_named_with_its_reason(tmp_path: Path, settings: Settings, database: Database) -> None:  # noqa: F811
    (tmp_path / "bad.vtt").write_text("WEBVTT\n\n00:00:02.000 --> 00:00:01.000\nbackwards\n")
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "no.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    jobs = [
        {"title": "good", "text": "Hello there."},
        {"title": "gone", "text": "x y", "portrait": "nowhere.png"},
        {"title": "torn", "text": "x y", "portrait": "no.png"},
        {"title": "script", "script": "bad.vtt"},
        {"title": "sound", "audio": "empty.wav", "transcript": "hello"},
        {"title": "tongue", "text": "x y", "locale": "qq-QQ"},
        {"title": "empty", "text": "... !!"},
    ]
    made = plan(load_manifest(write_manifest(tmp_path, jobs)), database, settings)
    codes = {job.row.title: job.error.code if job.error else None for job in made.jobs}
    assert codes == {
        "good": None, "gone": "store.missing", "torn": "input.bad_picture", "script": "script.invalid", "sound": "media.unreadable",
        "tongue": "input.locale", "empty": "script.invalid",
    }  # fmt: skip
    assert made.of("made")[0].estimate == pytest.approx(made.of("made")[0].seconds * SHIPPED_RATE)
    assert not (tmp_path / "out").exists()


def test_a_broken_job_among_a_thousand_is_named_within_a_minute(tmp_path: Path, settings: Settings, database: Database) -> None:  # noqa: F811
    jobs = [{"title": f"t{i}", "text": f"Sentence number {i}.", "portrait": str((HOPPER, COLLINS)[i % 2])} for i in range(1000)]
    jobs[617] |= {"portrait": "gone.png"}
    started = time.perf_counter()
    made = plan(load_manifest(write_manifest(tmp_path, jobs)), database, settings)
    assert [job.row.title for job in made.of("invalid")] == ["t617"]
    assert time.perf_counter() - started < 60


def test_a_key_is_what_a_job_asks_for(tmp_path: Path, settings: Settings, database: Database) -> None:  # noqa: F811
    def key(folder: str = "out", **job: object) -> str:
        path = write_manifest(tmp_path, [{"title": "a", "text": "Hello.", **job}], output=str(tmp_path / folder))
        return plan(load_manifest(path), database, settings).jobs[0].key

    copy = tmp_path / "same-picture.jpg"
    copy.write_bytes(HOPPER.read_bytes())
    assert key() == key() == key(portrait=str(copy)) == key(consent="c-1")
    others = [key(text="Hello!"), key(seed=1), key(portrait=str(COLLINS)), key(locale="en-GB"), key(voice="espeak:en-us+f3"), key(gate="strict"), key("elsewhere")]
    assert len({key(), *others}) == 8


def test_eight_clients_at_once_make_one_batch(tmp_path: Path, settings: Settings) -> None:  # noqa: F811
    path = write_manifest(tmp_path, [{"title": f"t{i}", "text": "Hello."} for i in range(5)], batch="eight")

    def client(_: int) -> tuple[int, bool]:
        database = open_database(settings)
        try:
            made = submit(plan(load_manifest(path), database, settings), database, open_artifacts(settings))
            return made.batch_id, made.created
        finally:
            database.close()

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(client, range(8)))
    assert len({batch for batch, _ in found}) == 1 and sum(created for _, created in found) == 1
    database = open_database(settings)
    assert len(queries.job_states(database, found[0][0])) == 5


def test_an_input_brought_by_many_threads_at_once_is_whole_for_each(tmp_path: Path, settings: Settings) -> None:  # noqa: F811
    (tmp_path / "large.wav").write_bytes(bytes(range(256)) * 40_000)
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda _: bring("large.wav", str(tmp_path), settings), range(64)))
    assert {(one.sha256, one.size) for one in found} == {(sha256_of(tmp_path / "large.wav"), 256 * 40_000)}
    assert not list((settings.cache / "inputs").glob(".*"))


def test_transcript_files_and_words(tmp_path: Path, settings: Settings, database: Database) -> None:  # noqa: F811
    recording = Path(HOPPER).parent.parent / "recordings" / "mission.en-GB.flac"
    (tmp_path / "said.txt").write_text("Good evening.")
    jobs = [{"title": "a", "audio": str(recording), "transcript": "said.txt"}, {"title": "b", "audio": str(recording), "transcript": "Good evening."}, {"title": "c", "audio": str(recording)}]
    made = plan(load_manifest(write_manifest(tmp_path, jobs)), database, settings)
    assert [sorted(job.inputs) for job in made.jobs] == [["audio", "portrait", "transcript"], ["audio", "portrait"], ["audio", "portrait"]]
    assert all(7 < job.seconds < 9 for job in made.jobs)
    assert json.dumps([job.key for job in made.jobs])


def test_the_published_size_needs_imported_weights(tmp_path: Path, settings: Settings, database: Database) -> None:  # noqa: F811
    jobs = [{"title": "a", "text": "Hello.", "preset": "paper"}, {"title": "b", "text": "Hello.", "preset": "paper", "engine": "coherence"}]
    made = plan(load_manifest(write_manifest(tmp_path, jobs)), database, settings)
    other = made.jobs[1].error
    assert other is not None and other.code == "input.preset" and "coherence's" in other.message
    error = made.jobs[0].error
    assert made.jobs[0].state == "invalid" and error is not None
    assert error.code == "input.preset" and "paper-generator" in error.message and "models import" in error.next_step


def test_speakers_without_a_voice_are_named_by_the_plan(tmp_path: Path, settings: Settings, database: Database) -> None:  # noqa: F811
    (tmp_path / "two.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nANNA: Hello.\n\n2\n00:00:03,000 --> 00:00:04,000\nBEN: Hi.\n")
    (tmp_path / "two.csv").write_text("speaker,in,out,text\nANNA,01:00:01:00,01:00:02:00,Hello.\nBEN,01:00:03:00,01:00:04:00,Hi.\n")
    (tmp_path / "lex.csv").write_text("written,ipa\n---,a\nDubwright,\n")
    write_wav(tmp_path / "long.wav", np.zeros(8000 * 250, np.float32), 8000)
    (tmp_path / "ja.csv").write_text("written,spoken\n東京,とうきょう\n")
    (tmp_path / "ja.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\n東京です。\n")
    told = {"timecode": "25@01:00:00:00"}
    jobs = [
        {"title": "none", "script": "two.csv", **told}, {"title": "some", "script": "two.srt", "voices": {"Anna": "espeak:en-us+f3"}},
        {"title": "all", "script": "two.csv", "voices": {"anna": "espeak:en-us+f3", "ben": "espeak:en-us+m3"}, **told},
        {"title": "one", "script": "two.csv", "voice": "espeak:en-us+f3", **told}, {"title": "rate", "script": "two.csv", "voice": "espeak:en-us"},
        {"title": "words", "text": "Hello.", "lexicon": "lex.csv"},
        {"title": "tongue", "script": "two.csv", "voices": {"ANNA": "espeak:klingonese", "BEN": "espeak:en-us"}, **told},
        {"title": "kanji", "locale": "ja-JP", "script": "ja.srt"}, {"title": "spelt", "locale": "ja-JP", "text": "漢字。"},
        {"title": "long", "audio": "long.wav", "transcript": "Hello."}, {"title": "long timed", "audio": "long.wav", "transcript": "two.srt"},
        {"title": "kana", "locale": "ja-JP", "script": "ja.srt", "lexicon": "ja.csv"}, {"title": "han", "locale": "zh-CN", "text": "東京。"},
    ]  # fmt: skip
    made = {job.row.title: job for job in plan(load_manifest(write_manifest(tmp_path, jobs)), database, settings).jobs}
    errors = {title: job.error for title, job in made.items() if job.error is not None}
    codes = {"none": "voices.unmapped", "some": "voices.unmapped", "rate": "script.invalid", "words": "lexicon.invalid", "tongue": "input.locale"}
    codes |= {"kanji": "input.unread_letters", "spelt": "input.unread_letters", "long": "input.untimed_transcript", "long timed": "consent.missing"}  # the last is fit to be aligned
    assert {title: error.code for title, error in errors.items()} == codes and "row 2" in errors["words"].message and "row 3" in errors["words"].message
    assert "ANNA, BEN" in errors["none"].message and errors["some"].message.endswith("BEN") and "row 2" in errors["rate"].message
    assert made["all"].seconds == pytest.approx(4.9) and made["all"].key != made["one"].key
