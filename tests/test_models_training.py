"""Training: every part in two processes through torchrun, runs that go on as if they had not been stopped, and the losses' formulae."""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from flow_cases import ROOT, new_home, run
from infra.errors import DubwrightError, EngineError, InputError, WeightsError
from infra.settings import get_settings
from models import checkpoints
from models.avct.paper import schedule
from models.avct.paper.audio2pose import from_units, in_units
from models.avct.paper.clips import Order, SquareClips
from models.avct.paper.keypoints import Keypoints
from models.avct.paper.losses import Deformation, Reconstruction, Vgg19, equivariance
from models.avct.paper.schedule import Epochs
from models.avct.paper.train_audio2pose import Pose
from models.avct.train_motion import Transformer
from models.corpus import Corpus, clips_of
from models.training.loop import Budget, fit, read, restore
from models.training.part import Options
from models.training.ranks import Ranks
from tasks import learn
from training_cases import write_corpus

LISTED = set(re.findall(r"`(\w+)`", (ROOT / "benchmarks" / "README.md").read_text()))
ON_CPU = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}


@pytest.fixture(name="folder", scope="module")
def folder_fixture() -> Iterator[Path]:
    """A run's folder with a tiny corpus prepared. Not pytest's, which keeps three: checkpoints are large."""
    with tempfile.TemporaryDirectory(prefix="dubwright-") as name:
        write_corpus(Path(name) / "clips")
        yield Path(name)


@pytest.fixture(name="trained", scope="module")
def trained_fixture(folder: Path) -> dict[str, dict[str, Any]]:
    """The figures of one step of every part in two processes, by its name."""
    order = learn.Order(name="all", corpus=folder, out=folder, steps=1, batch=2, frames=4)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ON_CPU.items():
            patch.setenv(name, value)
        return learn.launch(list(learn.PARTS), order, 2, lambda row: None)


def names_in(figures: dict[str, Any]) -> set[str]:
    return set(figures).union(*(names_in(value) for value in figures.values() if isinstance(value, dict)))


def test_every_part_trains_in_two_processes(folder: Path, trained: dict[str, dict[str, Any]]) -> None:
    assert list(trained) == list(learn.PARTS)
    for name, figures in trained.items():
        assert figures["step"] == 1 and figures["processes"] == 2 and np.isfinite(figures["loss"]), name
        assert figures["drift"] == 0, name  # both hold the same parameters
        assert names_in(figures) <= LISTED, name
    for part in ("renderer", "painter", "transformer", "audio2pose", "syncnet", "paper-fomm", "paper-transformer", "paper-audio2pose", "lipmemory-expert", "lipmemory-renderer", "coherence-estimator", "coherence-generator"):
        assert (folder / f"{part}.pt").exists() and (folder / f"{part}.log").exists(), part


