"""Every path by which something is delivered, tried without a record, with a revoked one, an ended one, another picture's, and another face's of the video: none delivers.

Each path gets seven jobs whose takes are made, kept and wait for a person, so that nothing but consent stands between them and their delivery:
two have valid records, one of a portrait and one of the face that is redrawn in a video of two, and are delivered, by the same call.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text

from db import accounts, consents, erasure, ledger, pending, queries, reviews, tokens
from db.consent_faces import KIND, FacePoint
from db.ledger import ArtifactRow, JobSpec, VerdictRecord
from db.session import Database, open_database
from flow_cases import HOPPER, Watched, settings, write_manifest  # noqa: F401 (settings is a fixture)
from infra.artifacts import Artifacts, open_artifacts
from infra.errors import ConsentError, StaleToken
from infra.settings import Settings
from infra.store import sha256_of
from ledger_cases import take
from marking_cases import HEIGHT, PAYLOAD, WIDTH, film
from models.types import Cue, Speech, SyncScore
from tasks import consent
from tasks.gate import load_thresholds
from tasks.manifest import load_manifest
from tasks.plan import plan, submit
from tasks.speech import SpeechTrack
from tasks.stages import Take, Work, row_of
from tasks.values import save_speech, score_tree
from track_cases import standing

PLANNED = {"none": "consent.missing", "revoked": "consent.revoked", "ended": "consent.expired", "another": "consent.missing"}
BAD = PLANNED | {"beside": "consent.face"}  # whose face is redrawn is known once there is a take
GOOD = ("valid", "face")
CASES = (*BAD, *GOOD)
VIDEOS = ("beside", "face")  # what is dubbed: two people, of whom the left one is redrawn
LEFT, RIGHT = (120, 200), (280, 200)
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Waiting:
    """A batch of one job for each case, its take made and not yet decided on."""

    batch: int
    output: Path
    jobs: dict[str, int]
    takes: dict[str, int]


@dataclass
class Place:
    """The ledger, the store and what a job is made of."""

    known: Settings
    database: Database
    artifacts: Artifacts
    folder: Path
    film: bytes
    speech: Path
    tracks: Path
    specs: list[JobSpec]

    def made(self, batch: int) -> Waiting:
        """Every job of a batch that was submitted gets a take, which nobody has decided on yet."""
        rows = {job["title"].split(" ")[0]: job["job"] for job in queries.report(self.database, batch)["jobs"]}
        takes = {case: self._take(batch, job) for case, job in rows.items()}
        return Waiting(batch, Path(queries.report(self.database, batch)["output"]), rows, takes)

    def _take(self, batch: int, job: int) -> int:
        held = ledger.lease(self.database, batch, "w", 60, only=[job])
        assert held is not None
        ((role, shown),) = held.spec["inputs"].items()
        speech, video, tracks = self.artifacts.put(self.speech, "speech.npz"), self.artifacts.put(own(self.film, job.to_bytes(8, "big")), "render.mp4"), self.artifacts.put(self.tracks, "tracks.bin")
        rows = [ArtifactRow(shown["sha256"], f"{role}{shown['suffix']}", shown["size"], f"sha256/{shown['sha256'][:2]}/{shown['sha256']}"), row_of(speech), row_of(tracks)]
        ledger.record_artifacts(self.database, held, rows)
        sources = ((shown["sha256"], role), (speech.sha256, "speech"), *([(tracks.sha256, "tracks")] if role == "video" else []))
        thresholds = load_thresholds()
        score = SyncScore(0, 1.0, 0.3, np.zeros(31, np.float32), np.zeros(20, np.float32), scorer=thresholds.scorer)
        made = replace(
            take(), video=ArtifactRow(video.sha256, "render.mp4", video.size, video.key, sources),
            parameters={"seed": 0, "notes": [], "watermark": f"{PAYLOAD:016x}", "rung": {"engine": "avct"}, **({"redrawn": [0]} if role == "video" else {})},
        )  # fmt: skip
        number = ledger.record_take(self.database, held, made, VerdictRecord("flag", ("weak",), thresholds.scorer, thresholds.to_dict(), 0, 1.0, 0.3, score_tree(score)))
        ledger.finish(self.database, held, "flagged", {"code": "gate.flag"})
        return number

    def batch(self, name: str) -> Waiting:
        """A batch as a plan submits it, by the ledger alone."""
        jobs = [replace(job, key=f"{job.key} {name}", spec={**job.spec, "output": str(self.folder / name)}) for job in self.specs]
        return self.made(ledger.submit(self.database, name, name, str(self.folder / name), jobs).batch_id)

    def approve(self, waiting: Waiting) -> None:
        for number in waiting.takes.values():
            reviews.record(self.database, number, "approve", "ana")


def own(film: bytes, mark: bytes) -> bytes:
    """A file of its own that shows the same."""
    return film + b"\0\0\0\x10free" + mark.ljust(8, b"\0")[:8]


def face_at(video: Path, middle: tuple[int, int]) -> tuple[str, str, str]:
    face = FacePoint(sha256_of(video), 1.0, middle[0] / WIDTH, middle[1] / HEIGHT)
    return KIND, face.sha256, face.name


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, settings: Settings) -> Iterator[Place]:  # noqa: F811
    """Records of every case, portraits that are a case each, and a Prefect server that all share."""
    from flows.conductor import OwnServer

    server = OwnServer(settings).start()
    folder = tmp_path_factory.mktemp("paths")
    database, artifacts = open_database(settings), open_artifacts(settings)
    shown = film(folder / "film.mp4", count=50).read_bytes()
    files = {case: folder / f"{case}{'.mp4' if case in VIDEOS else '.jpg'}" for case in CASES}
    for case, path in files.items():
        path.write_bytes(own(shown, case.encode()) if case in VIDEOS else HOPPER.read_bytes() + case.encode())
    standing(folder / "two.tracks", [LEFT, RIGHT]).close()
    shows = {case: (("portrait", sha256_of(path), path.name),) for case, path in files.items()}
    consents.add(database, consents.Record("Ann", "synthetic", "c-revoked", subjects=shows["revoked"]), "me")
    erasure.revoke(database, "c-revoked", "ana", "she asked")
    consents.add(database, consents.Record("Ann", "synthetic", "c-ended", starts=datetime.now(UTC) - 2 * DAY, ends=datetime.now(UTC) - DAY, subjects=shows["ended"]), "me")
    consents.add(database, consents.Record("Ann", "synthetic", "c-another", subjects=(("portrait", sha256_of(HOPPER), "hopper.jpg"),)), "me")
    consents.add(database, consents.Record("Ann", "synthetic", "c-valid", subjects=shows["valid"]), "me")
    consents.add(database, consents.Record("Ann", "synthetic", "c-face", subjects=(face_at(files["face"], LEFT),)), "me")
    consents.add(database, consents.Record("Bo", "synthetic", "c-beside", subjects=(face_at(files["beside"], RIGHT),)), "me")
    speech = folder / "speech.npz"
    save_speech(speech, SpeechTrack(Speech(np.zeros(32_000, np.float32), (), np.zeros(200, np.float32), (Cue(0.2, 1.0, "Hi."),)), np.zeros(32_000, np.int16), 16_000))
    path = write_manifest(folder, [{"title": f"{case} of all", "text": "Hi.", "video" if case in VIDEOS else "portrait": str(files[case])} for case in CASES], batch="planned")
    made = plan(load_manifest(path), database, settings)
    assert {job.row.title.split(" ")[0]: job.error and job.error.code for job in made.jobs} == PLANNED | dict.fromkeys(("beside", *GOOD))  # told before anything is made
    submitted = submit(made, database, artifacts)
    with database.begin() as session:
        rows = session.execute(text("SELECT key, title, locale, engine, preset, spec, priority FROM jobs WHERE batch_id = :b ORDER BY position"), {"b": submitted.batch_id}).all()
    server.wait()
    yield Place(settings, database, artifacts, folder, shown, speech, folder / "two.tracks", [JobSpec(*row) for row in rows])
    database.close()


def _by_pool(place: Place) -> Waiting:
    """A shard, as a worker of a pool runs it; and once more after `run --retry`."""
    from flows.shard import shard

    waiting = place.batch("pool")
    place.approve(waiting)
    assert shard(waiting.batch, list(waiting.jobs.values()), "shard 1") == {"failed": 5, "delivered": 2}
    assert ledger.retry(place.database, waiting.batch, ("failed", "flagged", "cancelled")) == 5
    assert shard(waiting.batch, list(waiting.jobs.values()), "shard 2") == {"failed": 5}
    return waiting


def _by_run(place: Place) -> Waiting:
    """`dubwright run` of the manifest that was planned."""
    from flows.run import run_manifest

    manifest = load_manifest(place.folder / "manifest.json")
    waiting = place.made(queries.find_batch(place.database, "planned") or 0)
    place.approve(waiting)
    run_manifest(manifest, place.known, Watched())
    return waiting


def _by_api(place: Place) -> Waiting:
    """A manifest sent over HTTP, and approvals over HTTP."""
    from api.app import create_api
    from flows.shard import shard

    app = create_api(place.database, Settings(home=place.known.home, api_places=str(place.folder)))  # type: ignore[call-arg]
    secret, _ = tokens.create(place.database, "test", "ana", ["read", "submit", "review"])
    with TestClient(app, headers={"Authorization": f"Bearer {secret}"}) as client:
        jobs = [{"title": f"{case} by api", "text": "Hi.", "locale": "en-US", **({"video": f"{case}.mp4"} if case in VIDEOS else {"portrait": f"{case}.jpg"})} for case in CASES]
        told = client.post("/v1/batches", json={"batch": "api", "output": "api", "jobs": jobs}).json()
        assert {row["error"]["code"] for row in told["not_made"]} == set(PLANNED.values())
        waiting = place.made(told["batch"])
        for number in waiting.takes.values():
            assert client.post(f"/v1/takes/{number}/review", json={"decision": "approve"}).json()["state"] == "queued"
    shard(waiting.batch, list(waiting.jobs.values()), "shard 1")
    return waiting


def _by_desk(place: Place) -> Waiting:
    """Decisions of the desk, which take over each job, and its own process that works on what they ask for."""
    from flows.review import go_on

    waiting = place.batch("desk")
    accounts.add(place.database, "ana", "reviewer", "correct horse battery")
    person = accounts.check(place.database, "ana", "correct horse battery")
    assert person is not None
    pending.decide(place.database, list(waiting.takes.values()), pending.Wanted("approve"), person, timedelta(0))
    assert len(pending.settle(place.database)) == 7
    go_on(place.known, Watched())
    return waiting


def _by_review(place: Place) -> Waiting:
    """`dubwright review TAKE --approve`, of three: each writes the batch's report."""
    from flows.review import decide

    made = place.batch("review")
    waiting = replace(made, **{part: {case: getattr(made, part)[case] for case in ("revoked", "beside", "valid")} for part in ("jobs", "takes")})
    for case, number in waiting.takes.items():
        told = decide(str(number), ["approve"], "", "", "ana", place.known, Watched())
        assert told["state"] == ("delivered" if case == "valid" else "failed")
    return waiting


