"""Manifests: YAML, JSON and CSV mean the same; every fault of every row is told at once; bombs are refused."""

import json
from pathlib import Path

import pytest

from infra.errors import InputError, ManifestError
from tasks.manifest import BATCH_FIELDS, JobRow, load_manifest

GOOD = {"batch": "b", "output": "out", "defaults": {"locale": "es-ES", "portrait": "p.png"}, "jobs": [{"title": "a", "text": "hola"}, {"title": "b", "script": "b.vtt", "seed": 3}]}
ROOT = Path(__file__).resolve().parent.parent


def faults(tmp_path: Path, tree: object) -> list[dict[str, str]]:
    path = tmp_path / "m.json"
    path.write_text(json.dumps(tree))
    with pytest.raises(ManifestError) as told:
        load_manifest(path)
    assert all(fault["problem"] and fault["fix"] for fault in told.value.faults)
    return told.value.faults


def one(tmp_path: Path, **job: object) -> list[tuple[str, str]]:
    found = faults(tmp_path, {**GOOD, "jobs": [{"title": "a", "text": "hola", **job}]})
    return [(fault["field"], fault["problem"]) for fault in found]


def test_yaml_json_and_csv_mean_the_same(tmp_path: Path) -> None:
    import yaml

    (tmp_path / "m.json").write_text(json.dumps(GOOD))
    (tmp_path / "m.yaml").write_text(yaml.safe_dump(GOOD))
    (tmp_path / "m.csv").write_text("title,locale,portrait,text,script,seed\na,es-ES,p.png,hola,,\nb,es-ES,p.png,,b.vtt,3\n")
    read = [load_manifest(tmp_path / f"m.{kind}", batch="b", output="out") for kind in ("json", "yaml", "csv")]
    assert read[0] == read[1] == read[2]
    assert read[0].jobs[1].seed == 3 and read[0].jobs[0].locale == "es-ES"


def test_voices_of_the_batch_and_of_a_job_are_joined(tmp_path: Path) -> None:
    defaults = GOOD["defaults"] | {"voices": {"ANNA": "espeak:es+f3", "BEN": "espeak:es+m3"}}  # type: ignore[operator]
    jobs = [{"title": "a", "text": "x", "voices": {"anna": "espeak:es+f5"}}, {"title": "b", "text": "x"}]
    (tmp_path / "m.json").write_text(json.dumps({**GOOD, "defaults": defaults, "jobs": jobs}))
    first, second = load_manifest(tmp_path / "m.json").jobs
    assert first.voices == {"BEN": "espeak:es+m3", "anna": "espeak:es+f5"} and second.voices["ANNA"] == "espeak:es+f3"
    (tmp_path / "m.csv").write_text('title,locale,portrait,text,voices,timecode,captions\na,es-ES,p.png,x,ANNA=espeak:es+f3; BEN=espeak:es,29.97df@01:00:00:00,"vtt, srt"\n')
    row = load_manifest(tmp_path / "m.csv").jobs[0]
    assert row.voices == {"ANNA": "espeak:es+f3", "BEN": "espeak:es"} and row.captions == ("vtt", "srt")
    assert row.timecode is not None and (row.timecode.rate, row.timecode.start) == ("29.97df", "01:00:00:00")


def test_every_fault_of_every_row_at_once(tmp_path: Path) -> None:
    tree = {
        "batch": "b",
        "outptu": "x",
        "defaults": {"engine": "avtc"},
        "jobs": [
            {"title": "a", "locale": "es-ES", "portrait": "http://x/p.png", "text": "x", "script": "y"},
            {"titel": "b"},
            7,
            {"title": "c", "locale": "!!", "portrait": "p", "text": "x", "seed": -1, "engine": "cohesion"},
        ],
    }
    rows = {(fault["row"].split(" (")[0], fault["field"]) for fault in faults(tmp_path, tree)}
    assert rows >= {
        ("manifest", "outptu"), ("manifest", "output"), ("defaults", "engine"), ("job 1", "portrait"), ("job 1", "script"), ("job 2", "titel"),
        ("job 2", "title"), ("job 2", "locale"), ("job 2", "text"), ("job 3", ""), ("job 4", "locale"), ("job 4", "seed"), ("job 4", "engine"),
    }  # fmt: skip


def test_a_near_match_is_named(tmp_path: Path) -> None:
    found = faults(tmp_path, {**GOOD, "jobs": [{"title": "a", "text": "x", "lcoale": "fr-FR"}]})
    assert found == [{"row": "job 1 (a)", "field": "lcoale", "problem": "there is no such field", "fix": "did you mean locale?"}]


