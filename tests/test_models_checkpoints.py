"""Weights are what they claim (P18): every way of not being so is refused before a tensor is made."""

import json
import pickle
from pathlib import Path

import pytest
import torch

from infra.errors import WeightsError
from models import checkpoints

FACTS = {
    "engine": "toy",
    "preset": "compact",
    "licence": "Apache-2.0",
    "licence_class": "open",
    "data": "none",
    "attribution": "none",
    "command": "a test",
}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of engines of its own with two weights files, `first` and `second`."""
    monkeypatch.setattr(checkpoints, "ROOT", tmp_path)
    for name, value in (("first", 1.0), ("second", 2.0)):
        checkpoints.save({"weight": torch.full((3, 5), value), "steps": torch.tensor([7])}, name=name, **FACTS)
    return tmp_path / "toy" / "weights"


def refused(name: str = "first") -> WeightsError:
    """The error that both ways of loading end with."""
    with pytest.raises(WeightsError) as mapped:
        checkpoints.mapped("toy", name)
    with pytest.raises(WeightsError) as caught:
        checkpoints.load("toy", name)
    assert caught.value.code == mapped.value.code
    return caught.value


def test_what_is_saved_comes_back_with_its_card(root: Path) -> None:
    tensors = checkpoints.load("toy", "first")
    assert torch.equal(tensors["weight"], torch.full((3, 5), 1.0)) and tensors["steps"].tolist() == [7]
    mapped = checkpoints.mapped("toy", "first")
    (root / "first.safetensors").rename(root / "third.safetensors")  # what is mapped hangs on the file, not on its name
    assert mapped.keys() == tensors.keys() and all(torch.equal(mapped[key], tensors[key]) for key in tensors)
    (root / "third.safetensors").rename(root / "first.safetensors")
    card = checkpoints.card("toy", "first")
    assert card.parameters == 16 and len(card.sha256) == 64 and card.code
    assert [found.name for found in checkpoints.cards()] == ["first", "second"]
    assert checkpoints.verify() == [("toy/first", ""), ("toy/second", "")]


def test_half_precision_weights_come_back_as_float32(root: Path) -> None:
    checkpoints.save({"weight": torch.ones(2, dtype=torch.float16)}, name="half", **FACTS)
    assert checkpoints.load("toy", "half")["weight"].dtype == torch.float32


@pytest.mark.parametrize("position", [0, 9, 100, -1], ids=["length", "header", "header-end", "data"])
def test_one_flipped_bit_is_refused_with_both_hashes(root: Path, position: int, monkeypatch: pytest.MonkeyPatch) -> None:
    path = root / "first.safetensors"
    expected = checkpoints.sha256("toy", "first")
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)
    made = []
    monkeypatch.setattr("safetensors.torch.load", lambda data: made.append(data))
    error = refused()
    assert error.code == "weights.hash"
    assert expected in error.message and checkpoints.sha256_of(bytes(data)) in error.message
    assert made == [], "bytes were parsed before they were checked"
    assert dict(checkpoints.verify())["toy/first"] == error.message


def test_swapped_files_are_refused(root: Path) -> None:
    first, second = root / "first.safetensors", root / "second.safetensors"
    data = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(data)
    assert refused("first").code == refused("second").code == "weights.hash"


def test_files_swapped_together_with_their_cards_are_refused(root: Path) -> None:
    for suffix in (".safetensors", ".json"):
        (root / "first").with_suffix(suffix).write_bytes((root / "second").with_suffix(suffix).read_bytes())
    assert refused("first").code == "weights.card"


class Payload:
    """Writes a marker when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("truthful_card", [False, True], ids=["wrong-hash", "right-hash"])
def test_a_pickle_in_disguise_is_refused_and_never_runs(root: Path, tmp_path: Path, truthful_card: bool) -> None:
    marker = tmp_path / "it-ran"
    data = pickle.dumps(Payload(marker))
    (root / "first.safetensors").write_bytes(data)
    if truthful_card:
        path = root / "first.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"sha256": checkpoints.sha256_of(data)}))
    assert refused().code == ("weights.format" if truthful_card else "weights.hash")
    assert not marker.exists()
    pickle.loads(data)
    assert marker.exists(), "the payload must be a live one, or this test shows nothing"


def test_pickled_checkpoints_are_never_looked_for(root: Path) -> None:
    torch.save({"weight": torch.ones(1)}, root / "old.pt")
    for name in ("old", "old.pt", "first.safetensors", "../first", "/tmp/x", "", "."):
        assert refused(name).code in ("weights.name", "weights.no_card")
    assert ("toy/old.pt", "not safetensors; such a file is never loaded") in checkpoints.verify()


def test_a_file_without_a_card_and_a_card_without_a_file(root: Path) -> None:
    (root / "first.json").unlink()
    (root / "second.safetensors").unlink()
    assert refused("first").code == "weights.no_card"
    assert refused("second").code == "weights.missing"
    assert len(checkpoints.verify()) == 2 and all(wrong for _, wrong in checkpoints.verify())


@pytest.mark.parametrize("card", ["", "[]", "{}", '{"name": "first", "surprise": 1}'])
def test_a_malformed_card_is_refused(root: Path, card: str) -> None:
    (root / "first.json").write_text(card)
    assert refused().code == "weights.card"


def test_an_unknown_licence_class_is_not_written(root: Path) -> None:
    with pytest.raises(ValueError, match="licence class"):
        checkpoints.save({"weight": torch.ones(1)}, name="third", **(FACTS | {"licence_class": "whatever"}))
    assert not (root / "third.safetensors").exists()


def test_every_shipped_weights_file_is_what_its_card_says() -> None:
    """Also bounds what a clone carries: under 40 MB of weights in all."""
    found = checkpoints.verify()
    assert [entry for entry in found if entry[1]] == []
    assert sum(path.stat().st_size for path in checkpoints.ROOT.glob("*/weights/*")) < 40e6
    for card in checkpoints.cards():
        assert card.licence_class == "open" and card.data and card.attribution and card.command