def _by_resuming(place: Place) -> Waiting:
    """A job whose worker died with it: its lease ran out, another takes it up."""
    from flows.shard import shard

    waiting = place.batch("resumed")
    place.approve(waiting)
    for job in waiting.jobs.values():
        assert ledger.lease(place.database, waiting.batch, "gone", 0, only=[job])
    shard(waiting.batch, list(waiting.jobs.values()), "shard 1")
    return waiting


PATHS: dict[str, Callable[[Place], Waiting]] = {"run": _by_run, "pool": _by_pool, "api": _by_api, "desk": _by_desk, "review": _by_review, "resumed": _by_resuming}


@pytest.mark.parametrize("path", PATHS)
def test_no_path_delivers_without_a_valid_record(place: Place, path: str) -> None:
    waiting = PATHS[path](place)
    told = {job["job"]: job for job in queries.report(place.database, waiting.batch)["jobs"]}
    for case, code in BAD.items():
        if case not in waiting.jobs:
            continue
        job = told[waiting.jobs[case]]
        assert (job["state"], job["error"]["code"], job["delivery"]) == ("failed", code, None), job["error"]
        assert job["error"]["next_step"]
    good = [case for case in GOOD if case in waiting.jobs]
    assert [told[waiting.jobs[case]]["state"] for case in good] == ["delivered"] * len(good), [told[waiting.jobs[case]]["error"] for case in good]
    there = [name for name in os.listdir(waiting.output) if not name.startswith("report")]
    assert len(there) == 4 * len(good) and all(name.startswith(tuple(good)) for name in there)
    with place.database.begin() as session:
        rests = session.execute(text("SELECT DISTINCT c.consent_id FROM delivery_consents c JOIN jobs j ON j.id = c.job_id WHERE j.batch_id = :b"), {"b": waiting.batch}).scalars().all()
    assert sorted(rests) == sorted(f"c-{case}" for case in good)


