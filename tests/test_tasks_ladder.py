"""The ladder as policy: what is tried next, within which bounds, which engine first, and which take stands best."""

import dataclasses
from typing import Any

import pytest

from benchmarks.ladder import ROOT, measured
from tasks import ladder
from tasks.ladder import Limits, Next, Rung, Tried, climb, of_tried, ordered, rate

FREE = Limits(takes=6)


def tried(*marks: str, kind: Any = "portrait", engines: tuple[str, ...] = ("avct", "lipmemory"), seconds: float = 10.0, limits: Limits = FREE) -> tuple[list[Tried], Next]:
    """Takes with these verdicts or prominences ('flag 3.9'), as the policy would have climbed, and what it says next."""
    takes: list[Tried] = []
    for number, mark in enumerate(marks, 1):
        found = climb(kind, engines, takes, limits)
        assert found.rung is not None, found.why
        verdict, _, clear = mark.partition(" ")
        takes.append(Tried(number, found.rung, verdict, 0, float(clear or 1.0), 0.1, seconds))
    return takes, climb(kind, engines, takes, limits)


def test_a_portrait_goes_to_the_other_engine_then_on_with_the_better_one() -> None:
    takes, found = tried("flag 3.0", "flag 3.9", "flag 3.5")
    assert [take.rung.engine for take in takes] == ["avct", "lipmemory", "lipmemory"] and found.rung is not None
    assert takes[0].rung == Rung("avct") and takes[1].rung.emphasis > 1
    assert found.rung.engine == "lipmemory" and "take 2 is the best so far" in found.why
    takes, found = tried("flag 3.9", "fail 3.0")
    assert found.rung is not None and (found.rung.engine, found.rung.start) == ("avct", 1) and "another anchor, another seed" in found.why
    takes, _ = tried("flag 3.0", "flag 3.0", engines=("lipmemory", "avct"))
    assert takes[0].rung.emphasis > 1 and takes[1].rung == Rung("avct", 0, 1, 1.0)  # its own anchor serves best
    assert climb("portrait", ("lipmemory",), [], FREE).rung == Rung("lipmemory")  # what was asked for is as it always was


def test_a_video_goes_to_another_reference_and_to_coherence_where_it_is() -> None:
    _, found = tried("flag", kind="video", engines=("lipmemory",))
    assert found.rung == Rung("lipmemory", 1, 1, 1.3) and "reference 2" in found.why
    _, found = tried("flag", kind="video", engines=("lipmemory", "coherence"))
    assert found.rung is not None and found.rung.engine == "coherence"


@pytest.mark.parametrize(
    ("kind", "engines"),
    [*(("portrait", engines) for engines in (("avct",), ("lipmemory",), ("avct", "lipmemory"), ("lipmemory", "avct", "coherence"))), ("video", ("lipmemory",))],
)
def test_no_rung_is_tried_twice_and_the_ladder_is_bounded(kind: Any, engines: tuple[str, ...]) -> None:
    takes, found = tried(*["flag"] * 12, kind=kind, engines=engines, limits=Limits(takes=12))
    assert len({take.rung for take in takes}) == 12 and len({take.rung.draw for take in takes}) == 12
    assert {take.rung.engine for take in takes} == set(engines)
    assert found.rung is None and "12 are allowed" in found.why
    if kind == "video":  # seeds change nothing there
        assert len({take.rung.emphasis for take in takes}) == 12
        assert climb(kind, engines, takes, Limits(takes=99)).rung is None
    assert tried(*["flag"] * 12, kind=kind, engines=engines, limits=Limits(takes=12))[0] == takes  # nothing is left to chance


@pytest.mark.parametrize(
    ("limits", "spent", "goes_on"),
    [
        (Limits(6), 9e9, True),
        (Limits(6, job_seconds=20), 0.0, True),
        (Limits(6, job_seconds=19), 0.0, False),  # one take again of 10 s, the next would end at 20
        (Limits(6, batch_seconds=100), 90.0, True),
        (Limits(6, batch_seconds=100), 91.0, False),
        (Limits(2), 0.0, False),
    ],
)
def test_seconds_and_takes_are_kept_to(limits: Limits, spent: float, goes_on: bool) -> None:
    takes, _ = tried("flag", "flag")
    found = climb("portrait", ("avct", "lipmemory"), takes, limits, spent=spent)
    assert (found.rung is not None) == goes_on and found.why
    assert climb("portrait", ("avct",), [], Limits(1, 0.1, 0.1), spent=9e9).rung == Rung("avct")  # the first take is always made
    granted = climb("portrait", ("avct", "lipmemory"), takes, limits, spent=spent, granted=3)
    assert granted.rung is not None and ("a reviewer asked" in granted.why)


