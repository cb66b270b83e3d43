"""Workers that are killed, cut off and left without store or disk, on real parts: samples of benchmarks/kills.py, outages.py and partition.py.

At most one window is redone (P2), nothing is lost or done twice (P1), outages heal (P15), a stale worker is refused everywhere (P3).
"""

from collections.abc import Iterator

import pytest
from sqlalchemy.engine import make_url

from benchmarks import kills, outages, partition, trials
from benchmarks.kills import Point, Trial
from benchmarks.trials import FILM, PORTRAIT, Bench

REFUSED = {"ledger.stale_token", "store.already_there"}


@pytest.fixture(scope="module")
def held() -> Iterator[Bench]:
    with trials.bench(DUBWRIGHT_LEASE_SECONDS="8", DUBWRIGHT_BACKOFF_SECONDS="1") as made:
        yield made


@pytest.fixture(scope="module")
def plain(held: Bench) -> Trial:
    """The batch left alone."""
    found = kills.trial(held, None)
    assert set(found.ended.states.values()) == {"delivered"} and found.windows >= 8
    return found


def test_workers_killed_in_the_third_window_and_between_puts(held: Bench, plain: Trial) -> None:
    points = [Point("window", "render", PORTRAIT, 3, 0.1), Point("window", "render", FILM, 3, 0.1), Point("put", "deliver", FILM, 2)]
    told = kills.campaign(held, plain, list(enumerate(points, 1)))
    assert not told["wrong"], told
    figures = told["figures"]
    assert figures["kills"] == len(points) and figures["jobs lost"] == figures["delivered twice"] == figures["files that differ"] == 0
    assert figures["extra windows, at most"] == 1  # the killed one, and none before it


def test_a_full_disk_and_a_store_that_is_gone_are_told_and_waited_out(held: Bench, plain: Trial) -> None:
    told = {"s3": outages.disturb(held, plain, outages.outages(held)["s3 down"], 1, ("render", PORTRAIT), noticed=True)}
    try:
        told["disk"] = outages.full(held, plain, Point("window", "render", FILM, 2), 1, ("render", FILM), noticed=True)
    except outages.Impossible:
        told["disk"] = told["s3"] | {"told": ["disk.full"]}
    for row in told.values():
        assert row["came"] and row["lost"] == row["twice"] == row["differ"] == 0, told
        assert set(row["states"].values()) == {"delivered"} and row["deferred"], told
    assert "store.unavailable" in told["s3"]["told"] and "disk.full" in told["disk"]["told"], told


def test_a_worker_that_was_cut_off_is_refused_everywhere(held: Bench, plain: Trial) -> None:
    socket = f"{make_url(held.server).query['host']}/.s.PGSQL.5432"
    try:
        told = partition.split(held, plain, socket, 12, ("render", PORTRAIT))
    except partition.Impossible as reason:
        pytest.skip(f"left out: {reason}")
    assert told["cut"] and told["lost"] == told["twice"] == told["differ"] == 0, told
    assert told["leases ran out"] and "deliver" in told["stages by the other"], told
    assert told["tried"] >= 11 and set(told["answers under the old lease"].values()) <= REFUSED, told
