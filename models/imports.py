"""Published checkpoints that a user is entitled to, turned into weights: safetensors with a card, in the home folder.

Checkpoints are pickles. They are read here and nowhere else, with `weights_only=True`, by a process of its own that does
nothing but write their tensors; what it wrote is then checked entry by entry against the network that it is for.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from infra.errors import InputError, WeightsError
from infra.store import sha256_of
from models import checkpoints

# of each kind of import: its files in order, and of each file the parts: key in the checkpoint, weights, network
KINDS: dict[str, tuple[tuple[str, tuple[tuple[str, str], ...]], ...]] = {
    "avct": (
        ("generator.ckpt", (("kp_detector", "paper-detector"), ("generator", "paper-generator"), ("ph2kp", "paper-transformer"))),
        ("audio2pose.ckpt", (("generator", "paper-audio2pose"),)),
    ),
    "fomm": (("checkpoint", (("kp_detector", "paper-detector"), ("generator", "paper-generator"))),),
    "syncnet": (("syncnet_v2.model", (("all", "published"),)),),
}
ENGINES = {"syncnet": ("syncnet", "published")}  # of a kind: engine and preset; AVCT's paper where it is not named
ADVICE = {"syncnet": "Give syncnet_v2.model as its authors published it: a dictionary of 102 tensors."}
PAPER = tuple(name for _, parts in KINDS["avct"] for _, name in parts)  # what the preset `paper` needs
LONGEST_SECONDS = 600


def networks() -> dict[str, Callable[[], Any]]:
    """The network of each weights' name."""
    from models.avct.paper.audio2pose import AudioToPose
    from models.avct.paper.generator import Generator
    from models.avct.paper.keypoints import KeypointDetector
    from models.avct.paper.transformer import PaperTransformer
    from models.syncnet.published.network import PublishedSyncNet

    return {
        "paper-detector": KeypointDetector, "paper-generator": Generator, "paper-transformer": PaperTransformer, "paper-audio2pose": AudioToPose,
        "published": PublishedSyncNet,
    }  # fmt: skip


def bring(kind: str, files: list[Path], *, licence: str, open_licence: bool = False, align_corners: bool = False) -> list[checkpoints.Card]:
    """Import the files of a kind (`avct`: generator.ckpt and, where there is one, audio2pose.ckpt; `fomm`: one checkpoint;
    `syncnet`: syncnet_v2.model).

    licence: what allows their use, kept on the cards. open_licence: it allows commercial use. align_corners: how the checkpoint's
    `grid_sample` was called when it was trained (torch before 1.3 did align). Nothing is replaced unless every file is right.
    Raises InputError for a kind that does not exist or a wrong number of files, WeightsError for a file that is not what it should be.
    """
    if kind not in KINDS:
        raise InputError(f"{kind!r} is nothing that can be imported", code="weights.kind", next_step=f"Import {' or '.join(KINDS)}.")
    if not 1 <= len(files) <= len(KINDS[kind]):
        names = " and ".join(name for name, _ in KINDS[kind])
        raise InputError(f"{kind} has {len(KINDS[kind])} file(s), {len(files)} given", code="weights.files", next_step=f"Give {names}, in this order.")
    found: list[tuple[str, Path, str, dict[str, Any]]] = []
    with tempfile.TemporaryDirectory(prefix="dubwright-") as folder:
        for path, (_, parts) in zip(files, KINDS[kind], strict=False):
            digest = sha256_of(path) if path.is_file() else ""
            if not digest:
                raise WeightsError(f"there is no file {path}", code="weights.missing", next_step="Check the path.")
            _unpickle(path, [key for key, _ in parts], Path(folder))
            for key, name in parts:
                found.append((name, path, digest, _fitting(Path(folder) / f"{key}.safetensors", name, path, kind)))
    engine, preset = ENGINES.get(kind, ("avct", "paper"))
    return [
        checkpoints.save(
            tensors, imported=True, name=name, engine=engine, preset=preset, licence=licence, licence_class="open" if open_licence else "research",
            data="not known to this project", attribution=f"imported from {path.name} (sha256 {digest})", command=f"dubwright models import {kind}",
            config={"source": path.name, "source_sha256": digest} | ({"align_corners": align_corners} if engine == "avct" else {}),
        )
        for name, path, digest, tensors in found
    ]  # fmt: skip


def tensors_of(path: Path) -> dict[str, Any]:
    """The tensors of a safetensors file, or of a pickled state dict by that process of its own. Raises WeightsError."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise WeightsError(f"there is no file {path}", code="weights.missing", next_step="Check the path.")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise WeightsError(f"{path.name} is not safetensors ({error})", code="weights.format") from error
    with tempfile.TemporaryDirectory(prefix="dubwright-") as folder:
        _unpickle(path, ["all"], Path(folder))
        return load_file(Path(folder) / "all.safetensors")


def _unpickle(path: Path, keys: list[str], folder: Path) -> None:
    """Have the tensors of a checkpoint's dictionaries written as safetensors by a process of its own."""
    arguments = [sys.executable, "-I", str(Path(__file__).with_name("unpickle.py")), str(path.absolute()), str(folder), *keys]
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=LONGEST_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise WeightsError(f"reading {path.name} did not end within {LONGEST_SECONDS} s", code="weights.unreadable") from error
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise WeightsError(f"{path.name} cannot be read as a checkpoint: {said[0][:300]}", code="weights.unreadable", next_step="Give the file as its authors published it.")


def _fitting(written: Path, name: str, path: Path, kind: str) -> dict[str, Any]:
    """Tensors under the network's own names, entry by entry of the right shape. Raises WeightsError that names what is not."""
    import torch
    from safetensors.torch import load_file

    tensors = {key.removeprefix("module."): value for key, value in load_file(written).items()}
    wanted = networks()[name]().state_dict()
    for key, value in wanted.items():
        if key.endswith("num_batches_tracked") and key not in tensors:  # files of old torch lack them, and nothing needs them
            tensors[key] = torch.zeros_like(value)
    strange, missing = sorted(tensors.keys() - wanted.keys()), sorted(wanted.keys() - tensors.keys())
    shapes = [key for key in sorted(wanted.keys() & tensors.keys()) if tensors[key].shape != wanted[key].shape]
    if strange or missing or shapes:
        first = next((f"{what} {keys[0]}" for what, keys in (("it lacks", missing), ("it has", strange), ("another shape has", shapes)) if keys), "")
        raise WeightsError(
            f"{path.name} does not hold {name}: {len(missing)} entries missing, {len(strange)} unknown, {len(shapes)} of another shape ({first})",
            code="weights.entries", next_step=ADVICE.get(kind, "Give the checkpoint of the 256 px model with ten keypoints."),
        )  # fmt: skip
    if not all(bool(torch.isfinite(value).all()) for value in tensors.values() if value.is_floating_point()):
        raise WeightsError(f"{path.name} holds numbers that are none", code="weights.entries")
    return {key: tensors[key].float() if tensors[key].is_floating_point() else tensors[key] for key in wanted}
