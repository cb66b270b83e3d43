"""Consent: what a record covers, that no path delivers without one, revocation, holds, and the erasure of a person's material."""

import ast
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError

from db import consents, erasure, ledger, queries
from db.consent_faces import KIND, FacePoint
from db.consents import Record, Use
from db.ledger import ArtifactRow, JobSpec, Lease
from db.session import Database
from flow_cases import HOPPER, ROOT
from infra.artifacts import Artifacts
from infra.errors import ConsentError, StaleToken
from infra.marking.signer import local_signer
from infra.settings import Settings
from infra.store import FolderStore, sha256_of
from ledger_cases import allow, database, row, server, take, url, verdict  # noqa: F401 (some are fixtures)
from marking_cases import PAYLOAD, film
from models.types import Cue, Speech, SyncScore
from tasks import consent, publish
from tasks.gate import Verdict, load_thresholds
from tasks.ladder import Rung
from tasks.speech import SpeechTrack
from tasks.stages import Made, Take, Work
from track_cases import standing

A, B = "a" * 64, "b" * 64
DAY = timedelta(days=1)
NOW = datetime.now(UTC)


def job(database: Database, sha256: str = A, title: str = "welcome", **said: str) -> Lease:  # noqa: F811
    """A leased job with a portrait."""
    inputs = {"portrait": {"sha256": sha256, "size": 1, "suffix": ".png", "place": "ann.png"}}
    spec = {"inputs": inputs, "output": "out", "voice": "", "text": "Hi.", "consent": "", **said}
    batch = ledger.submit(database, f"batch of {title}", "b", "out", [JobSpec(f"key {title}", title, "es-ES", "avct", "compact", spec)]).batch_id
    held = ledger.lease(database, batch, "w", 60)
    assert held is not None
    ledger.record_artifacts(database, held, [ArtifactRow(sha256, "portrait.png", 1, f"sha256/{sha256}"), row("b")])
    return held


def taken(database: Database, held: Lease) -> int:  # noqa: F811
    """A take that passed, c, and its signed file, 1."""
    number = ledger.record_take(database, held, take(), verdict())
    ledger.record_artifacts(database, held, [row("1", ("c", "render"))])
    return number


def state(database: Database, batch: int) -> dict[str, Any]:  # noqa: F811
    return queries.report(database, batch)["jobs"][0]


# records


def test_a_record_is_numbered_proven_and_stands(database: Database) -> None:  # noqa: F811
    year = datetime.now(UTC).year
    proof = "e" * 64
    made = [consents.add(database, Record("Ann", "licence", evidence=proof, subjects=(("portrait", A, "ann.png"),)), "me") for _ in range(2)]
    assert made == [f"c-{year}-0001", f"c-{year}-0002"]
    for record, words in (
        (Record("Ann", "licence"), "evidence"), (Record("Ann", "public-domain", minor=True), "guardian"), (Record("Ann", "because"), "basis"),
        (Record("", "synthetic"), "nobody"), (Record("Ann", "synthetic", id="../x"), "id"), (Record("Ann", "synthetic", starts=NOW, ends=NOW - DAY), "before it begins"),
    ):  # fmt: skip
        with pytest.raises(ConsentError, match=words) as told:
            consents.add(database, record, "me")
        assert told.value.code == "consent.refused" and told.value.next_step
    same = Record("Bo", "synthetic", id="c-bo", subjects=(("voice", B, "bo.wav"),))
    assert consents.add(database, same, "me") == consents.add(database, same, "somebody") == "c-bo"
    with pytest.raises(ConsentError) as told:
        consents.add(database, Record("Not Bo", "synthetic", id="c-bo"), "me")
    assert told.value.code == "consent.taken"
    for change in ("UPDATE consents SET person = 'x'", "DELETE FROM consents", "UPDATE consent_subjects SET sha256 = repeat('f', 64)", "DELETE FROM consent_subjects"):
        with pytest.raises(DBAPIError, match="never changed"), database.begin() as session:
            session.execute(text(change))
    erasure.revoke(database, "c-bo", "me", "asked to")
    with pytest.raises(DBAPIError, match="never changed"), database.begin() as session:
        session.execute(text("UPDATE consents SET revoked_at = NULL, revoked_by = ''"))
    assert {one["id"]: one["state"] for one in erasure.records(database)} == {made[0]: "valid", made[1]: "valid", "c-bo": "revoked"}


