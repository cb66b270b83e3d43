"""Published checkpoints become weights only when they are what they should be; nothing else in a file is ever run."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from infra.errors import InputError, WeightsError
from infra.settings import get_settings
from models import checkpoints
from models.avct.paper.generator import Generator
from models.avct.paper.keypoints import KeypointDetector
from models.imports import bring


@pytest.fixture(name="home")
def home_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("DUBWRIGHT_HOME", str(tmp_path / "home"))
    get_settings.cache_clear()
    yield tmp_path / "home"
    monkeypatch.undo()
    get_settings.cache_clear()


@pytest.fixture(name="states", scope="module")
def states_fixture() -> dict[str, dict[str, torch.Tensor]]:
    return {"kp_detector": KeypointDetector().state_dict(), "generator": Generator().state_dict()}


def test_a_published_checkpoint_becomes_weights_with_a_card(home: Path, tmp_path: Path, states: dict[str, dict[str, torch.Tensor]]) -> None:
    old = {f"module.{key}": value for key, value in states["kp_detector"].items() if not key.endswith("num_batches_tracked")}
    torch.save({"kp_detector": old, "generator": states["generator"], "epoch": 7}, tmp_path / "vox.pth.tar")
    cards = bring("fomm", [tmp_path / "vox.pth.tar"], licence="MIT code; weights for research", align_corners=True)
    assert [card.name for card in cards] == ["paper-detector", "paper-generator"]
    card = checkpoints.card("avct", "paper-generator")
    assert card.preset == "paper" and card.licence_class == "research" and card.config["align_corners"] is True
    assert card.config["source_sha256"] in card.attribution and card in checkpoints.cards()
    loaded = checkpoints.load("avct", "paper-detector")
    assert all(torch.equal(loaded[key], value) for key, value in states["kp_detector"].items())
    assert ("avct/paper-detector", "") in checkpoints.verify()
    assert checkpoints.place("avct", "paper-detector").is_relative_to(home)


class Evil:
    """What a pickle runs when it is trusted."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


def test_a_pickle_that_runs_something_is_refused_and_nothing_is_run(home: Path, tmp_path: Path) -> None:
    torch.save({"kp_detector": Evil(tmp_path / "ran"), "generator": {}}, tmp_path / "evil.ckpt")
    with pytest.raises(WeightsError) as told:
        bring("fomm", [tmp_path / "evil.ckpt"], licence="none")
    assert told.value.code == "weights.unreadable" and not (tmp_path / "ran").exists() and not home.exists()


@pytest.mark.parametrize("content", [b"", b"PK not a zip", b"\x80\x04N."], ids=["empty", "no zip", "none"])
def test_files_that_are_no_checkpoints_are_told_plainly(home: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file.ckpt").write_bytes(content)
    with pytest.raises(WeightsError) as told:
        bring("fomm", [tmp_path / "file.ckpt"], licence="none")
    assert told.value.code == "weights.unreadable" and "file.ckpt" in told.value.message


def test_other_networks_are_named_by_what_they_lack(home: Path, tmp_path: Path, states: dict[str, dict[str, torch.Tensor]]) -> None:
    detector = dict(states["kp_detector"])
    del detector["kp.weight"]
    torch.save({"kp_detector": detector, "generator": {"x": torch.zeros(1)}}, tmp_path / "other.ckpt")
    with pytest.raises(WeightsError, match=r"1 entries missing.*it lacks kp\.weight"):
        bring("fomm", [tmp_path / "other.ckpt"], licence="none")
    torch.save({"generator": {}}, tmp_path / "short.ckpt")
    with pytest.raises(WeightsError, match="it has no 'kp_detector'"):
        bring("fomm", [tmp_path / "short.ckpt"], licence="none")
    assert not home.exists()


def test_kinds_and_numbers_of_files_are_checked(home: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        bring("wav2lip", [tmp_path / "a"], licence="none")
    with pytest.raises(InputError):
        bring("fomm", [tmp_path / "a", tmp_path / "b"], licence="none")
    with pytest.raises(WeightsError, match="there is no file"):
        bring("fomm", [tmp_path / "a"], licence="none")
