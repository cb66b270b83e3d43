"""The object store's contract, on a folder and on real S3 servers over HTTP."""

import os
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import pytest

import servers
from infra.artifacts import Artifacts
from infra.errors import AccessDenied, AlreadyThere, ObjectMissing, StoreError, StoreUnavailable
from infra.settings import Settings
from infra.store import CHUNK, S3Store, Store, fetch, open_store, sha256_of, within


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    os.environ.update(servers.KEYS)
    with servers.moto() as url:
        boto3.client("s3", endpoint_url=url, region_name="us-east-1").create_bucket(Bucket="deliveries")
        yield url


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        return open_store(str(tmp_path / "store"))
    url = request.getfixturevalue("endpoint")
    return open_store(f"s3://deliveries/{tmp_path.name}", Settings(s3_endpoint_url=url))


def test_what_is_put_is_got(store: Store) -> None:
    info = store.put("a/b.txt", b"0123456789", content_type="text/plain")
    assert info.size == 10 and store.get("a/b.txt") == b"0123456789"
    assert store.read("a/b.txt", 3, 4) == b"3456"
    assert [o.key for o in store.list("a/")] == ["a/b.txt"] and not list(store.list("c"))
    store.delete("a/b.txt")
    assert store.info("a/b.txt") is None


def test_missing_objects_are_told(store: Store, tmp_path: Path) -> None:
    for call in (lambda: store.get("none"), lambda: store.read("none", 0, 1), lambda: store.download("none", tmp_path / "x")):
        with pytest.raises(ObjectMissing):
            call()
    assert not (tmp_path / "x").exists()


def test_create_once_keeps_the_first(store: Store) -> None:
    store.put("once", b"first", if_absent=True)
    with pytest.raises(AlreadyThere):
        store.put("once", b"second", if_absent=True)
    assert store.get("once") == b"first"


def test_of_many_creators_one_wins(store: Store) -> None:
    def create(number: int) -> bool:
        try:
            store.put("raced", str(number).encode(), if_absent=True)
        except AlreadyThere:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(create, range(8)))
    assert sum(won) == 1 and store.get("raced") == str(won.index(True)).encode()


def test_large_files_go_in_parts_and_come_back_whole(store: Store, tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.write_bytes(os.urandom(CHUNK + 12_345))
    store.put("big", big)
    store.download("big", tmp_path / "again")
    assert sha256_of(tmp_path / "again") == sha256_of(big)
    with pytest.raises(AlreadyThere):
        store.put("big", big, if_absent=True)
    store.put("fresh", big, if_absent=True)
    assert store.info("fresh").size == big.stat().st_size  # type: ignore[union-attr]


@pytest.mark.parametrize("key", ["../escape", "/etc/passwd", "a/../../b", "", "nul\x00", "x" * 2_000])
def test_hostile_names_are_refused(store: Store, key: str) -> None:
    with pytest.raises(StoreError):
        store.put(key, b"")


def test_presigned_url_reads_ranges(endpoint: str) -> None:
    store = open_store("s3://deliveries/signed", Settings(s3_endpoint_url=endpoint))
    store.put("film.bin", b"0123456789")
    request = urllib.request.Request(store.presign("film.bin", 60), headers={"Range": "bytes=2-4"})
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 206 and answer.read() == b"234"


def test_wrong_secret_is_denied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bucket").mkdir()
    for name, value in servers.KEYS.items():
        monkeypatch.setenv(name, value)
    with servers.rclone(tmp_path) as url:
        good = open_store("s3://bucket", Settings(s3_endpoint_url=url))
        good.put("a", b"x")
        assert good.get("a") == b"x"
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-wrong-secret-of-some-length")
        with pytest.raises(AccessDenied) as told:
            open_store("s3://bucket", Settings(s3_endpoint_url=url)).get("a")
    assert "AWS_SECRET_ACCESS_KEY" in told.value.next_step


def test_silent_endpoint_is_unavailable() -> None:
    os.environ.update(servers.KEYS)
    store = S3Store("bucket", "", Settings(s3_endpoint_url=f"http://127.0.0.1:{servers.free_port()}"))
    with pytest.raises(StoreUnavailable):
        store.get("a")


def test_other_schemes_are_refused() -> None:
    for url in ("http://169.254.169.254/latest", "ftp://host/x"):
        with pytest.raises(StoreError):
            open_store(url)


def test_inputs_come_from_paths_beside_the_manifest(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("x")
    fetch("in/a.txt", tmp_path / "out", base=str(tmp_path))
    assert (tmp_path / "out").read_text() == "x"


def test_artifacts_are_named_by_content_and_checked(store: Store, tmp_path: Path) -> None:
    artifacts = Artifacts(store, tmp_path / "cache")
    first, again = artifacts.put(b"bytes", "x.bin"), artifacts.put(b"bytes", "x.bin")
    assert first == again and artifacts.path(first.sha256).read_bytes() == b"bytes"
    store.put(first.key, b"other")
    with pytest.raises(StoreError, match="other bytes"):
        Artifacts(store, tmp_path / "elsewhere").path(first.sha256)


@pytest.mark.parametrize(
    ("base", "place", "meant"),
    [
        ("s3://b/night", "a.png", "s3://b/night/a.png"),
        ("s3://b/night", "../faces/a.png", "s3://b/faces/a.png"),
        ("s3://b", "out/", "s3://b/out/"),
        ("s3://b/night", "s3://other/a.png", "s3://other/a.png"),
        ("/jobs", "a.png", "/jobs/a.png"),
        ("/jobs", "/faces/a.png", "/faces/a.png"),
    ],
)
def test_relative_names_start_where_the_manifest_lies(base: str, place: str, meant: str) -> None:
    assert within(base, place) == meant


def test_a_relative_name_cannot_leave_its_bucket() -> None:
    with pytest.raises(StoreError, match="outside the bucket"):
        within("s3://b/night", "../../other/a.png")
