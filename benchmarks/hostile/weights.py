"""Weights that are not what their card says (P18), among those that a user imported into an empty home folder."""

from pathlib import Path

from models import checkpoints

FACTS = {"engine": "toy", "preset": "compact", "licence": "none", "licence_class": "open", "data": "none", "attribution": "none", "command": "none"}
HARMS = ("flipped", "swapped", "pickle", "pickle with its card", "pickle as a checkpoint")


def payload(marker: Path) -> bytes:
    """A pickle that writes a marker when it is read (protocol 0: builtins.open with two arguments)."""
    return b"cbuiltins\nopen\n(V" + str(marker).encode() + b"\nVw\ntR."


def try_weights(harm: str) -> str:
    """Load weights that were done harm. Raises WeightsError, and RuntimeError where a payload ran."""
    import torch

    folder = checkpoints.imported_folder() / "toy"
    marker = folder / "it-ran"
    for number, weights in enumerate(("first", "second")):
        checkpoints.save({"weight": torch.full((3, 5), float(number))}, imported=True, name=weights, **FACTS)
    first, second = folder / "first.safetensors", folder / "second.safetensors"
    try:
        if harm == "flipped":
            first.write_bytes(first.read_bytes()[:-7] + b"\x5a" + first.read_bytes()[-6:])
        elif harm == "swapped":
            first.write_bytes(second.read_bytes())
        elif harm == "pickle as a checkpoint":
            from models.imports import tensors_of

            (folder / "published.ckpt").write_bytes(payload(marker))
            tensors_of(folder / "published.ckpt")
        else:
            first.write_bytes(payload(marker))
            if "card" in harm:
                card = folder / "first.json"
                card.write_text(card.read_text().replace(checkpoints.sha256("toy", "first"), checkpoints.sha256_of(first)))
        checkpoints.load("toy", "first")
    finally:
        if marker.exists():
            raise RuntimeError("the payload ran")
    return "accepted"
