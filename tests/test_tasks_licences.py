"""Licences: classes of weights and packages, what keeps a commercial delivery back, and the bill of materials."""

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from db import ledger
from db import weights as kept
from db.session import Database
from flow_cases import ROOT
from infra import licences
from infra.errors import LicenceError, SetupError
from infra.licences import Package
from infra.lock import lock
from infra.settings import Settings
from infra.store import sha256_of
from ledger_cases import allow, database, leased, row, server, take, url, verdict  # noqa: F401 (some are fixtures)
from models import checkpoints
from tasks import engines
from tasks import licences as asked
from tasks.sbom import hashes_of, sbom


@pytest.mark.parametrize(
    ("expression", "kind"),
    [("MIT", "permissive"), ("CC0-1.0", "permissive"), ("LGPL-2.1", "weak copyleft"), ("MIT AND MPL-2.0", "weak copyleft"), ("GPL-3.0-only OR MIT", "permissive"), ("BSD-3-Clause AND GPL-2.0-or-later", "strong copyleft"),
     ("AGPL-3.0-only", "strong copyleft"), ("GPL-3.0-only WITH GCC-exception-3.1", "weak copyleft"), ("CC-BY-NC-4.0", "non-commercial"), ("PolyForm-Noncommercial-1.0.0", "non-commercial"), ("for academic use", "non-commercial"),
     ("my own", "unknown"), ("", "unknown")],
)  # fmt: skip
def test_a_licence_has_a_class(expression: str, kind: str) -> None:
    assert licences.class_of(expression) == kind


def test_every_package_that_this_needs_may_be_used_commercially() -> None:
    """A dependency whose licence nobody can tell, or that forbids it, fails here: read its licence, then infra/licences.py or another package."""
    found = {licences.plain(one.name): one for one in licences.packages()}
    assert len(found) > 100 and licences.hindering() == []
    assert {found[name].licence_class for name in ("av", "espeakng-loader", "imageio-ffmpeg")} == {"strong copyleft"}
    assert (found["psycopg"].licence_class, found["torch"].licence_class, found["certifi"].licence) == ("weak copyleft", "permissive", "MPL-2.0")
    assert "pytest" not in found and "moto" not in found  # what only tests need is not delivered with


def test_what_forbids_commercial_use_keeps_a_job_back_unless_it_is_for_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    known = Settings(home=tmp_path)  # type: ignore[call-arg]
    ask: dict[str, Any] = {"video": False, "settings": known, "job": "a/en-US"}
    assert asked.fault("auto", "compact", commercial=True, **ask) is None
    real = checkpoints.card

    def closed(engine: str, name: str) -> checkpoints.Card:
        found = real(engine, name)
        return found if engine != "coherence" else checkpoints.Card(**{**vars(found), "licence": "for study", "licence_class": "research"})

    monkeypatch.setattr(checkpoints, "card", closed)
    assert engines.usable("compact", video=True) == ("lipmemory",) and engines.usable("compact", video=True, commercial=False) == ("lipmemory", "coherence")
    assert asked.fault("auto", "compact", commercial=True, **ask) is None  # it is left out
    told = asked.fault("coherence", "compact", commercial=True, **ask)
    assert told is not None and told.code == "licence.weights" and "coherence/compact (for study)" in told.message and "models licence coherence/compact" in told.next_step
    assert asked.fault("coherence", "compact", commercial=False, **ask) is None
    monkeypatch.setattr(licences, "packages", lambda: (Package("odd", "1", "CC-BY-NC-4.0", "non-commercial"), Package("Strange.Thing", "2", "", "unknown"), Package("good", "1", "MIT", "permissive")))
    told = asked.fault("avct", "compact", commercial=True, **ask)
    assert told is not None and told.code == "licence.package" and "odd" in told.message and "Strange.Thing" in told.message and "good" not in told.message
    some = Settings(home=tmp_path, licences_accepted="odd strange-thing")  # type: ignore[call-arg]
    assert asked.fault("avct", "compact", commercial=True, **(ask | {"settings": some})) is None
    assert asked.sold({}) and asked.sold({"commercial": True}) and not asked.sold({"commercial": False})


def test_the_stage_that_delivers_asks_of_the_weights_that_made_the_take() -> None:
    job: Any = SimpleNamespace(spec={}, settings=Settings(), name="a/en-US")  # type: ignore[call-arg]
    used = [{"engine": "avct", "name": "paper-generator", "licence": "research", "licence_class": "research"}]
    with pytest.raises(LicenceError) as told:
        asked.check_take(job, None, used)  # type: ignore[arg-type]
    assert told.value.code == "licence.weights" and told.value.job == "a/en-US"
    job.spec = {"commercial": False}
    asked.check_take(job, None, used)  # type: ignore[arg-type]


def test_the_database_refuses_by_itself(database: Database) -> None:  # noqa: F811
    held = leased(database)
    allow(database)
    number = ledger.record_take(database, held, take(), verdict())
    ledger.record_artifacts(database, held, [row("1", ("c", "render"))])
    assert kept.relicense(database, "e" * 64, "for study", "research") == 1

    def deliver() -> None:
        ledger.deliver(database, held, number, "1" * 64, "s3://out/a.mp4", {})

    with pytest.raises(DBAPIError, match="is commercial, and the weights avct/compact-renderer may not be used so"):
        deliver()
    with database.begin() as session:
        session.execute(text("UPDATE jobs SET spec = spec || '{\"commercial\": false}'"))
    deliver()
    with database.begin() as session:
        assert session.execute(text("SELECT count(*) FROM deliveries")).scalar_one() == 1
    with pytest.raises(DBAPIError, match="is commercial"), database.begin() as session:
        session.execute(text("UPDATE jobs SET spec = '{}'"))
        session.execute(text("UPDATE deliveries SET files = '{\"video\": \"x\"}'"))