def test_a_second_rung_whose_record_ends_while_it_is_made_is_not_delivered(place: Place) -> None:
    """The ladder: the job's record was valid when it began; the take that passes comes after the revocation, with its worker still at it."""
    from flows.job import run_job
    waiting = place.batch("ladder")
    shown = next(job for job in place.specs if job.title.startswith("none")).spec["inputs"]["portrait"]["sha256"]
    consents.add(place.database, consents.Record("Bo", "synthetic", "c-bo", subjects=(("portrait", shown, "none.jpg"),)), "me")
    place.approve(waiting)
    held = ledger.lease(place.database, waiting.batch, "w", 60, only=[waiting.jobs["none"]])
    assert held is not None
    check, consent.check = consent.check, lambda work: (check(work), erasure.revoke(place.database, "c-bo", "ana", ""))[0]
    try:
        with pytest.raises(StaleToken):
            run_job(place.database, place.artifacts, place.known, held)
    finally:
        consent.check = check
    row = next(job for job in queries.report(place.database, waiting.batch)["jobs"] if job["job"] == waiting.jobs["none"])
    assert (row["state"], row["error"]["code"], row["delivery"]) == ("cancelled", "consent.revoked", None) and not waiting.output.exists()


def ended(work: Work, take: Take) -> None:
    raise StaleToken("it is rendered")


