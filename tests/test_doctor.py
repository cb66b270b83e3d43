"""`dubwright doctor --fix` against things that are really broken: each is seen, told, mended after a yes, and works after it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from db import ledger
from db.session import open_database
from db.workers import OWNER
from flow_cases import ROOT, new_home, run
from flows.repair import findings
from infra import mend
from infra.errors import WeightsError
from infra.postgres import stop_embedded
from infra.settings import Settings
from ledger_cases import specs
from models import checkpoints
from tasks import restore


@pytest.fixture(name="home")
def home_fixture() -> Iterator[Path]:
    with new_home() as folder:
        yield folder


@contextmanager
def holder(home: Path, after: str = "") -> Iterator[subprocess.Popen[str]]:
    """A process that uses the embedded Postgres until it is killed; it may do something first."""
    code = f"import time; from pathlib import Path; from infra.postgres import embedded_url; url = embedded_url(Path({str(home)!r}))\n{after}\nprint('ready', flush=True); time.sleep(300)"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline().strip() == "ready"
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def master(home: Path) -> psutil.Process:
    return psutil.Process(int((home / "postgres" / "postmaster.pid").read_text().split()[0]))


def only(home: Path) -> mend.Finding:
    (found,) = mend.postgres(home)
    assert found.mend is not None and found.why and found.fix
    return found


def answers(home: Path) -> bool:
    """Whether a new process can use the ledger."""
    code = f"from pathlib import Path; from db.session import Database; from infra.postgres import embedded_url; print(Database(embedded_url(Path({str(home)!r}))).standing().found)"
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False, timeout=120).returncode == 0


def test_a_postgres_that_was_killed_or_forgotten_is_seen_and_mended(home: Path) -> None:
    assert list(mend.postgres(home)) == []
    with holder(home) as user:
        server = master(home)
        assert list(mend.postgres(home)) == []
        user.kill()
        user.wait()
        found = only(home)
        assert not found.harmful and "all that used it are dead" in found.what and found.mend is not None
        found.mend()
        assert not server.is_running() and list(mend.postgres(home)) == []
    with holder(home):
        server = master(home)
        child = next(process for process in server.children() if process.status() != psutil.STATUS_ZOMBIE)
        child.send_signal(signal.SIGSTOP)  # it cannot see that its server is gone, and holds its memory
        server.kill()
        mend.psutil.wait_procs([server], 10)
        deadline = time.monotonic() + 20
        while len(mend._processes((home / "postgres").absolute())) > 1 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not answers(home)
        found = only(home)
        assert found.harmful and "go on without it" in found.what and found.mend is not None
        found.mend()
        assert not child.is_running() and list(mend.postgres(home)) == [] and answers(home)


def test_everything_at_once_is_listed_and_mended_after_a_yes(home: Path) -> None:
    known = Settings(home=home)  # type: ignore[call-arg]
    database = open_database(known)
    batch = ledger.submit(database, "batch", "b", "out", specs(2)).batch_id
    take = f"from db import ledger, workers; from db.session import Database\nledger.lease(Database(url), {batch}, workers.me(), 3600); print(workers.me(), flush=True)"
    with holder(home, take.replace("print(workers.me(), flush=True)", f"open({str(home / 'who')!r}, 'w').write(workers.me())")) as gone:
        gone.kill()
        gone.wait()
    dead = (home / "who").read_text()
    for number, owner in enumerate((dead, "")):
        folder = known.cache / "work" / f"job-{number}-x"
        folder.mkdir(parents=True)
        (folder / "half.mp4").write_bytes(b"0" * 2**20)
        (folder / OWNER).write_text(owner) if owner else None
    idle = subprocess.Popen(["sleep", "300"])  # a process that has the number of a Postgres that is no more
    (home / "prefect" / "servers").mkdir(parents=True)
    (home / "prefect" / "servers" / "999999").write_text(dead)
    database.close()
    stop_embedded()
    with holder(home):
        server = master(home)
        lock = (home / "postgres" / "postmaster.pid").read_text()
        server.kill()
        server.wait(20)
    (home / "postgres" / "postmaster.pid").write_text(lock.replace(str(server.pid), str(idle.pid), 1))
    (home / "postgres").chmod(0o755)
    (home / "cache").chmod(0o500)
    try:
        assert not answers(home)
        refused = run("doctor", "--fix", home=home)  # nobody says yes
        assert refused.returncode == 4 and "nothing was changed" in refused.stdout and f"names process {idle.pid}" in refused.stdout and not answers(home)
        done = run("doctor", "--fix", "--yes", "--json", home=home)
        told = json.loads(done.stdout)
        assert done.returncode == 0 and told["ok"], (told["findings"], done.stderr)
        names = [row["name"] for row in told["mended"]]
        assert names.count("embedded Postgres") == 2 and {f"folder {home / 'cache'}", "leftover servers", "leftover scratch", "leases"} <= set(names)
        assert not [row for row in told["mended"] if row["done"].startswith("not mended")] and told["findings"] == []
        assert idle.poll() is None  # whose number it only was
        assert [folder.name for folder in (known.cache / "work").iterdir()] == ["job-1-x"]  # it names nobody and is not old
        stands = run("status", str(batch), "--json", home=home)
        assert {job["state"] for job in json.loads(stands.stdout)["jobs"]} == {"queued"}
    finally:
        idle.kill()
        idle.wait()


def test_a_ledger_that_is_behind_is_migrated_when_it_is_asked_for_and_a_store_that_is_away_is_explained(home: Path) -> None:
    known = Settings(home=home, store_url="s3://nowhere/x", s3_endpoint_url="http://127.0.0.1:9")  # type: ignore[call-arg]
    before = dict(os.environ)
    os.environ |= {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_MAX_ATTEMPTS": "1"}
    try:
        database = open_database(known)
        database.migrate("0003")
        found = {one.name: one for one in findings(known)}
    finally:
        os.environ.clear()
        os.environ.update(before)
    assert found.keys() == {"ledger's schema", "artifact store"} and database.standing().found == "0003"  # a look changes nothing
    assert found["artifact store"].mend is None and "127.0.0.1:9" in found["artifact store"].what and "credentials" in found["artifact store"].fix
    schema = found["ledger's schema"]
    assert not schema.harmful and schema.mend is not None and "behind" in schema.what
    schema.mend()
    assert database.standing().newest


def test_shipped_weights_come_back_from_the_package_and_imported_ones_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = sorted(path.stem for path in (ROOT / "models" / "syncnet" / "weights").glob("*.safetensors"))[0]
    place = tmp_path / "models" / "syncnet" / "weights" / f"{name}.safetensors"
    place.parent.mkdir(parents=True)
    pair = [ROOT / "models" / "syncnet" / "weights" / f"{name}{suffix}" for suffix in (".safetensors", ".json")]
    for path in pair:
        shutil.copy(path, place.parent)
    wheel = tmp_path / "dubwright.whl"
    with zipfile.ZipFile(wheel, "w") as held:
        for path in pair:
            held.write(path, f"models/syncnet/weights/{path.name}")
    monkeypatch.setattr(checkpoints, "ROOT", tmp_path / "models")
    monkeypatch.setattr(checkpoints, "imported_folder", lambda: tmp_path / "home")
    whole = place.read_bytes()
    assert restore.broken() == []
    place.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    ((label, problem, shipped),) = restore.broken()
    assert shipped and label == f"syncnet/{name}" and "expected" in problem
    monkeypatch.setattr(restore, "_committed", lambda path: None)  # an installation, not a checkout
    with pytest.raises(WeightsError, match="nowhere here"):
        restore.restore(label)
    assert restore.restore(label, wheel) == str(wheel) and place.read_bytes() == whole and restore.broken() == []
    monkeypatch.undo()
    monkeypatch.setattr(checkpoints, "ROOT", tmp_path / "models")
    monkeypatch.setattr(checkpoints, "imported_folder", lambda: tmp_path / "home")
    if (ROOT / ".git").exists():
        place.write_bytes(b"no weights")
        assert restore.restore(label) == "the commit" and place.read_bytes() == whole
    (tmp_path / "home" / "avct").mkdir(parents=True)
    for path in pair:
        shutil.copy(path, tmp_path / "home" / "avct")
    assert [shipped for _, _, shipped in restore.broken()] == [False]  # a card of another engine's
