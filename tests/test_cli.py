"""The command: its verbs, one JSON object a call, exit codes, plain errors; the README names every verb."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from flow_cases import ROOT, allow, new_home, run, settings_of, write_manifest

VERBS = ("demo", "doctor", "plan", "run", "status", "review", "report", "score", "lineage", "models", "train", "evaluate", "calibrate", "bench",
         "cancel", "prioritise", "pause", "resume", "drain", "gc", "backup", "restore", "deploy", "worker", "metrics",
         "token", "webhooks", "serve", "accounts", "consent", "erase", "detect", "sbom", "versions", "qc", "voices")  # fmt: skip


@pytest.fixture(name="home", scope="module")
def home_fixture() -> Iterator[Path]:
    with new_home() as folder:
        yield folder


def test_every_verb_is_there_and_in_the_readme(home: Path) -> None:
    told = run("--help", home=home).stdout
    listed = re.findall(r"^  (\w+) ", told.split("Commands:")[1], re.MULTILINE)
    assert sorted(listed) == sorted(VERBS)
    readme = (ROOT / "README.md").read_text()
    assert not [verb for verb in VERBS if f"`dubwright {verb}" not in readme]


def test_help_imports_nothing_heavy(home: Path) -> None:
    import subprocess
    import sys

    code = "import sys, cli; heavy = {'torch', 'numpy', 'prefect', 'sqlalchemy', 'boto3', 'pydantic', 'cv2', 'prometheus_client', 'opentelemetry', 'uvicorn'} & set(sys.modules); sys.exit(str(heavy) if heavy else 0)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "name"),
    [(("status",), "batches"), (("models", "list"), "weights"), (("models", "verify"), "weights"), (("doctor",), "checks")],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_json_is_one_object_and_nothing_else(home: Path, arguments: tuple[str, ...], name: str) -> None:
    done = run(*arguments, "--json", home=home)
    assert done.returncode == 0, done.stderr
    assert isinstance(json.loads(done.stdout)[name], list) and done.stdout.count("\n") == 1
    assert done.stderr == ""


def test_plan_shows_what_would_be_made_and_what_cannot(tmp_path: Path, home: Path) -> None:
    path = write_manifest(tmp_path, [{"title": "a", "text": "Hello."}, {"title": "b", "text": "x", "portrait": "gone.png"}])
    allow(settings_of(home), path)
    done = run("plan", str(path), "--json", home=home)
    told = json.loads(done.stdout)
    assert done.returncode == 3 and told["counts"] == {"made": 1, "exists": 0, "invalid": 1}
    assert told["jobs"][1]["error"]["code"] == "store.missing" and told["work_seconds"] > 0
    said = run("plan", str(path), home=home)
    assert "gone.png" in said.stdout and "next:" in said.stdout and "gone.png" not in said.stderr


@pytest.mark.parametrize(
    ("arguments", "environment", "exit_code", "code"),
    [
        (("run", "nowhere.yaml"), {}, 2, "manifest.missing"),
        (("plan", "{bad}"), {}, 2, "manifest.invalid"),
        (("lineage", "0" * 64), {}, 2, "lineage.unknown"),
        (("lineage", "nowhere.mp4"), {}, 2, "store.missing"),
        (("consent", "show", "c-none"), {}, 2, "consent.unknown"),
        (("consent", "add", "--person", "Ann", "--basis", "licence", "--portrait", "0" * 64), {}, 2, "consent.refused"),
        (("erase", "nobody"), {}, 2, "consent.unknown"),
        (("detect", "nowhere.mp4"), {}, 2, "store.missing"),
        (("qc", "nowhere.mp4"), {}, 2, "store.missing"),
        (("score", "{bad}"), {}, 2, "media.unreadable"), (("score", "{bad}", "--transcript", "hello"), {}, 2, "input.no_locale"),
        (("report", "nobody"), {}, 2, "batch.missing"),
        (("review", "nobody"), {}, 2, "batch.missing"),
        (("cancel", "nobody"), {}, 2, "batch.missing"),
        (("pause",), {}, 2, "job.which"),
        (("accounts", "role", "nobody", "admin"), {}, 2, "account.unknown"),
        (("gc", "--older-than", "long"), {}, 2, "gc.age"),
        (("review", "7", "--approve"), {}, 2, "review.unknown"),
        (("calibrate", "--with-reviews"), {}, 2, "calibrate.too_few_reviews"),
        (("bench", "nothing"), {}, 2, "bench.unknown"),
        (("evaluate", "nothing"), {}, 2, "engine.unknown"),
        (("calibrate", "--grid", "nowhere"), {}, 2, "input.no_corpus"),
        (("train", "nothing"), {}, 2, "engine.unknown"),
        (("status",), {"DUBWRIGHT_DATABASE_URL": "postgresql+psycopg://u:secret-word@127.0.0.1:9/db"}, 4, "ledger.unavailable"),
        (("status",), {"DUBWRIGHT_THREADS": "many"}, 2, "settings.invalid"),
        (("status",), {"DUBWRIGHT_HOME": "/proc/nowhere"}, 4, "setup.home"),
    ],
    ids=lambda value: "-".join(value)[:40] if isinstance(value, tuple) else "",
)
def test_errors_have_a_code_a_next_step_and_no_stack_trace(
    tmp_path: Path, home: Path, arguments: tuple[str, ...], environment: dict[str, str], exit_code: int, code: str
) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text('{"batch": "b", "output": "o", "jobs": [{"title": "a"}]}')
    given = [str(bad) if word == "{bad}" else word for word in arguments]
    place = Path(environment.pop("DUBWRIGHT_HOME", str(home)))
    machine, person = run(*given, "--json", home=place, **environment), run(*given, home=place, **environment)
    error = json.loads(machine.stdout)["error"]
    assert (machine.returncode, person.returncode, error["code"]) == (exit_code, exit_code, code)
    assert error["next_step"] and "next:" in person.stderr and person.stdout == ""
    for text in (machine.stdout, machine.stderr, person.stdout, person.stderr):
        assert "Traceback" not in text and "secret-word" not in text


def test_a_missing_ffmpeg_is_told_by_the_doctor_and_before_a_run(tmp_path: Path, home: Path) -> None:
    path = write_manifest(tmp_path, [{"title": "a", "text": "Hello."}])
    early = run("run", str(path), "--json", home=home, IMAGEIO_FFMPEG_EXE="/nowhere/ffmpeg")
    assert early.returncode == 4 and json.loads(early.stdout)["error"]["code"] == "setup.ffmpeg"
    done = run("doctor", "--json", home=home, IMAGEIO_FFMPEG_EXE="/nowhere/ffmpeg")
    row = next(row for row in json.loads(done.stdout)["checks"] if row["name"] == "ffmpeg")
    assert row["ok"] is False and row["fix"]
    assert done.returncode == 4


def test_score_tells_of_each_track_and_draws_it(tmp_path: Path, home: Path) -> None:
    from fractions import Fraction

    import numpy as np

    from infra.media import VideoWriter
    from scene_cases import portrait

    path, chart = tmp_path / "two.mp4", tmp_path / "two.svg"
    frame = np.hstack([portrait("astronaut_collins.png", 300, 300), portrait("grace_hopper.jpg", 300, 360)[:300]])
    with VideoWriter(path, 600, 300, Fraction(25), None) as out:
        for _ in range(25):
            out.write(frame)
    done = run("score", str(path), "--chart", str(chart), "--json", home=home)
    told = json.loads(done.stdout)
    assert done.returncode == 0 and told["verdict"] == "unscorable" and len(told["tracks"]) == 2
    assert {(t["reason"], t["verdict"], t["usable"]) for t in told["tracks"]} == {("there is no sound", "unscorable", 25)}
    assert chart.read_text().count("there is no sound") == 2
