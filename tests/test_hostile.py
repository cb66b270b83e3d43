"""A sample of benchmarks.hostile and benchmarks.fuzz: hostile input ends as a classified error or a success, and reaches nothing (P5, P17, P18)."""

from pathlib import Path

import pytest

from benchmarks import fuzz
from benchmarks.hostile import voices
from benchmarks.hostile.canary import Canary
from benchmarks.hostile.run import NO_BUCKET, taken
from benchmarks.hostile.taken import Taker
from flow_cases import settings  # noqa: F401 (a fixture)
from infra.errors import DubwrightError
from infra.outbound import Allowed, judge
from infra.settings import Settings
from infra.store import open_store, within
from tasks.speech.voices.piper import read_config


def test_a_sample_of_the_corpus_and_of_mutants(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    for name, value in NO_BUCKET.items():
        monkeypatch.setenv(name, value)
    taker = Taker(settings.model_copy(update={"s3_endpoint_url": NO_BUCKET["DUBWRIGHT_S3_ENDPOINT_URL"]}))
    found = taken(taker.take, settings.home, 11, 1, 11)
    assert found["wrong"] == [] and found["figures"]["cases"] > 40 and found["figures"]["mutants"] == 55
    assert [found["figures"][name] for name in ("crashes", "hangs", "outbound_requests", "reads_outside", "executions")] == [0] * 5
    assert found["figures"]["accepted"] > 5 and len(found["refused"]) > 10


def test_canaries_tell(tmp_path: Path) -> None:
    """Or a sample without reads and requests would show nothing."""
    import urllib.request

    with Canary(tmp_path / "canary", {"secret.png": b"x"}) as canary:
        assert canary.count() == (0, 0)
        (canary.folder / "secret.png").read_bytes()
        with pytest.raises(OSError):
            urllib.request.urlopen(f"http://127.0.0.1:{canary.port}/", timeout=5)
        reads, requests = canary.count()
    assert reads >= 1 and requests >= 1


@pytest.mark.parametrize("target", fuzz.TARGETS)
def test_seeds_of_the_fuzzer_are_read(target: str, tmp_path: Path) -> None:
    """And what atheris needs is told where it is not installed."""
    (tmp_path / "corpus").mkdir()
    fuzz.seeds(target, tmp_path / "corpus")
    read, whole = fuzz.reader(target, tmp_path), 0
    for path in (tmp_path / "corpus").iterdir():
        try:
            read(path.read_bytes())
            whole += 1
        except DubwrightError:
            continue
    assert whole >= 3


@pytest.mark.parametrize("place", ["~nobody-at-all/x", "\ud800.mp4", "s3://127.0.0.1:80/x", "s3://user@host/x", "s3://[::1]/x", "/dev/zero", "/proc/kmsg/x", "x" * 5000])
def test_places_that_are_none_are_classified(place: str, tmp_path: Path) -> None:
    """Found by benchmarks.hostile: some of them ended as faults of the program."""
    with pytest.raises(DubwrightError) as told:
        found = within(str(tmp_path), place)
        open_store(found.rpartition("/")[0]).download(found.rpartition("/")[2], tmp_path / "copy")
    assert told.value.code in ("store.name", "store.missing") and not (tmp_path / "copy").exists()


def test_an_ipv4_address_inside_of_an_ipv6_address_is_judged() -> None:
    """RFC 4291's IPv4-compatible form; found by benchmarks.hostile."""
    with pytest.raises(DubwrightError, match="not an address of the public Internet"):
        judge("https://[::127.0.0.1]/", Allowed())


def test_descriptions_of_voices_that_are_none_are_classified(tmp_path: Path) -> None:
    """Found by benchmarks.hostile: some of them ended as faults of the program, once there was something to say."""
    path = tmp_path / "a.onnx.json"
    path.write_bytes(voices.whole()[1])
    assert read_config(path)["audio"]["sample_rate"] == 16_000
    for name, data in voices.descriptions():
        path.write_bytes(data)
        with pytest.raises(DubwrightError) as told:
            read_config(path)
        assert told.value.code in ("voice.config", "input.locale") and told.value.next_step, name
