"""Reviews against a real Postgres: what a decision does to its job, that it stands, agreement, migrations up and down on data."""

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError

from db import ledger, queries, reviews
from db.ledger import JobSpec, Lease
from db.session import Database
from infra.errors import LedgerError, StaleToken
from ledger_cases import database, give, leased, row, server, take, url, verdict  # noqa: F401 (some are fixtures)


def flagged(database: Database, takes: int = 1) -> tuple[Lease, list[int]]:  # noqa: F811
    """A job that ended flagged with so many takes; its last lease and the takes' ids."""
    held = leased(database)
    found = [ledger.record_take(database, held, take(number), verdict("flag")) for number in range(1, takes + 1)]
    ledger.finish(database, held, "flagged", {"code": "gate.flag", "message": "fell short"})
    return held, found


def job_of(database: Database) -> dict[str, Any]:  # noqa: F811
    return queries.report(database, 1)["jobs"][0]


def test_an_approved_take_is_delivered_once_and_no_other(database: Database) -> None:  # noqa: F811
    held, (first, second) = flagged(database, 2)
    made = reviews.record(database, second, "approve", "ana", note="fine for me")
    assert (made.state, made.number, made.name) == ("queued", 2, "title-0/es-ES")
    with pytest.raises(LedgerError) as busy:
        reviews.record(database, second, "reject", "bo", "sync")
    assert busy.value.code == "review.closed"
    held = ledger.lease(database, held.batch_id, "w2", 60) or held
    with pytest.raises(DBAPIError, match="no approval"):
        give(database, held, first)
    give(database, held, second)
    with pytest.raises(StaleToken):
        give(database, held, second, "s3://out/b.mp4")
    assert reviews.record(database, first, "reject", "bo", "picture").state == "delivered"  # an opinion
    with pytest.raises(LedgerError):
        reviews.record(database, first, "again", "bo")
    job = job_of(database)
    assert job["state"] == "delivered" and [r["actor"] for t in job["takes"] for r in t["reviews"]] == ["bo", "ana"]


def test_an_approval_that_was_taken_back_delivers_nothing(database: Database) -> None:  # noqa: F811
    held, (only,) = flagged(database)
    reviews.record(database, only, "approve", "ana")
    again = ledger.lease(database, held.batch_id, "w2", 60) or held
    ledger.finish(database, again, "flagged", {"code": "gate.flag"})
    reviews.record(database, only, "again", "ana", note="on second thoughts")
    again = ledger.lease(database, held.batch_id, "w2", 60) or held
    with pytest.raises(DBAPIError, match="no approval"):
        give(database, again, only)


def test_a_rejection_ends_the_job_and_needs_a_reason(database: Database) -> None:  # noqa: F811
    held, (only,) = flagged(database)
    for decision, actor, reason, code in (("reject", "ana", "", "reason"), ("reject", "ana", "ugly", "reason"), ("approve", " ", "", "actor")):
        with pytest.raises(LedgerError) as told:
            reviews.record(database, only, decision, actor, reason)
        assert told.value.code == f"review.{code}" and told.value.next_step
    with pytest.raises(ValueError, match="maybe"):
        reviews.record(database, only, "maybe", "ana")
    assert reviews.record(database, only, "reject", "ana", "sync").state == "rejected"
    job = job_of(database)
    assert job["error"]["code"] == "review.rejected" and "lips and speech do not agree" in job["error"]["message"]
    assert ledger.retry(database, held.batch_id) == 0 and ledger.lease(database, held.batch_id, "w", 60) is None  # it has ended
    assert reviews.record(database, only, "again", "bo").state == "queued"  # a second person may think otherwise


def test_reviews_are_never_changed_and_the_database_knows_the_rules(database: Database) -> None:  # noqa: F811
    _, (only,) = flagged(database)
    reviews.record(database, only, "reject", "ana", "sync")
    for change in ("UPDATE reviews SET actor = 'x'", "DELETE FROM reviews"):
        with pytest.raises(DBAPIError, match="never changed"), database.begin() as session:
            session.execute(text(change))
    for values in ("'x', 'maybe', 'r'", "'x', 'reject', ''", "'', 'approve', ''"):
        with pytest.raises(IntegrityError), database.begin() as session:
            session.execute(text(f"INSERT INTO reviews (take_id, video, verdict, actor, decision, reason) VALUES ({only}, '{'c' * 64}', 'flag', {values})"))