def test_a_manifest_says_what_it_is_for() -> None:
    from tasks.manifest import check
    from tasks.plan import _planned

    nothing: Any = SimpleNamespace(found={}, looked={}, settings=Settings())
    tree = {"batch": "b", "output": "o", "jobs": [{"title": "a", "locale": "en-US", "text": "Hi.", "audio": ""}]}
    rows = [check({**tree, "defaults": defaults}, "").jobs[0].model_copy(update={"portrait": ""}) for defaults in ({"portrait": "a.png"}, {"portrait": "a.png", "commercial": False})]
    assert [one.commercial for one in rows] == [True, False]
    assert len({_planned(one, "o", nothing).key for one in rows}) == 2  # for another use it is another job


def test_weights_are_relicensed_on_their_card(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import torch

    monkeypatch.setattr(checkpoints, "ROOT", tmp_path)
    checkpoints.save({"w": torch.ones(1)}, name="one", engine="avct", preset="compact", licence="x", licence_class="research", data="d", attribution="a", command="c")
    made = checkpoints.relicense("avct", "one", "an agreement", "open")
    assert checkpoints.card("avct", "one") == made and (made.licence, made.licence_class, made.data) == ("an agreement", "open", "d")
    assert checkpoints.load("avct", "one")["w"] == 1
    with pytest.raises(ValueError, match="none of"):
        checkpoints.relicense("avct", "one", "x", "maybe")


def test_the_bill_of_materials_is_valid_and_whole(tmp_path: Path) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    lock = tmp_path / "lock.txt"
    lock.write_text(f"# made\ntorch==1 \\\n    --hash=sha256:{'a' * 64} \\\n    --hash=sha256:{'b' * 64}\n")
    assert hashes_of(lock) == {"torch": [f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"]}
    written = sbom(lock)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(written) is None
    tree = json.loads(written)
    parts = {part["name"]: part for part in tree["components"]}
    assert {licences.plain(one.name) for one in licences.packages()} | {f"{card.engine}/{card.name}" for card in checkpoints.cards()} == set(parts)
    (files,) = parts["torch"]["externalReferences"]
    assert files["type"] == "distribution" and sorted(one["content"] for one in files["hashes"]) == ["a" * 64, "b" * 64]
    assert parts["torch"]["purl"].startswith("pkg:pypi/torch@")
    card = checkpoints.card("syncnet", "compact")
    mine = parts["syncnet/compact"]
    assert (mine["type"], mine["hashes"][0]["content"]) == ("machine-learning-model", card.sha256)
    assert (all(part["licenses"] for part in parts.values()) and len(tree["dependencies"][0]["dependsOn"]) == len(parts)) or any(len(one.get("dependsOn", [])) == len(parts) for one in tree["dependencies"])


def test_every_dependency_is_pinned() -> None:
    import tomllib

    asked_for = [re.split(r"[\[<>=;~! ]", one)[0] for one in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]]
    for name in ("constraints-cpu.txt", "constraints-gpu.txt"):
        pinned = {licences.plain(line.partition("==")[0]) for line in (ROOT / name).read_text().splitlines() if "==" in line}
        assert {one for one in map(licences.plain, asked_for) if one not in pinned} == set(), name


def wheel(folder: Path, name: str, version: str) -> Path:
    """A package of one line."""
    path, info = folder / f"{name}-{version}-py3-none-any.whl", f"{name}-{version}.dist-info"
    kept = {f"{name}.py": "", f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"}
    with zipfile.ZipFile(path, "w") as out:
        for place, text in (kept | {f"{info}/RECORD": "".join(f"{one},,\n" for one in kept)}).items():
            out.writestr(place, text)
    return path


def test_a_lock_with_hashes_installs_those_files_or_nothing(tmp_path: Path) -> None:
    files = [wheel(tmp_path, "first_part", "1.0"), wheel(tmp_path, "second", "2.0")]
    pins, here = tmp_path / "pins.txt", ["--no-index", "--find-links", str(tmp_path)]
    pins.write_text("# pinned\nfirst_part==1.0\nsecond==2.0\nsecond==1.0; python_version < '3'\n")
    text = lock(pins, here)
    assert text.splitlines() == [f"{name} --hash=sha256:{sha256_of(path)}" for name, path in zip(("first_part==1.0", "second==2.0"), files, strict=True)]
    (tmp_path / "lock.txt").write_text(text)
    assert hashes_of(tmp_path / "lock.txt") == {"first-part": [f"sha256:{sha256_of(files[0])}"], "second": [f"sha256:{sha256_of(files[1])}"]}

    def installed(target: str) -> int:
        words = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "--no-deps", *here, "--target", str(tmp_path / target), "-r", str(tmp_path / "lock.txt")]
        return subprocess.run(words, capture_output=True, check=False).returncode

    assert installed("one") == 0 and (tmp_path / "one" / "second.py").exists()
    files[1].write_bytes(files[1].read_bytes() + b"\0")
    assert installed("two") != 0 and not (tmp_path / "two" / "second.py").exists()
    pins.write_text("third==1.0\n")
    with pytest.raises(SetupError) as told:
        lock(pins, here)
    assert told.value.code == "setup.lock" and "third" in told.value.message
