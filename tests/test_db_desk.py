"""The desk's rows against a real Postgres: what waits and in which order, one holder a job, decisions that can be taken back and then stand."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from db import accounts, desk, ledger, pending, reviews
from db.accounts import Person
from db.desk import Filters
from db.pending import Wanted
from db.session import Database
from infra.errors import AccountError, DeskError, LedgerError
from ledger_cases import database, row, server, take, url, verdict  # noqa: F401 (some are fixtures)
from models.quality.catalogue import FEATURES
from tasks.gate import faults_of

LEVELS = {"levels": [{"seconds": 1.0, "passes": 4.0, "fails": 2.0}, {"seconds": 3.0, "passes": 5.0, "fails": 2.0}]}
NOW = timedelta(0)


def people(database: Database) -> tuple[Person, Person]:  # noqa: F811
    return accounts.add(database, "Ana", "reviewer", "a long enough password"), accounts.add(database, "bo", "reviewer")


def fill(database: Database, prominences: list[float | None], name: str = "b", **more: Any) -> list[tuple[int, int]]:  # noqa: F811
    """Flagged jobs of a batch, one for each prominence (None: not scorable), in order; their (job, take) ids. more: of what they ask."""
    specs = [ledger.JobSpec(f"{name}{i}", f"t{i}", "es-ES", "auto", "compact", {"inputs": {"portrait": {"place": "s3://in/amira.png"}}, **more}) for i in range(len(prominences))]
    batch = ledger.submit(database, name, name, "out", specs).batch_id
    made = []
    for value in prominences:
        held = ledger.lease(database, batch, "w", 60)
        assert held is not None
        ledger.record_artifacts(database, held, [row("a"), row("b")])
        kind = "unscorable" if value is None else "flag"
        told = ledger.VerdictRecord(kind, ("there is no face",) if value is None else (f"in sync within 1 frame, but under the {value} that passes",), "f" * 64, LEVELS, 0, 1.0, value, {"extra": {"prominence": value, "seconds": 1.2}})
        made.append((held.job_id, ledger.record_take(database, held, take(), told)))
        ledger.finish(database, held, "flagged", {"code": "gate.flag"})
    return made


def test_the_most_urgent_comes_first_and_the_queue_follows_jobs(database: Database) -> None:  # noqa: F811
    ana, _ = people(database)
    (near, near_take), (far, _), (blind, _) = fill(database, [3.9, 1.0, None])
    rows = desk.listed(database, Filters(), ana)
    assert [r["job_id"] for r in rows] == [blind, far, near]
    assert [round(r["shortfall"], 3) for r in rows] == [1.0, 0.75, 0.025] and [r["kinds"] for r in rows] == [["unscorable"], ["sync"], ["sync"]]
    assert {(r["speaker"], r["engine"], r["locale"]) for r in rows} == {("amira", "avct", "es-ES")}
    assert abs(rows[0]["hours"] - 24) < 0.1  # nothing has waited yet
    with database.begin() as session:
        session.execute(text("UPDATE jobs SET priority = 30 WHERE id = :job"), {"job": near})
    assert [r["job_id"] for r in desk.listed(database, Filters(), ana)] == [near, blind, far]
    (other, _), = fill(database, [3.9], "urgent")
    with database.begin() as session:
        session.execute(text("UPDATE batches SET priority = 100 WHERE name = 'urgent'"))
    first = desk.listed(database, Filters(), ana, limit=2)
    assert [r["job_id"] for r in first] == [other, near]
    after = (first[-1]["urgency"], first[-1]["job_id"])
    assert [r["job_id"] for r in desk.listed(database, Filters(), ana, after)] == [blind, far]
    assert [r["job_id"] for r in desk.listed(database, Filters(kind="unscorable"), ana)] == [blind]
    assert desk.counted(database, Filters(batch="1", speaker="amira", held="free"), ana) == 3 and desk.counted(database, Filters(hours="1"), ana) == 0
    assert desk.next_job(database, Filters(batch="1"), ana) == near_take
    ledger.retry(database, 1, ("flagged",))
    assert [r["job_id"] for r in desk.listed(database, Filters(), ana)] == [other]


def test_every_word_of_the_gate_is_found_as_a_kind(database: Database) -> None:  # noqa: F811
    said = {name: faults_of({name: 9.0 if feature.good == "below" else -9.0}, {name: 0.0}) for name, feature in FEATURES.items()}
    more = [
        ("fail", "lips and speech do not agree: x, under 2.0", "sync"), ("flag", "in sync within 1 frame, but x, under the 5.0 that passes", "sync"),
        ("flag", "the sound leads the lips by 2 frames (x)", "sync"), ("flag", "the lips lead the sound by 3 frames (x)", "sync"),
        ("flag", "lips and speech disagree from second 3 to 6", "sync"), ("flag", "strict gate: lips and speech do not stand out", "sync"),
        ("flag", "who speaks is not certain: two faces", "face"), ("flag", "0.30 s of the speech do not go into the video's length and are not heard", "speech"),
        ("flag", "ana asked for another take: softer", "person"), ("flag", "bo rejected it", "person"), ("unscorable", "there is no sound", "unscorable"),
    ]  # fmt: skip
    with database.begin() as session:

        def kinds(decided: str, reasons: list[str]) -> list[str]:
            return session.execute(text("SELECT queue_kinds(:verdict, to_jsonb(CAST(:reasons AS text[])))"), {"verdict": decided, "reasons": reasons}).scalar_one()

        for name, reasons in said.items():
            assert reasons and len(kinds("flag", reasons)) == 1, (name, reasons)
        for decided, reason, wanted in more:
            assert kinds(decided, [reason]) == [wanted], reason
        assert kinds("flag", ["in sync within 1 frame: stands out by 8 spreads; 5.0 is asked"]) == []


def test_two_people_never_work_on_one_job(database: Database) -> None:  # noqa: F811
    ana, bo = people(database)
    (job, only), = fill(database, [3.0])
    assert (desk.claim(database, job, ana) or {})["mine"] is True
    held = desk.claim(database, job, bo)
    assert held is not None and held["name"] == "ana" and held["mine"] is False
    with pytest.raises(DeskError) as told:
        pending.decide(database, [only], Wanted("approve"), bo)
    assert told.value.code == "desk.held" and desk.next_job(database, Filters(), bo) is None
    with database.begin() as session:
        session.execute(text("UPDATE claims SET expires_at = now() - interval '1 second'"))  # ana's page is gone
    assert (desk.claim(database, job, bo) or {})["mine"] is True and (desk.claim(database, job, ana) or {})["name"] == "bo"
    desk.let_go(database, job, bo)
    assert desk.holder(database, job, ana) is None


def test_a_decision_can_be_taken_back_and_then_stands(database: Database) -> None:  # noqa: F811
    ana, bo = people(database)
    (job, first), (_, second) = fill(database, [3.0, 2.5])
    held = pending.decide(database, [first], Wanted("reject", "sync", seconds=4.0), ana)
    assert pending.settle(database) == [] and reviews.of_job(database, job) == []
    for person, code in ((bo, "desk.decided"), (ana, "desk.decided")):
        with pytest.raises(DeskError) as told:
            pending.decide(database, [first], Wanted("approve"), person)
        assert told.value.code == code
    assert pending.undo(database, held.bundle, bo) == [] and pending.undo(database, held.bundle, ana) == [first]
    both = pending.decide(database, [first, second, second], Wanted("reject", "mouth", "teeth", seconds=4.0), ana, NOW)
    assert (both.decided, both.left) == (2, 0)
    later = Database(database.engine.url.render_as_string(hide_password=False))  # another server, after the one that took it ended
    assert {one.state for one in pending.settle(later)} == {"rejected"} and pending.settle(database) == []
    later.close()
    made = reviews.of_job(database, job)
    assert [(r["actor"], r["decision"], r["reason"], r["note"], r["seconds"]) for r in made] == [("ana", "reject", "mouth", "teeth", 4.0)]
    assert pending.undo(database, both.bundle, ana) == [] and desk.counted(database, Filters(), ana) == 0
    with pytest.raises(DBAPIError, match="never changed"), database.begin() as session:
        session.execute(text("UPDATE audit SET actor = 'x'"))
    with pytest.raises(LedgerError):
        pending.decide(database, [first], Wanted("reject"), ana)


def test_a_decision_that_comes_too_late_lapses_and_is_told(database: Database) -> None:  # noqa: F811
    ana, _ = people(database)
    (job, only), = fill(database, [3.0])
    pending.decide(database, [only], Wanted("approve"), ana, NOW)
    ledger.retry(database, 1, ("flagged",))
    assert pending.settle(database) == [] and reviews.of_job(database, job) == []
    assert accounts.logged(database)[0]["action"] == "decision lapsed"


def test_wishes_are_kept_with_the_review(database: Database) -> None:  # noqa: F811
    ana, _ = people(database)
    (job, only), = fill(database, [3.0])
    pending.decide(database, [only], Wanted("again", "mouth", changes={"engine": "lipmemory", "text": "Hola."}), ana, NOW)
    (made,) = pending.settle(database)
    assert made.state == "queued" and reviews.queued(database) == {job: {"batch": 1, "name": "t0/es-ES"}}
    held = ledger.lease(database, 1, "w", 60)
    assert held is not None
    ledger.finish(database, held, "flagged", {})
    assert reviews.asked_of(database, job) == {"engine": "lipmemory", "text": "Hola.", "review": made.review}
    reviews.record(database, only, "again", "bo")
    assert {k: v for k, v in reviews.asked_of(database, job).items() if k != "review"} == {"text": "Hola."}  # words stay, the engine was for one take


def test_passwords_links_and_sessions(database: Database) -> None:  # noqa: F811
    ana, bo = people(database)
    assert accounts.check(database, "ANA", "a long enough password") == ana and accounts.check(database, "ana", "wrong") is None
    assert accounts.check(database, "bo", "") is None and accounts.check(database, "nobody", "x") is None
    token = accounts.link(database, "bo")
    assert accounts.use_link(database, token) == bo and accounts.use_link(database, token) is None
    cookie, held = accounts.sign_in(database, bo, "link")
    assert accounts.signed_in(database, cookie) == held and accounts.signed_in(database, held.id) is None  # what is stored signs nobody in
    accounts.change(database, "bo", "ana", role="viewer")
    assert accounts.signed_in(database, cookie) is None
    with database.begin() as session:
        stored = session.execute(text("SELECT password FROM accounts WHERE name = 'ana'")).scalar_one()
    assert stored.startswith("$argon2id$")
    for wrong, code in ((("ana", "viewer"), "exists"), (("two words", "viewer"), "name"), (("x", "king"), "role"), (("x", "viewer", "short"), "password")):
        with pytest.raises(AccountError) as told:
            accounts.add(database, *wrong)
        assert told.value.code == f"account.{code}"
    assert accounts.first_admin(database, "root") is None
    accounts.add(database, "root", "admin")
    with pytest.raises(AccountError) as last:
        accounts.change(database, "root", "root", disabled=True)
    assert last.value.code == "account.last"


def test_tries_are_counted_once_by_all_processes_and_end(database: Database) -> None:  # noqa: F811
    servers = [Database(database.engine.url.render_as_string(hide_password=False)) for _ in range(4)]
    with ThreadPoolExecutor(16) as pool:
        told = list(pool.map(lambda at: accounts.tried(servers[at % 4], "name ana", 10, timedelta(minutes=5)), range(60)))
    assert sum(told) == 10 and accounts.tried(database, "name bo", 10, timedelta(minutes=5))
    with database.begin() as session:
        assert "ana" not in str(session.execute(text("SELECT key FROM sign_in_tries")).all())  # who was tried is not kept, nor from where
        session.execute(text("UPDATE sign_in_tries SET ends_at = now()"))
    with ThreadPoolExecutor(8) as pool:  # where a time is over, several may find it so at once
        assert sum(pool.map(lambda at: accounts.tried(servers[at % 4], "name ana", 10, timedelta(minutes=5)), range(20))) == 10
    with database.begin() as session:
        assert session.execute(text("SELECT count(*) FROM sign_in_tries")).scalar_one() == 1
    for one in servers:
        one.close()


def test_speakers_of_a_script_are_a_filter_and_the_way_down_and_up_finds_them_again(database: Database) -> None:  # noqa: F811
    ana, _ = people(database)
    (job, _), = fill(database, [3.0], voices={"Zoë": "espeak:es", "Al": "espeak:es"}, dubbing={"faces": {"Al": "a.png", "陈": "b.png"}})
    fill(database, [2.0], "of nobody")
    desk.save_view(database, ana, "al", Filters(says="Al"))
    for _ in range(2):
        (only,) = desk.listed(database, Filters(says="Al"), ana)
        assert only["job_id"] == job and sorted(only["speakers"]) == ["Al", "Zoë", "陈"] and desk.counted(database, Filters(), ana) == 2
        assert sorted(desk.Facets(database).found()["says"]) == [("Al", "Al", 1), ("Zoë", "Zoë", 1), ("陈", "陈", 1)]
        database.migrate("0009")
        with database.begin() as session:
            assert session.execute(text("SELECT count(*) FROM queue")).scalar_one() == 2
        database.migrate()
    assert desk.views(database, ana) == [("al", Filters(says="Al"))]


def test_what_people_made_outlives_a_way_down_and_up(database: Database) -> None:  # noqa: F811
    ana, _ = people(database)
    (job, only), (other, _) = fill(database, [3.0, 2.0])
    desk.leave_note(database, other, ana, "look at second 4")
    desk.save_view(database, ana, "mine", Filters(locale="es-ES"))
    pending.decide(database, [only], Wanted("again", "", "", {"engine": "lipmemory"}, 7.5), ana, NOW)
    pending.settle(database)
    log = [(r["actor"], r["action"]) for r in accounts.logged(database)]
    database.migrate("0004")
    database.migrate()
    assert [(n["actor"], n["text"]) for n in desk.notes(database, other)] == [("ana", "look at second 4")]
    assert desk.views(database, ana) == [("mine", Filters(locale="es-ES"))] and [(r["actor"], r["action"]) for r in accounts.logged(database)] == log
    assert [(r["changes"], r["seconds"]) for r in reviews.of_job(database, job)] == [({"engine": "lipmemory"}, 7.5)]
    assert accounts.check(database, "ana", "a long enough password") == ana
    assert [r["job_id"] for r in desk.listed(database, Filters(), ana)] == [other]
    assert (desk.claim(database, other, ana) or {})["mine"] is True


def test_gate_verdicts_without_levels_still_enter_the_queue(database: Database) -> None:  # noqa: F811
    ana, _ = people(database)
    batch = ledger.submit(database, "k", "k", "out", [ledger.JobSpec("k", "t", "es-ES", "avct", "compact", {"n": 1})]).batch_id
    held = ledger.lease(database, batch, "w", 60)
    assert held is not None
    ledger.record_artifacts(database, held, [row("a"), row("b")])
    for number, kind in enumerate(("fail", "flag", "unscorable"), 1):
        ledger.record_take(database, held, take(number), verdict(kind))
    ledger.finish(database, held, "flagged", {})
    (only,) = desk.listed(database, Filters(), ana)
    assert (only["number"], only["shortfall"], only["speaker"]) == (2, 0.0, "")  # the best of the three