def test_the_reviews_table_goes_down_and_up_on_data(database: Database) -> None:  # noqa: F811
    _, (only,) = flagged(database)
    reviews.record(database, only, "reject", "ana", "mouth", "torn")
    ledger.submit(database, "batch", "b", "out", [], {"takes": 3})
    before = [(r["at"], r["actor"], r["decision"], r["reason"], r["note"], r["video"], r["verdict"]) for r in job_of(database)["takes"][0]["reviews"]]
    database.migrate("0002")
    with database.begin() as session:
        assert session.execute(text("SELECT state FROM jobs")).scalar_one() == "flagged"
        assert session.execute(text("SELECT count(*) FROM takes")).scalar_one() == 1
    database.migrate()
    after = [(r["at"], r["actor"], r["decision"], r["reason"], r["note"], r["video"], r["verdict"]) for r in job_of(database)["takes"][0]["reviews"]]
    assert len(after) == 1 and after == before
    assert job_of(database)["state"] == "rejected" and queries.ladder_of(database, 1) == {"takes": 3}


def test_the_newest_limits_of_a_batch_hold(database: Database) -> None:  # noqa: F811
    first = ledger.submit(database, "same", "b", "out", [], {"takes": 3}).batch_id
    assert ledger.submit(database, "same", "b", "out", [], {"takes": 5, "job_seconds": 60.0}) == ledger.Submitted(first, False)
    assert queries.ladder_of(database, first) == {"takes": 5, "job_seconds": 60.0}
    ledger.submit(database, "same", "b", "out", [])
    assert queries.ladder_of(database, first) == {}


def test_what_is_decided_once_stays(database: Database) -> None:  # noqa: F811
    held = leased(database)
    assert ledger.settle(database, held, "engines", {"order": ["avct"]}) == {"order": ["avct"]}
    assert ledger.settle(database, held, "engines", {"order": ["lipmemory"]}) == {"order": ["avct"]}


def test_agreement_by_hand() -> None:
    told = reviews.agreed([("pass", "approve", 40), ("pass", "reject", 10), ("flag", "approve", 20), ("fail", "again", 30)])
    assert (told["reviews"], told["share"], told["kappa"]) == (100, 0.7, 0.4)  # chance: 0.5 * 0.6 + 0.5 * 0.4
    assert told["counts"]["flag"] == {"approve": 20}
    assert reviews.agreed([("flag", "approve", 3)])["kappa"] is None and reviews.agreed([])["share"] is None


def history(database: Database) -> None:  # noqa: F811
    """Three portraits and a video: avct wins one of three first takes, lipmemory, second, two of two; the video is no portrait's business."""
    jobs = [JobSpec(f"k{i}", f"t{i}", "es-ES" if i < 2 else "fr-FR", "auto", "compact", {"inputs": {"video" if i == 3 else "portrait": {}}}) for i in range(4)]
    batch = ledger.submit(database, "h", "h", "out", jobs).batch_id
    for passes in ([("avct", "pass")], [("avct", "flag"), ("lipmemory", "pass")], [("avct", "fail"), ("lipmemory", "flag"), ("lipmemory", "pass")], [("lipmemory", "flag")]):
        held = ledger.lease(database, batch, "w", 60)
        assert held is not None
        ledger.record_artifacts(database, held, [row("a"), row("b")])
        for number, (engine, kind) in enumerate(passes, 1):
            made = take(number)
            ledger.record_take(database, held, ledger.TakeRecord(**{**vars(made), "engine": engine, "seconds": {"speech": 5.0, "render": 2.0, "score": 1.0}}), verdict(kind))
        ledger.finish(database, held, "flagged", {})


def test_what_engines_won_before_and_what_rungs_cost(database: Database) -> None:  # noqa: F811
    history(database)
    found = queries.engine_record(database, video=False, preset="compact", locale="fr-FR")
    assert found == {"avct": {"all": (3, 1), "locale": (1, 0)}, "lipmemory": {"all": (2, 1), "locale": (1, 0)}}
    second = queries.report(database, 1)["jobs"][2]["takes"][1]
    assert second["engine"] == "lipmemory"
    reviews.record(database, second["take"], "approve", "ana")
    assert queries.engine_record(database, video=False, preset="compact", locale="fr-FR")["lipmemory"] == {"all": (2, 2), "locale": (1, 1)}
    assert queries.engine_record(database, video=True, preset="compact", locale="fr-FR") == {"lipmemory": {"all": (1, 0), "locale": (1, 0)}}
    assert queries.engine_record(database, video=False, preset="paper", locale="fr-FR") == {}
    assert queries.seconds_again(database, 1) == 9.0  # three takes after a job's first, without the speech that takes share
    by = reviews.agreement(database, 1)
    assert by["share"] == 0.0 and [(part["engine"], part["locale"], part["reviews"]) for part in by["by"]] == [("lipmemory", "fr-FR", 1)]