@pytest.mark.parametrize(
    ("job", "field", "part"),
    [
        ({"engine": "cohesion"}, "engine", "not one of"),
        ({"portrait": "p.png", "video": "x.mp4"}, "video", "a portrait and a video"),
        ({"portrait": None, "video": "x.mp4", "engine": "avct"}, "engine", "cannot dub"),
        ({"face": {"point": [0.5, 0.5]}}, "face", "videos alone"),
        ({"face": {"point": [0.5, 0.5], "picture": "p"}}, "face", "in one way"),
        ({"face": {"boxes": [{"at": 1, "box": [0.5, 0, 0.4, 1]}]}}, "face", "empty"),
        ({"face": "{no json"}, "face", "not JSON"),
        ({"length": "squeeze"}, "length", "not one of"),
        ({"transcript": "x"}, "transcript", "belongs to a recording"),
        ({"audio": "x.wav"}, "audio", "text and audio"),
        ({"text": ""}, "text", "nothing to say"),
        ({"title": "../../etc/passwd"}, "title", "cannot name a file"),
        ({"title": "a\x00b"}, "title", "cannot name a file"),
        ({"title": "; touch x"}, "title", "cannot name a file"),
        ({"portrait": "file:///etc/passwd"}, "portrait", "cannot be read"),
        ({"portrait": "p\u202egnp.exe"}, "portrait", "invisible"),
        ({"seed": "many"}, "seed", "integer"),
        ({"voices": {"ANNA": "espeak:es", "anna ": "espeak:es"}}, "voices", "twice"),
        ({"voices": "ANNA"}, "voices", "no voice"),
        ({"timecode": 29.97}, "timecode", "drop-frame"),
        ({"timecode": {"rate": 25, "start": 36000}}, "timecode", "number"),
        ({"encoding": "base64"}, "encoding", "not an encoding"),
        ({"captions": ["vtt", "sub"]}, "captions", "vtt"),
        ({"gate": "strickt"}, "gate", "not one of"),
    ],
    ids=lambda value: str(value)[:24] if isinstance(value, dict) else "",
)
def test_a_bad_field_is_told_with_its_reason(tmp_path: Path, job: dict[str, object], field: str, part: str) -> None:
    assert any(name == field and part in problem for name, problem in one(tmp_path, **job))


def test_titles_of_other_scripts_are_names(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    path.write_text(json.dumps({**GOOD, "jobs": [{"title": title, "text": "x"} for title in ("नमस्ते", "ようこそ", "أهلا", "é")]}))
    assert len(load_manifest(path).jobs) == 4


def test_two_jobs_of_one_name_are_refused(tmp_path: Path) -> None:
    found = faults(tmp_path, {**GOOD, "jobs": [{"title": "Wel", "text": "x"}, {"title": "b", "text": "x"}, {"title": "wel", "text": "y"}]})
    assert [fault["row"] for fault in found] == ["job 3 (wel)"] and "job 1" in found[0]["problem"]


def test_alias_bombs_are_refused_fast(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    (tmp_path / "m.yaml").write_text("\n".join([*lines, "batch: b", "output: o", "jobs: *a11"]))
    with pytest.raises(ManifestError, match="aliases"):
        load_manifest(tmp_path / "m.yaml")


def test_a_list_that_holds_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("batch: b\noutput: o\njobs: &a [*a]\n")
    with pytest.raises(ManifestError):
        load_manifest(tmp_path / "m.yaml")


@pytest.mark.parametrize("text", ["", "[1, 2]", "batch: [", "!!python/object/apply:os.getcwd []", "a: b: c", "\x00", "- - - -", "{" * 500], ids=range(8))
def test_what_is_no_manifest_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.yaml").write_text(text)
    with pytest.raises(ManifestError):
        load_manifest(tmp_path / "m.yaml")


def test_a_missing_file_and_one_that_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no manifest"):
        load_manifest(tmp_path / "none.yaml")
    (tmp_path / "m.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="UTF-8"):
        load_manifest(tmp_path / "m.yaml")


def test_the_manifest_page_names_every_field() -> None:
    page = (ROOT / "docs" / "manifest.md").read_text()
    missing = [name for name in {**BATCH_FIELDS, **JobRow.model_fields} if f"`{name}`" not in page]
    assert not missing


def test_the_demo_manifest_is_good() -> None:
    jobs = load_manifest(ROOT / "demo" / "demo.yaml").jobs
    assert len(jobs) >= 6 and len({job.locale for job in jobs}) >= 4 and len({job.portrait for job in jobs}) >= 2
    assert any(job.text for job in jobs) and any(job.script for job in jobs) and any(job.audio and job.transcript for job in jobs)