def test_stages_that_teach_different_networks_keep_processes_alike(folder: Path, trained: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in ON_CPU.items():
        monkeypatch.setenv(variable, value)
    name = "lipmemory/compact/renderer"
    assert "reconstruction" not in trained[name]  # sounds alone
    order = learn.Order(name=name, corpus=folder, out=folder, steps=10, batch=2)
    assert order.command() == "dubwright train lipmemory --part renderer --steps 10 --batch 2"
    figures = learn.launch([name], order, 2, lambda row: None)[name]
    assert figures["step"] == 10 and figures["processes"] == 2 and figures["drift"] == 0
    assert {"reconstruction", "audio_visual", "adversarial", "judged", "validation"} <= set(figures) and names_in(figures) <= LISTED


def test_the_command_goes_on_alone_from_what_two_processes_made(folder: Path, trained: dict[str, dict[str, Any]]) -> None:
    with new_home() as home:
        given = ["--part", "audio2pose", "--steps", "3", "--batch", "2", "--out", str(folder), "--grid", str(folder)]
        done = run("train", "avct", *given, "--json", home=home, **ON_CPU)
        assert done.returncode == 0, done.stdout + done.stderr[-2000:]
        told = json.loads(done.stdout)
    assert told["part"] == "avct/compact/audio2pose" and told["weights"] == []
    assert told["figures"]["step"] == 3 and np.isfinite(told["figures"]["loss"])


@pytest.fixture(name="home")
def home_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("DUBWRIGHT_HOME", str(tmp_path))
    get_settings.cache_clear()
    yield tmp_path
    monkeypatch.undo()
    get_settings.cache_clear()


def test_a_trained_paper_part_resumes_and_becomes_weights(folder: Path, home: Path, trained: dict[str, dict[str, Any]]) -> None:
    order = learn.Order(name="avct/paper/audio2pose", corpus=folder, out=folder, steps=1, publish=True)
    part = Pose(Options(cache=folder / "clips", out=folder, batch=1, frames=4))
    assert restore(part, folder / "paper-audio2pose.pt", torch.device("cpu")) > 0 and part.step == 1
    assert len(part.optimisers["optimiser"].state) == len(list(part.model.parameters()))
    assert learn.publish(order, trained[order.name]) == ["paper-audio2pose"]
    card = checkpoints.card("avct", "paper-audio2pose")
    assert card.command == "dubwright train avct --preset paper --part audio2pose --steps 1" and card.licence_class == "research"
    weights = checkpoints.load("avct", "paper-audio2pose")
    assert all(torch.equal(weights[name], value) for name, value in part.model.state_dict().items())


@pytest.mark.parametrize("name", learn.PARTS)
def test_losses_stay_on_the_device_that_they_are_given(folder: Path, trained: dict[str, dict[str, Any]], name: str) -> None:
    """On the device without memory, where an operation that meets a tensor of the CPU is an error, as it would be on a GPU."""
    part = learn.part_of(learn.Order(name=name, corpus=folder, out=folder, batch=2, frames=4))
    part.pace(1.0)  # where it has stages, the last one, which has every loss
    batch = part.draw(1, Ranks())
    part.to(torch.device("meta"))
    given = tuple(tensor.to("meta") for tensor in batch)
    if name == "avct/paper/transformer":
        given = part.targets(given)
    if name == "avct/compact/painter":
        terms, shown = part.loss(False, *given)
        del terms["against"]  # the judge's share is no tensor while it is not heard
        part.judge.requires_grad_(True)
        terms["judged"] = part.judged(*shown)
    elif name == "lipmemory/compact/renderer":
        terms, drawn = part.loss(*given)
        terms["judged"] = part.judged(drawn, given[0])
    elif name == "coherence/compact/generator":
        part.step = 1  # of both turns, that of runs
        given = tuple(tensor.to("meta") for tensor in part.draw(1, Ranks()))
        terms, drawn = part.loss(*given)
        terms["judged"] = part.judged(drawn, *given)
    else:
        terms = part.loss(*given)
    sum(terms.values()).backward()
    assert all(term.device.type == "meta" for term in terms.values())


class Stopped(Exception):
    """What stops a run between two steps."""


class Watched(Transformer):
    """The compact transformer (it has dropout), which remembers its losses and may be stopped."""

    def __init__(self, options: Options, stop: int = 0) -> None:
        super().__init__(options)
        self.stop, self.losses = stop, {}

    def pace(self, portion: float) -> None:
        if self.stop and self.step == self.stop:
            raise Stopped
        super().pace(portion)

    def update(self, batch: tuple[torch.Tensor, ...]) -> dict[str, float]:
        row = super().update(batch)
        self.losses[self.step] = row["loss"]
        return row


def test_a_stopped_run_goes_on_as_if_it_had_not_been(folder: Path) -> None:
    def part(out: str, stop: int = 0) -> Watched:
        return Watched(Options(cache=folder / "clips", out=folder / out, batch=2), stop)

    whole, broken, resumed = part("whole"), part("broken", stop=2), part("broken")
    fit(whole, Budget(steps=4))
    with pytest.raises(Stopped):
        fit(broken, Budget(steps=4), save_seconds=0.0)
    fit(resumed, Budget(steps=4))
    assert list(broken.losses) == [1, 2] and list(resumed.losses) == [3, 4]
    assert broken.losses | resumed.losses == pytest.approx(whole.losses, rel=1e-6)
    ours, theirs = (read(folder / out / "transformer.pt") for out in ("whole", "broken"))
    assert all(torch.allclose(value, theirs["model"][name], atol=1e-7) for name, value in ours["model"].items())


def test_an_order_that_cannot_be_is_refused_early(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(EngineError, match="paper painter") as caught:
        learn.part_named("avct", "paper", "painter")
    assert "avct/paper/fomm" in caught.value.next_step
    with pytest.raises(InputError) as refused:
        learn.prepare(learn.Order(name="avct/paper/fomm", corpus=tmp_path, out=tmp_path))
    assert refused.value.code == "input.no_corpus"
    shutil.copytree(folder / "clips", tmp_path / "clips")
    with pytest.raises(InputError) as missing:
        learn.train_as(learn.Order(name="avct/compact/painter", corpus=folder, out=tmp_path, steps=1), Ranks(), print)
    assert missing.value.code == "training.no_checkpoint"


@pytest.mark.parametrize(
    ("said", "code", "figures"),
    [("noise\n{\"part\": \"a\", \"figures\": {\"step\": 1}}", 0, {"a": {"step": 1}}), ("{\"part\": \"a\", \"figures\": {\"step\": 1}}", 1, {})],
    ids=["done", "failed later"],
)
def test_figures_count_only_where_every_process_ended_well(said: str, code: int, figures: dict[str, Any]) -> None:
    with subprocess.Popen([sys.executable, "-c", f"print({said!r}); raise SystemExit({code})"], stdout=subprocess.PIPE, text=True) as running:
        assert learn.listen(running, lambda row: None) == figures


def test_what_the_first_process_raised_is_raised_here() -> None:
    told = json.dumps({"error": InputError("no clips", code="input.no_corpus", next_step="Give clips.").to_dict()})
    with (
        subprocess.Popen([sys.executable, "-c", f"print({told!r}); raise SystemExit(1)"], stdout=subprocess.PIPE, text=True) as running,
        pytest.raises(DubwrightError, match="no clips") as caught,
    ):
        learn.listen(running, lambda row: None)
    assert (caught.value.code, caught.value.next_step) == ("input.no_corpus", "Give clips.")


def test_a_loss_that_is_no_number_ends_the_run(folder: Path) -> None:
    part = Watched(Options(cache=folder / "clips", out=folder / "nan", batch=1))
    with torch.no_grad():
        part.model.values.bias.fill_(float("nan"))
    with pytest.raises(EngineError) as caught:
        fit(part, Budget(steps=2))
    assert caught.value.code == "training.diverged" and not (folder / "nan" / "transformer.pt").exists()


@pytest.mark.parametrize(("config", "rates"), [(schedule.avct(), {0: 1, 5: 0.1, 20: 0.01, 30: 1e-3}), (schedule.fomm(), {59: 1, 60: 0.1, 90: 0.01})], ids=["avct", "fomm"])
def test_rates_fall_at_the_published_milestones(config: schedule.FommTraining, rates: dict[int, float]) -> None:
    items = 400 * config.repeats
    epochs = Epochs(items=items, batch=config.batch, epochs=config.epochs, rate=config.rate, milestones=config.milestones)
    assert epochs.steps == 100 * items // config.batch
    for epoch, share in rates.items():
        assert epochs.rate_at(-(-epoch * items // config.batch)) == pytest.approx(2e-4 * share)


def test_processes_share_every_epoch_without_overlap() -> None:
    dealt = [clip for step in range(6) for rank in range(2) for clip in Order(4, 3, 7).of(step, 1, rank, 2)]
    assert sorted(dealt) == sorted(list(range(4)) * 3)
    assert dealt[:4] != sorted(dealt[:4]) or dealt[4:8] != sorted(dealt[4:8])


def test_what_the_deformation_says_of_itself_is_its_slope() -> None:
    affine, bends = torch.eye(2, 3).expand(2, 2, 3) + 0.05 * torch.randn(2, 2, 3), 0.05 * torch.randn(2, 25)
    made, points = Deformation(affine.double(), bends.double()), (torch.rand(2, 6, 2) * 1.6 - 0.8).double()
    wanted = torch.autograd.functional.jacobian(made, points)  # [2, 6, 2, 2, 6, 2]
    for b in range(2):
        for n in range(6):
            assert torch.allclose(made.jacobian(points)[b, n], wanted[b, n, :, b, n], atol=1e-6)


def test_a_detector_that_moves_with_the_picture_pays_nothing() -> None:
    made = Deformation(torch.eye(2, 3)[None] + 0.05 * torch.randn(1, 2, 3), torch.zeros(1, 25))
    moved = Keypoints(torch.rand(1, 10, 2) - 0.5, torch.eye(2).expand(1, 10, 2, 2) + 0.1 * torch.randn(1, 10, 2, 2))
    right = Keypoints(made(moved.values), made.jacobian(moved.values) @ moved.jacobians)
    assert max(float(x) for x in equivariance(right, moved, made)) < 1e-5
    assert min(float(x) for x in equivariance(moved, moved, made)) > 1e-3


def test_vgg_is_loaded_by_name_from_either_form_or_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    state = Vgg19().state_dict() | {"classifier.0.weight": torch.zeros(2, 2)}
    save_file(state, tmp_path / "vgg.safetensors")
    torch.save(state, tmp_path / "vgg.pth")
    pictures = torch.rand(1, 3, 128, 128)
    for name in ("vgg.safetensors", "vgg.pth"):
        loss = Reconstruction(schedule.avct(), Vgg19.load(tmp_path / name))
        assert float(loss(pictures, pictures)) == 0 < float(loss(pictures.flip(-1), pictures))
        assert not any(p.requires_grad for p in loss.parameters())
    save_file({"features.0.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="does not hold VGG-19"):
        Vgg19.load(tmp_path / "other.safetensors")
    plain = Reconstruction(schedule.avct(), None)
    assert float(plain(pictures, pictures)) == 0 < float(plain(pictures.flip(-1), pictures))


def test_clips_are_seen_as_rendering_sees_portraits(folder: Path) -> None:
    clips = SquareClips(folder / "clips", "train", 256, spoken=True)
    assert len(clips) == 2 and clips.pictures(0, np.array([3, 9])).shape == (2, 256, 256, 3)
    poses = clips.poses(0)
    assert poses.shape == (75, 6) and np.abs(poses[:, :3]).max() < 0.5 and (np.abs(poses[:, 5] - 240) < 110).all()  # within the network's units
    assert clips.rows(0).shape == (75, 4, 41) and clips.phones(0)[20] == 0  # AA
    values = torch.rand(3, 6) * 2 - 1
    assert torch.allclose(from_units(in_units(values)), values, atol=1e-5)


def test_a_folder_of_ones_own_clips_is_split(tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / f"{number:02}.mp4").touch()
    (tmp_path / "notes.txt").touch()
    found = clips_of(tmp_path)
    assert [p.stem for p in found["validation"]] == ["09"] and len(found["train"]) == 11 and found["unseen"] == []
    (tmp_path / "unseen").mkdir()
    for name in ("face", "mouth", "landmarks", "wave"):
        (tmp_path / "unseen" / f"{name}.bin").touch()
    (tmp_path / "unseen" / "index.json").write_text("[]")
    assert Corpus(tmp_path, "unseen").face.shape[0] == 0


def test_a_launch_that_ends_without_a_result_says_what_the_log_says_first(tmp_path: Path) -> None:
    log = tmp_path / "torchrun.log"
    for text, told in (("Traceback (most recent call last):\n  x\nRuntimeError: address in use\nChildFailedError:\n", "RuntimeError: address in use"), ("\nKilled\n", "Killed"), ("", "its log is empty")):
        log.write_text(text)
        assert learn.cause(log) == told