SCOPES: list[tuple[dict[str, Any], dict[str, str], str | None]] = [
    ({}, {}, None),
    ({"titles": ("welcome",), "locales": ("es",), "uses": ("trailer", "film"), "territories": ("DE", "AT")}, {"use": "film", "territory": "AT,DE"}, None),
    ({"titles": ("other",)}, {}, "consent.scope"),
    ({"locales": ("e", "es-MX")}, {}, "consent.scope"),
    ({"uses": ("film",)}, {}, "consent.scope"),  # a job that does not say is not covered
    ({"uses": ("film",)}, {"use": "film,advert"}, "consent.scope"),
    ({"territories": ("DE",)}, {"territory": "DE,US"}, "consent.scope"),
    ({"starts": NOW - 2 * DAY, "ends": NOW - DAY}, {}, "consent.expired"),
    ({"starts": NOW + DAY}, {}, "consent.expired"),
    ({}, {"named": "c-none"}, "consent.missing"),
]


def test_a_record_covers_what_it_says_and_no_more(database: Database) -> None:  # noqa: F811
    for number, (limits, said, code) in enumerate(SCOPES):
        subject, name = f"{number:064x}", f"c-ann-{number}"
        consents.add(database, Record("Ann", "synthetic", id=name, **limits, subjects=(("portrait", subject, "ann.png"),)), "me")
        (found,) = consents.resting_on(database, [Use("welcome", "es-ES", subjects={"portrait": subject}, **said)])
        if code is None:
            assert found == {subject: name}
        else:
            assert isinstance(found, ConsentError) and found.code == code and found.next_step, (limits, found)


def test_every_face_and_voice_needs_one_and_a_video_made_here_stands_for_whom_it_shows(database: Database) -> None:  # noqa: F811
    allow(database)
    both = Use("welcome", "es-ES", subjects={"portrait": A, "audio": B}, places={B: "bo.wav"})
    (found,) = consents.resting_on(database, [both])
    assert isinstance(found, ConsentError) and found.code == "consent.missing" and "--voice bo.wav" in found.next_step
    bo = consents.add(database, Record("Bo", "synthetic", subjects=(("voice", B, ""),)), "me")
    assert consents.resting_on(database, [both]) == [{A: "c-test", B: bo}]
    held = job(database)
    ledger.deliver(database, held, taken(database, held), "1" * 64, "s3://out/a.mp4", {})
    assert consents.resting_on(database, [Use("again", "es-ES", subjects={"video": "1" * 64})]) == [{A: "c-test"}]
    # another film whose speech is the same bytes leads to its own person alone
    with database.begin() as session:
        session.execute(text("INSERT INTO edges (sha256, source, role) VALUES (:speech, :other, 'video')"), {"speech": B, "other": "1" * 64})
    assert consents.resting_on(database, [Use("again", "es-ES", subjects={"video": "1" * 64})]) == [{A: "c-test"}]


# no path delivers without one


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film(tmp_path_factory.mktemp("film") / "marked.mp4", count=50)


@pytest.fixture
def work(database: Database, tmp_path: Path, marked: Path) -> Iterator[tuple[Work, Take]]:  # noqa: F811
    """A job whose take has passed, ready to be delivered."""
    known = Settings(home=tmp_path)  # type: ignore[call-arg]
    local_signer(tmp_path / "signing")
    held = job(database, sha256_of(HOPPER), output=str(tmp_path / "out"))
    made = Work(database, Artifacts(FolderStore(tmp_path / "store"), tmp_path / "cache"), known, held, tmp_path)
    made.inputs["portrait"] = HOPPER
    made.speech = SpeechTrack(Speech(np.zeros(32_000, np.float32), (), np.zeros(200, np.float32), (Cue(0.2, 1.0, "Hi."),)), np.zeros(32_000, np.int16), 16_000)
    kept = made.artifacts.put(marked, "render.mp4")
    video = ArtifactRow(kept.sha256, "render.mp4", kept.size, kept.key, ((sha256_of(HOPPER), "portrait"), (B, "speech")))
    record = take()
    number = ledger.record_take(database, held, type(record)(**{**vars(record), "video": video}), verdict())
    score = SyncScore(0, 1.0, 0.3, np.zeros(31, np.float32), np.zeros(20, np.float32), scorer="f" * 64)
    passed = Take(
        1, Rung("avct"), 1, parameters={"watermark": f"{PAYLOAD:016x}"}, score=score, verdict=Verdict("pass", (), load_thresholds()), take_id=number, weights=record.weights,
        made={"render": Made(kept.sha256, marked, 1.0, True)},
    )  # fmt: skip
    yield made, passed