def test_nobody_s_lips_are_redrawn_whose_face_has_no_record(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real video, followed and cast: the record is of a corner in which nobody is, so that the job ends before a picture is drawn."""
    from flows.job import run_job
    from tasks.dubbing import redub

    video = tmp_path / "corner.mp4"
    video.write_bytes(own(place.film, b"corner"))
    consents.add(place.database, consents.Record("Bo", "synthetic", "c-corner", subjects=(face_at(video, (8, HEIGHT - 8)),)), "me")
    made = plan(load_manifest(write_manifest(tmp_path, [{"title": "corner", "text": "Hi.", "video": str(video)}], batch="corner")), place.database, place.known)
    batch = submit(made, place.database, place.artifacts).batch_id
    held = ledger.lease(place.database, batch, "w", 60)
    assert held is not None and run_job(place.database, place.artifacts, place.known, held) == "failed"
    (row,) = queries.report(place.database, batch)["jobs"]
    assert (row["error"]["code"], row["takes"]) == ("consent.face", []) and "face track 0" in row["error"]["message"]
    told = row["error"]["next_step"].partition("--face ")[2].partition("`")[0]  # what it says to bind is the face that would be redrawn
    consents.bind(place.database, "c-corner", (consent.face_of(told, place.known),), "me")
    ledger.retry(place.database, batch, ("failed",))
    again = ledger.lease(place.database, batch, "w", 60)
    assert again is not None
    monkeypatch.setattr(redub, "render", ended)
    with pytest.raises(StaleToken, match="it is rendered"):
        run_job(place.database, place.artifacts, place.known, again)


def test_the_put_itself_asks_for_records(place: Place, tmp_path: Path) -> None:
    """The innermost call, that puts files at an output, refuses facts that name no record."""
    from tasks.deliver import deliver
    from tasks.marking import Marked

    with pytest.raises(ConsentError):
        deliver(Marked(tmp_path / "x.mp4", "0", "x"), [], title="t", locale="en-US", output=str(tmp_path / "out"), facts={}, settings=place.known)
    assert not (tmp_path / "out").exists()
