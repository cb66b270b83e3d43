"""The ladder and reviews on jobs that really run: rungs are rows, none is rendered twice, people decide, and what is delivered is what was kept."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.trials import essence
from db import ledger, queries
from db.session import open_database
from flow_cases import Watched, run_manifest, settings, write_manifest  # noqa: F401 (settings is a fixture)
from flows.review import decide, pending
from infra.errors import LedgerError
from infra.settings import Settings
from tasks import ladder
from tasks.gate import Level, load_thresholds
from tasks.manifest import load_manifest

JOBS = [{"title": "one", "text": "Hello there."}]


def ask(passes: float, settings: Settings) -> None:  # noqa: F811
    """From now on the gate asks for this prominence, and for nothing else."""
    base = load_thresholds()
    made = dataclasses.replace(base, levels=(Level(1.0, passes, -1.0),), largest_offset=15, stretch=-99.0, limits={})
    ledger.store_calibration(open_database(settings), base.scorer, made.to_dict())


def climb(folder: Path, takes: int, settings: Settings, retry: bool = False) -> tuple[dict[str, Any], Watched]:  # noqa: F811
    """Run the job with so many takes; its row, and what was watched."""
    folder.mkdir(exist_ok=True)
    watched = Watched()
    done = run_manifest(load_manifest(write_manifest(folder, JOBS, batch="climb", ladder={"takes": takes})), settings, watched, retry=retry)
    return done.rows["jobs"][0], watched


def rendered(watched: Watched) -> int:
    return sum(step.stage == "render" and step.done == 0 for step in watched.steps)


@pytest.fixture(scope="module")
def climbed(tmp_path_factory: pytest.TempPathFactory, settings: Settings) -> tuple[dict[str, Any], dict[str, Any], Watched, Path]:  # noqa: F811
    """A job that nothing can pass, with one take; and again, with room for one more."""
    folder = tmp_path_factory.mktemp("climb")
    ask(999.0, settings)
    first, _ = climb(folder, 1, settings)
    second, watched = climb(folder, 2, settings, retry=True)
    return first, second, watched, folder


def test_every_rung_is_a_row_and_none_is_rendered_twice(climbed: tuple[dict[str, Any], dict[str, Any], Watched, Path]) -> None:
    first, second, watched, _ = climbed
    assert (first["state"], len(first["takes"]), second["state"], len(second["takes"])) == ("flagged", 1, "flagged", 2)
    assert rendered(watched) == 1  # the second rung; the first is the ledger's
    kept = ("take", "video", "seconds", "parameters", "machine")
    assert {name: second["takes"][0][name] for name in kept} == {name: first["takes"][0][name] for name in kept}
    own, other = second["takes"]
    assert (own["engine"], own["parameters"]["rung"]["start"], other["engine"]) == ("avct", 0, "lipmemory")
    assert "another engine" in other["parameters"]["why"] and own["parameters"]["seed"] != other["parameters"]["seed"]
    assert "1 are allowed" in first["error"]["message"] and "2 are allowed" in second["error"]["message"]


def test_people_see_the_best_first_ask_for_another_and_approve(climbed: tuple[dict[str, Any], dict[str, Any], Watched, Path], settings: Settings) -> None:  # noqa: F811
    job = climbed[1]
    told = pending("climb", settings)
    shown = told["jobs"][0]["takes"]
    assert [take["take"] for take in shown] == [take["take"] for take in sorted(job["takes"], key=ladder.of_row, reverse=True)]
    assert shown[0]["number"] == job["error"]["best_take"] and all(Path(take["path"]).stat().st_size for take in shown)
    watched = Watched()
    made = decide(str(shown[0]["take"]), ["again"], "mouth", "softer", "ana", settings, watched)
    assert made["state"] == "flagged" and rendered(watched) == 1  # one more than the two that are allowed
    takes = pending("climb", settings)["jobs"][0]["takes"]
    assert len(takes) == 3 and len({(take["number"]) for take in takes}) == 3
    assert "ana asked for another take" in " ".join(next(take for take in takes if take["take"] == shown[0]["take"])["reasons"])
    done = decide(str(takes[1]["take"]), ["approve"], "", "good enough", "bo", settings, Watched())
    assert done["state"] == "delivered" and Path(done["url"]).is_file()
    side = json.loads(Path(done["url"]).with_suffix(".json").read_text())
    assert (side["take"], side["review"]["actor"], side["review"]["decision"]) == (takes[1]["number"], "bo", "approve") and side["verdict"] == takes[1]["verdict"]
    with pytest.raises(LedgerError):
        decide(str(takes[1]["take"]), ["again"], "", "", "bo", settings, Watched())
    assert not pending("climb", settings)["jobs"]


def test_a_take_from_the_ledger_is_delivered_as_it_would_have_been_at_once(
    climbed: tuple[dict[str, Any], dict[str, Any], Watched, Path], settings: Settings, tmp_path: Path  # noqa: F811
) -> None:  # fmt: skip
    """What a worker that died between verdict and delivery leaves: the next one puts the same, but for the signature."""
    ask(999.0, settings)
    assert climb(tmp_path / "late", 1, settings)[0]["state"] == "flagged"
    ask(0.0, settings)
    late, watched = climb(tmp_path / "late", 1, settings, retry=True)
    once, _ = climb(tmp_path / "once", 1, settings)
    assert late["state"] == once["state"] == "delivered" and rendered(watched) == 0
    files = [{path.name: essence(path.name, path.read_bytes()) for path in (tmp_path / name / "out").iterdir() if path.suffix != ".html"} for name in ("late", "once")]
    assert files[0] == files[1] and len(files[0]) == 4


def test_auto_is_decided_once_and_kept(climbed: tuple[dict[str, Any], dict[str, Any], Watched, Path], settings: Settings) -> None:  # noqa: F811
    from sqlalchemy import select

    from db import tables as t

    with open_database(settings).begin() as session:
        kept = session.execute(select(t.Event.detail).where(t.Event.kind == "engines", t.Event.job_id == climbed[0]["job"])).scalars().all()
    assert [row["order"] for row in kept] == [["avct", "lipmemory", "coherence"]]
    record = queries.engine_record(open_database(settings), video=False, preset="compact", locale="en-US")
    assert record["avct"]["all"][0] >= 1