def test_the_stages_refuse_before_anything_is_made_and_before_anything_leaves(work: tuple[Work, Take], tmp_path: Path) -> None:
    made, passed = work
    for call in (lambda: consent.check(made), lambda: publish.deliver(made, passed)):
        with pytest.raises(ConsentError) as told:
            call()
        assert told.value.code == "consent.missing" and "ann.png" in told.value.message
    assert not (tmp_path / "out").exists() and state(made.database, made.lease.batch_id)["delivery"] is None
    consents.add(made.database, Record("Ann", "synthetic", id="c-ann", subjects=(("portrait", sha256_of(HOPPER), ""),)), "me")
    consent.check(made)
    publish.deliver(made, passed)
    delivered = state(made.database, made.lease.batch_id)["delivery"]
    assert sorted(path.suffix for path in (tmp_path / "out").iterdir()) == [".jpg", ".json", ".mp4", ".vtt"]
    assert sha256_of(Path(delivered["url"])) == delivered["sha256"] != passed.made["render"].sha256
    assert '"consent": [\n    "c-ann"' in next((tmp_path / "out").glob("*.json")).read_text()
    assert erasure.records(made.database)[0]["deliveries"] == 1


def test_a_file_that_was_changed_after_it_was_signed_does_not_leave(work: tuple[Work, Take], tmp_path: Path) -> None:
    """P21 where it counts: the signed file is damaged in the store's local copy."""
    from infra.errors import MarkingError
    from tasks import marking

    made, passed = work
    consents.add(made.database, Record("Ann", "synthetic", id="c-ann", subjects=(("portrait", sha256_of(HOPPER), ""),)), "me")
    whole = marking.signed(made, passed)
    there = made.artifacts.path(whole.sha256)
    there.write_bytes(there.read_bytes()[:-1] + b"x")
    with pytest.raises(MarkingError) as told:
        publish.deliver(made, passed)
    assert told.value.code == "marking.invalid" and not (tmp_path / "out").exists()
    there.unlink()  # the store holds it as it was signed
    publish.deliver(made, passed)
    assert state(made.database, made.lease.batch_id)["delivery"]["sha256"] == whole.sha256


def test_the_ledger_and_the_database_refuse_by_themselves(database: Database) -> None:  # noqa: F811
    held = job(database)
    number = taken(database, held)
    with pytest.raises(ConsentError):
        ledger.deliver(database, held, number, "1" * 64, "s3://out/a.mp4", {})
    row_of = "INSERT INTO deliveries (job_id, take_id, sha256, url, files) VALUES (:job, :take, :file, 'u', '{}')"
    given = {"job": held.job_id, "take": number, "file": "1" * 64}
    with pytest.raises(DBAPIError, match="no valid consent"), database.begin() as session:
        session.execute(text(row_of), given)
    allow(database)
    with pytest.raises(DBAPIError, match="no valid consent"), database.begin() as session:
        session.execute(text(row_of), given)  # there is one, and the delivery does not rest on it
    with pytest.raises(IntegrityError), database.begin() as session:
        session.execute(text(row_of), given)
        session.execute(text("INSERT INTO delivery_consents (job_id, sha256, consent_id) VALUES (:job, :sha, 'c-test')"), {"job": held.job_id, "sha": B})
    with pytest.raises(DBAPIError, match="delivery of job"), database.begin() as session:
        session.execute(text(row_of), {**given, "file": "c" * 64})
    erasure.revoke(database, "c-test", "me", "")
    with pytest.raises(StaleToken):  # revoked while it ran: the job is not its worker's any more
        ledger.deliver(database, held, number, "1" * 64, "s3://out/a.mp4", {})
    assert state(database, held.batch_id)["error"]["code"] == "consent.revoked"


