"""What reviewers teach the gate: thresholds follow their decisions, within bounds, and not from too few."""

import random
from typing import Any

import numpy as np
import pytest

from db import ledger, reviews
from db.ledger import JobSpec, TakeRecord, VerdictRecord
from db.session import Database
from infra.errors import InputError
from ledger_cases import database, row, server, take, url  # noqa: F401 (some are fixtures)
from models.syncnet.scorer import unscorable
from models.types import SyncScore
from tasks.gate import Level, Thresholds, decide, load_thresholds
from tasks.taught import EACH, LEAST, fitted, label, taught, told, with_reviews

BASE = Thresholds("s", (Level(1, 5.0, 2.0), Level(3, 4.0, 3.0)), 0.05, measured={"3s": {}}, made_from={"clips": 9})


def decision(height: float, approve: bool, seconds: float = 3.0, reason: str = "sync", **more: Any) -> dict[str, Any]:
    """A take that stands so high against what is asked of its length."""
    curve = {"extra": {"prominence": height * BASE.level(seconds).passes, "seconds": seconds}}
    row = {"decision": "approve" if approve else "reject", "reason": "" if approve else reason, "verdict": "flag", "offset": 0, "curve": curve, "engine": "avct", "locale": "es-ES"}
    return row | more


def people(border: float, count: int = 80) -> list[dict[str, Any]]:
    """Reviewers who like what stands above a border, not quite sharply."""
    draw = random.Random(7)
    heights = [0.4 + 1.2 * i / count for i in range(count)]
    return [decision(h, draw.random() < 1 / (1 + np.exp(-25 * np.log(h / border))), draw.choice([1.0, 3.0])) for h in heights]


def test_levels_follow_people_both_ways_and_never_below_what_fails() -> None:
    kinder, harder = taught(BASE, people(0.8)), taught(BASE, people(1.1))
    assert 0.7 < kinder.made_from["reviews"]["factor"] < 0.9 and 1.0 < harder.made_from["reviews"]["factor"] < 2
    assert kinder.levels[0].passes < 5.0 < harder.levels[0].passes
    assert [level.fails for level in kinder.levels] == [2.0, 3.0] and all(level.passes >= level.fails for level in kinder.levels)
    assert taught(BASE, people(0.6)).levels[1].passes == 3.0  # `fails` of three seconds
    found = kinder.made_from["reviews"]
    assert found["decisions"] == found["approved"] + found["rejected"] == 80 and found["agreed_after"] > found["agreed_before"]
    assert kinder.made_from["clips"] == 9 and "3s" not in kinder.measured and any("rests on 80 reviews" in line for line in told(kinder))
    assert Thresholds.from_dict(kinder.to_dict()) == kinder


def test_no_number_of_approvals_lets_pass_what_could_not_be_scored_or_is_out_of_sync() -> None:
    blind = [decision(1.0, True, verdict="unscorable", offset=None, curve={}) for _ in range(500)]
    late = [decision(3.0, True, offset=4) for _ in range(500)]
    made = taught(BASE, [*people(0.6), *blind, *late])
    assert made.levels == taught(BASE, people(0.6)).levels and made.made_from["reviews"]["left_out"] == 1000
    assert decide(unscorable("no face is seen", "s"), made).verdict == "unscorable"
    late_score = SyncScore(4, 1.0, 0.5, np.full(31, 1.4, np.float32), np.zeros(9, np.float32), (), True, "", "s", {"prominence": 99.0, "seconds": 3.0})
    assert decide(late_score, made).verdict == "fail"


def test_faults_of_other_kinds_teach_nothing_of_sync() -> None:
    assert label(BASE, decision(1.2, False, reason="identity")) is None
    assert label(BASE, decision(1.2, False) | {"decision": "again", "reason": ""}) is None
    assert label(BASE, decision(1.2, False) | {"decision": "again"}) == (pytest.approx(1.2), False)


def test_too_few_or_contrary_reviews_are_refused() -> None:
    few = [decision(1.2, True) for _ in range(LEAST)] + [decision(0.6, False) for _ in range(EACH - 1)]
    with pytest.raises(InputError) as error:
        taught(BASE, few)
    assert error.value.code == "calibrate.too_few_reviews" and f"at least {LEAST}" in error.value.message and error.value.next_step
    with pytest.raises(InputError) as error:
        taught(BASE, people(0.6)[:-45])
    assert error.value.code == "calibrate.too_few_reviews"
    contrary = [row | {"decision": "reject" if row["decision"] == "approve" else "approve", "reason": "sync"} for row in people(0.8)]
    with pytest.raises(InputError) as error:
        taught(BASE, contrary)
    assert error.value.code == "calibrate.reviews_disagree"


def test_the_fit_is_that_of_a_known_curve() -> None:
    draw = np.random.default_rng(1)
    heights = draw.normal(0, 0.5, 4000)
    shift, slope = fitted(heights, (draw.random(4000) < 1 / (1 + np.exp(-(0.5 + 3 * heights)))).astype(float))
    assert (shift, slope) == (pytest.approx(0.5, abs=0.15), pytest.approx(3, abs=0.3))


def test_reviews_in_the_ledger_become_its_newest_calibration_once(database: Database) -> None:  # noqa: F811
    base = load_thresholds()
    jobs = [JobSpec(f"k{i}", f"t{i}", "es-ES", "auto", "compact", {"inputs": {"portrait": {}}}) for i in range(LEAST)]
    batch, made = ledger.submit(database, "b", "b", "out", jobs).batch_id, []
    for number in range(len(jobs)):
        held = ledger.lease(database, batch, "w", 60)
        assert held is not None
        if not number:
            ledger.record_artifacts(database, held, [row("a"), row("b")])
        height = 0.7 + 0.6 * number / len(jobs)
        extra = {"prominence": height * base.level(3.0).passes, "seconds": 3.0}
        score = VerdictRecord("flag", (), base.scorer, base.to_dict(), 0, 1.0, 0.2, {"extra": extra})
        made.append((height > 0.95 + 0.05 * (number % 3), ledger.record_take(database, held, TakeRecord(**vars(take())), score)))
        ledger.finish(database, held, "flagged", {})
    for approve, number in made:
        reviews.record(database, number, "approve" if approve else "reject", "ana", "" if approve else "sync")
    found = with_reviews(database)
    assert ledger.latest_calibration(database, base.scorer) == found.to_dict() and found.made_from["reviews"]["decisions"] == len(jobs)
    assert found.level(3.0).passes != base.level(3.0).passes
    assert with_reviews(database) == found  # from the calibration below it, so that reviews do not count twice
    ledger.store_calibration(database, base.scorer, base.to_dict())
    assert ledger.latest_calibration(database, base.scorer) == base.to_dict()  # what is set again is the newest again