def test_what_no_take_can_change_is_not_tried() -> None:
    takes, found = tried("unscorable", "unscorable")
    assert found.rung is None and "could not be scored" in found.why
    assert climb("video", ("lipmemory",), takes[:1], FREE, fixed="who speaks is not certain").rung is None


def test_takes_stand_by_verdict_then_offset_then_prominence_then_the_earlier() -> None:
    base = Tried(1, Rung("avct"), "flag", 0, 3.0, 0.1)
    worse = [
        dataclasses.replace(base, number=2), dataclasses.replace(base, confidence=0.09), dataclasses.replace(base, prominence=2.9, confidence=0.9),
        dataclasses.replace(base, offset=4, prominence=9.0), dataclasses.replace(base, verdict="fail", prominence=9.0),
        dataclasses.replace(base, verdict="unscorable", offset=None, prominence=None, confidence=None),
    ]  # fmt: skip
    assert sorted([base, *worse], key=of_tried, reverse=True)[0] is base
    assert max([*worse, dataclasses.replace(base, verdict="pass", prominence=1.0)], key=of_tried).verdict == "pass"


def test_auto_takes_the_engine_that_won_before() -> None:
    both = ("lipmemory", "avct")
    assert ordered("portrait", both, {}) == ("avct", "lipmemory") and ordered("video", ("lipmemory",), {}) == ("lipmemory",)
    few = {"avct": {"all": (3, 0)}, "lipmemory": {"all": (3, 1)}}
    assert ordered("portrait", both, few) == ("avct", "lipmemory")  # that says little
    many = {"avct": {"all": (40, 10)}, "lipmemory": {"all": (40, 30)}}
    assert ordered("portrait", both, many) == ("lipmemory", "avct")
    near = {name: {**row, "locale": (30, 30 if name == "avct" else 5)} for name, row in many.items()}
    assert ordered("portrait", both, near) == ("avct", "lipmemory")  # in this locale it is the other way round
    assert rate({}, 0.6) == 0.6 and rate({"all": (20, 20)}, 0.5) == 0.75
    assert ordered("portrait", ("avct",), many) == ("avct",)


def test_the_bench_counts_what_fell_short_what_came_back_and_what_got_worse() -> None:
    def job(*takes: tuple[str, int | None, float], delivered: int = 0) -> dict[str, Any]:
        rows = [
            {
                "take": number, "number": number, "engine": "avct", "parameters": {"rung": Rung("avct").to_dict(), "seed": 0}, "verdict": verdict, "offset": offset,
                "confidence": 0.1, "curve": {"extra": {"prominence": clear}},
            }
            for number, (verdict, offset, clear) in enumerate(takes, 1)
        ]  # fmt: skip
        return {"title": "t", "locale": "es-ES", "state": "delivered" if delivered else "flagged", "takes": rows, "delivery": {"take": delivered} if delivered else None}

    jobs = [
        job(("pass", 0, 5.0), delivered=1), job(("flag", 0, 3.0), ("pass", 0, 5.0), delivered=2), job(("fail", 4, 9.0), ("pass", 0, 5.0), delivered=2),
        job(("flag", 0, 6.0), ("pass", 0, 5.0), delivered=2), job(("unscorable", None, 0.0), ("fail", 0, 1.0)),
    ]  # fmt: skip
    found = measured(jobs)["figures"]
    assert found == {"ladder_jobs": 5, "ladder_fell_short": 4, "ladder_recovered": 0.75, "ladder_worse": 1, "ladder_takes": 2.0}
    page = (ROOT / "benchmarks" / "README.md").read_text()
    assert all(f"`{name}`" in page for name in found)


def test_a_reviewer_s_wish_takes_the_place_of_the_ladder_s_choice() -> None:
    rung = Rung("avct", 1, 2, 1.35)
    found = ladder.Next(rung, "avct stands best")
    assert ladder.wished("portrait", found, {}, 2) == found and ladder.wished("portrait", found, {"voice": "espeak:de", "review": 3}, 2) == found
    assert ladder.wished("portrait", found, {"emphasis": 0.8}, 2).rung == Rung("avct", 1, 2, 0.8)
    other = ladder.wished("portrait", found, {"engine": "lipmemory", "start": 2}, 2)
    assert other.rung == Rung("lipmemory", 2, 2, ladder.FRESH["portrait", "lipmemory"]) and "reviewer" in other.why and "lipmemory" in other.why
    assert ladder.wished("portrait", ladder.Next(None, "spent"), {"engine": "coherence"}, 4).rung == Rung("coherence", 0, 4, ladder.FRESH["portrait", "coherence"])