def test_these_are_all_the_ways_out() -> None:
    """Who calls what delivers: a new caller must come here and be tried."""
    doors = {"deliveries": "t.Delivery", "ledger": "ledger.deliver", "files": "put", "stage": "publish.deliver"}
    found: dict[str, set[str]] = {name: set() for name in doors}
    for path in sorted(p for folder in ("db", "tasks", "flows", "review", "api", "infra") for p in (ROOT / folder).rglob("*.py")) + sorted(ROOT.glob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module == "tasks.deliver" and any(one.name == "deliver" for one in node.names):
                found["files"].add(name)
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("t.Delivery", "tables.Delivery", "Delivery"):
                found["deliveries"].add(name)
            if isinstance(node, ast.Attribute) and ast.unparse(node) in ("ledger.deliver", "publish.deliver"):
                found["ledger" if ast.unparse(node) == "ledger.deliver" else "stage"].add(name)
    assert found == {"deliveries": {"db/ledger.py"}, "ledger": {"tasks/publish.py"}, "files": {"tasks/publish.py"}, "stage": {"flows/job.py"}}


# faces of a video

V = "d" * 64
LEFT, RIGHT = (FacePoint(V, 1.0, x, 0.5) for x in (0.25, 0.75))


def dub(database: Database, title: str, redrawn: list[int] | None) -> tuple[Lease, int]:  # noqa: F811
    """A job of the video d whose take, c, redrew these tracks, signed as 1."""
    inputs = {"video": {"sha256": V, "size": 1, "suffix": ".mp4", "place": "film.mp4"}}
    batch = ledger.submit(database, f"dubs of {title}", "b", "out", [JobSpec(f"dub {title}", title, "es-ES", "lipmemory", "compact", {"inputs": inputs, "consent": ""})]).batch_id
    held = ledger.lease(database, batch, "w", 60)
    assert held is not None
    ledger.record_artifacts(database, held, [row("d"), row("b")])
    made = take(sources=(("d", "video"), ("b", "speech")))
    number = ledger.record_take(database, held, replace(made, parameters=made.parameters | ({} if redrawn is None else {"redrawn": redrawn})), verdict())
    ledger.record_artifacts(database, held, [row("1", ("c", "render"))])
    return held, number


def face_record(database: Database, name: str, face: FacePoint) -> str:  # noqa: F811
    return consents.add(database, Record(name, "synthetic", id=f"c-{name.lower()}", subjects=((KIND, face.sha256, face.name),)), "me")


def test_a_face_s_record_covers_that_face_and_no_other(database: Database) -> None:  # noqa: F811
    face_record(database, "Ann", LEFT)

    def rests(redrawn: dict[int, tuple[str, ...]] | None, **roles: str) -> dict[str, str] | str:
        (found,) = consents.resting_on(database, [Use("film", "es-ES", subjects={"video": V, **roles}, places={V: "film.mp4"}, redrawn=redrawn)])
        assert isinstance(found, dict) or found.next_step
        return found.code if isinstance(found, ConsentError) else found

    ann = {LEFT.sha256: "c-ann"}
    assert rests(None) == ann and rests({3: (LEFT.sha256,), 5: (RIGHT.sha256, LEFT.sha256)}) == ann  # nobody knows yet; both tracks are Ann's
    assert rests({0: (LEFT.sha256,), 1: ()}) == "consent.face" and rests({0: (RIGHT.sha256,)}) == "consent.missing" and rests({}) == "consent.face"
    assert rests(None, audio=V) == "consent.missing"  # it is no record of what is heard in it
    with database.begin() as session:
        session.execute(text("INSERT INTO artifacts (sha256, kind, size, key) VALUES (:a, 'x', 1, 'a'), (:v, 'x', 1, 'v')"), {"a": A, "v": V})
        session.execute(text("INSERT INTO edges (sha256, source, role) VALUES (:a, :v, 'video')"), {"a": A, "v": V})
    (found,) = consents.resting_on(database, [Use("film", "es-ES", subjects={"video": A})])
    assert isinstance(found, ConsentError)  # what was made of it shows all of it
    consents.add(database, Record("all", "synthetic", id="c-all", subjects=(("video", V, ""),)), "me")
    assert rests({0: (), 1: ()}) == {V: "c-all"}
    for name in (LEFT.name.replace("1.000", "1.00"), RIGHT.name):  # another spelling, another face than its hash says
        with pytest.raises(ConsentError):
            consents.add(database, Record("Cy", "synthetic", subjects=((KIND, LEFT.sha256, name),)), "me")


def test_a_delivery_rests_on_every_face_that_was_redrawn_or_is_refused(database: Database) -> None:  # noqa: F811
    face_record(database, "Ann", LEFT)
    both = {0: (LEFT.sha256,), 1: (RIGHT.sha256,)}
    for number, (redrawn, faces) in enumerate((([0, 1], {0: both[0], 1: ()}), ([0, 1], None), (None, {0: both[0]}), ([0, 1], {0: both[0]}), ([], both))):
        held, made = dub(database, f"refused {number}", redrawn)
        with pytest.raises((ConsentError, DBAPIError), match="consent"):
            ledger.deliver(database, held, made, "1" * 64, "s3://out/a.mp4", {}, faces)
        assert state(database, held.batch_id)["delivery"] is None
        ledger.finish(database, held, "failed")
    face_record(database, "Bo", RIGHT)
    held, made = dub(database, "both", [0, 1])
    ledger.deliver(database, held, made, "1" * 64, "s3://out/a.mp4", {}, both)
    with database.begin() as session:
        assert session.execute(text("SELECT consent_id, tracks FROM delivery_consents ORDER BY 1")).all() == [("c-ann", [0]), ("c-bo", [1])]
    database.migrate("0009")
    database.migrate()
    with database.begin() as session:
        assert session.execute(text("SELECT consent_id, tracks FROM delivery_consents ORDER BY 1")).all() == [("c-ann", [0]), ("c-bo", [1])]
    dub(database, "under way", [7])  # whom it redraws is not known
    told = erasure.revoke(database, "c-ann", "ana", "")
    assert told["cancelled"] == ["under way/es-ES"] and [one["url"] for one in told["delivered"]] == ["s3://out/a.mp4"]
    with pytest.raises(DBAPIError, match="no valid consent"), database.begin() as session:
        session.execute(text("UPDATE deliveries SET files = files"))
    assert erasure.erase(database, "Bo", "me", lambda key, sha: None, dry_run=True)["artifacts"] == 3  # the film, and what was made of it


def test_a_point_means_the_face_that_is_there_in_that_picture(tmp_path: Path) -> None:
    with standing(tmp_path / "two.tracks", [(100, 200), (160, 200)]) as tracks:
        assert [tracks.shown(at, (x, 200)) for at, x in ((0, 100), (1.96, 160), (5, 135), (1, 129), (1, 300), (0.5, 69))] == [0, 1, 1, 0, None, None]
    with standing(tmp_path / "none.tracks", [], frames=0) as nobody:
        assert nobody.shown(0, (1, 1)) is None
    known = Settings(home=tmp_path)  # type: ignore[call-arg]
    assert consent.face_of(f"{V}@1,0.25,0.5", known) == (KIND, LEFT.sha256, LEFT.name)
    for wrong in ("film.mp4", f"{V}@1,0.25", f"{V}@1,0.25,1.5", f"{V}@-1,0.2,0.5", "@1,0.2,0.5"):
        with pytest.raises(ConsentError):
            consent.face_of(wrong, known)


def test_what_a_job_says_of_consent_may_be_corrected(database: Database) -> None:  # noqa: F811
    held = job(database)
    spec = {**held.spec, "consent": "c-test", "use": "film"}
    ledger.submit(database, "batch of welcome", "b", "out", [JobSpec("key welcome", "welcome", "es-ES", "avct", "compact", spec)])
    told = state(database, held.batch_id)["spec"]
    assert (told["consent"], told["use"], told["text"]) == ("c-test", "film", "Hi.")


# withdrawn


def test_a_revocation_stops_what_another_record_does_not_allow_and_lists_what_left(database: Database) -> None:  # noqa: F811
    allow(database)
    first = job(database)
    ledger.deliver(database, first, taken(database, first), "1" * 64, "s3://out/a.mp4", {"video": "s3://out/a.mp4"})
    running, other = job(database, title="second"), job(database, B, title="third")
    told = erasure.revoke(database, "c-test", "ana", "she asked")
    assert told["cancelled"] == ["second/es-ES"] and [row["url"] for row in told["delivered"]] == ["s3://out/a.mp4"]
    with pytest.raises(StaleToken):
        ledger.renew(database, running, 60)
    ledger.renew(database, other, 60)
    consents.add(database, Record("Ann", "synthetic", id="c-new", subjects=(("portrait", A, ""),)), "me")
    ledger.retry(database, running.batch_id, ("cancelled",))
    assert ledger.lease(database, running.batch_id, "w", 60) is not None
    consents.add(database, Record("Ann", "synthetic", id="c-more", subjects=(("portrait", A, ""),)), "me")
    assert erasure.revoke(database, "c-new", "ana", "")["cancelled"] == []  # c-more still allows it


def test_a_revocation_waits_for_what_is_being_delivered(database: Database) -> None:  # noqa: F811
    allow(database)
    done = threading.Event()

    def revoke() -> None:
        erasure.revoke(database, "c-test", "ana", "")
        done.set()

    with consents.held(database, Use("welcome", "es-ES", subjects={"portrait": A})) as found:
        thread = threading.Thread(target=revoke)
        thread.start()
        assert found == {A: "c-test"} and not done.wait(0.5)
    thread.join(20)
    assert done.is_set()
    with pytest.raises(ConsentError) as told, consents.held(database, Use("welcome", "es-ES", subjects={"portrait": A})):
        pass
    assert told.value.code == "consent.revoked"


def test_an_erasure_follows_lineage_and_stops_at_holds(database: Database) -> None:  # noqa: F811
    """Ann's portrait a with its take c and its signed file 1; Bo's portrait d with his own take 2, of the same speech b and the same plan 9."""
    allow(database)
    consents.add(database, Record("Bo", "synthetic", id="c-bo", subjects=(("portrait", "d" * 64, ""),)), "me")
    held = job(database)
    ledger.record_stage(database, held, "stage-key", "faces", row("f", ("a", "portrait")), 0.5)
    ledger.record_artifacts(database, held, [row("d"), row("9", ("a", "video"), ("d", "video"))])
    ledger.record_artifacts(database, held, [row("2", ("d", "portrait"), ("b", "speech"), ("9", "cast"))])
    ledger.deliver(database, held, taken(database, held), "1" * 64, "s3://out/a.mp4", {})
    removed: list[str] = []
    erasure.keep(database, "c-test", "court order 7")
    with pytest.raises(ConsentError) as told:
        erasure.erase(database, "Ann", "me", lambda key, sha: removed.append(sha[0]))
    assert told.value.code == "consent.held" and "court order 7" in told.value.message and removed == []
    erasure.keep(database, "c-test", "")
    planned = erasure.erase(database, "Ann", "me", lambda key, sha: removed.append(sha[0]), dry_run=True)
    assert planned["artifacts"] == 5 and removed == []
    done = erasure.erase(database, "Ann", "me", lambda key, sha: removed.append(sha[0]))
    assert sorted(removed) == ["1", "9", "a", "c", "f"] and [row["url"] for row in done["delivered"]] == ["s3://out/a.mp4"]
    assert ledger.find_stage(database, "stage-key") is None
    assert erasure.records(database, consent_id="c-test")[0]["state"] == "revoked" and erasure.records(database, consent_id="c-bo")[0]["state"] == "valid"
    with database.begin() as session:
        gone = set(session.execute(text("SELECT left(sha256, 1) FROM artifacts WHERE gone_at IS NOT NULL AND erasure_id = 1")).scalars())
    assert gone == {"1", "9", "a", "c", "f"}
    again = erasure.erase(database, "Ann", "me", lambda key, sha: removed.append(sha[0]))
    assert again["artifacts"] == 0 and len(removed) == 5
    with pytest.raises(ConsentError) as unknown:
        erasure.erase(database, "Nobody", "me", lambda key, sha: None)
    assert unknown.value.code == "consent.unknown"


def test_records_come_from_files_and_go_back(database: Database, tmp_path: Path) -> None:  # noqa: F811
    known = Settings(home=tmp_path)  # type: ignore[call-arg]
    assert consent.enter(database, ROOT / "demo" / "consents.yaml", known, "me") == ["c-demo-hopper", "c-demo-collins", "c-demo-voice"]
    told = erasure.records(database)
    (tmp_path / "kept.json").write_text(json.dumps({"consents": told}))
    assert sorted(consent.enter(database, tmp_path / "kept.json", known, "me")) == ["c-demo-collins", "c-demo-hopper", "c-demo-voice"]
    use = Use("welcome", "es-ES", "demonstration", subjects={"portrait": sha256_of(HOPPER)})
    assert consents.resting_on(database, [use]) == [{sha256_of(HOPPER): "c-demo-hopper"}]
    (tmp_path / "odd.yaml").write_text("- nothing")
    with pytest.raises(ConsentError):
        consent.read_records(tmp_path / "odd.yaml", known)
