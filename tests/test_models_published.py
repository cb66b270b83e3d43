"""The scorer as published: parity under deterministic weights, its protocol against a plain loop, import, streaming, fewer products."""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from benchmarks import syncnet as bench
from infra.samples import Samples
from infra.settings import get_settings
from models import checkpoints
from models.imports import bring
from models.syncnet.published import cpu
from models.syncnet.published import scorer as at_work
from models.syncnet.published.features import cepstra, sound_windows, whole_samples, windows_in
from models.syncnet.published.network import PublishedSyncNet
from models.syncnet.published.protocol import distances_of, score_of
from models.syncnet.published.scorer import PublishedScorer, installed
from parity import fill, near, needs_vectors, vectors


@pytest.fixture(scope="module")
def network() -> PublishedSyncNet:
    torch.set_num_threads(1)
    made = fill(PublishedSyncNet(), "")
    assert isinstance(made, PublishedSyncNet)
    return made


@pytest.fixture(scope="module")
def scorer(network: PublishedSyncNet) -> PublishedScorer:
    return PublishedScorer(network, "deterministic")


@pytest.fixture(name="home")
def home_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("DUBWRIGHT_HOME", str(tmp_path / "home"))
    get_settings.cache_clear()
    at_work._load.cache_clear()
    yield tmp_path / "home"
    monkeypatch.undo()
    get_settings.cache_clear()
    at_work._load.cache_clear()


def clip(frames: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Faces uint8 [T, 224, 224, 3] that are noise in large grains, and a sound float32 that is noise."""
    random = np.random.default_rng(seed)
    small = torch.from_numpy(random.integers(0, 256, (frames, 3, 14, 14)).astype(np.float32))
    faces = F.interpolate(small, size=224, mode="bilinear").round().to(torch.uint8).permute(0, 2, 3, 1)
    return faces.numpy(), random.normal(0, 0.1, frames * 640).astype(np.float32)


def test_the_state_dict_has_the_published_entries(network: PublishedSyncNet) -> None:
    shapes = {"netcnnaud.8.weight": (384, 192, 3, 3), "netcnnaud.18.weight": (512, 256, 5, 4), "netcnnlip.0.weight": (96, 3, 5, 7, 7),
              "netcnnlip.4.weight": (256, 96, 1, 5, 5), "netcnnlip.18.weight": (512, 256, 1, 6, 6), "netfclip.3.weight": (1024, 512)}  # fmt: skip
    state = network.state_dict()
    assert len(state) == 102 and sum(p.numel() for p in network.parameters()) == 13_631_616
    assert {name: tuple(state[name].shape) for name in shapes} == shapes


@needs_vectors
@torch.no_grad()
def test_both_towers_are_the_published_ones(network: PublishedSyncNet, scorer: PublishedScorer, monkeypatch: pytest.MonkeyPatch) -> None:
    given = vectors("syncnet")
    lip = torch.from_numpy(given["lip"])
    near(network.see(lip.float().transpose(0, 1)[None]), given["lip_embedding"])
    near(network.hear(torch.from_numpy(given["audio"])), given["audio_embedding"])
    for fast in (scorer.fast, None):  # rearranged for this processor, and as on a GPU
        monkeypatch.setattr(scorer, "fast", fast)
        near(scorer.see(lip.permute(0, 2, 3, 1).contiguous().numpy()), given["lip_embedding"])
        near(scorer.heard(torch.from_numpy(given["audio"])), given["audio_embedding"])


@needs_vectors
def test_sound_features_are_the_published_ones() -> None:
    given = vectors("audio_features")
    near(cepstra(given["wav"]), given["syncnet_mfcc"])
    wave, count = given["wav"].astype(np.float32) / 32768, windows_in(1000, len(given["wav"]))
    assert np.array_equal(whole_samples(wave), given["wav"])
    expected = np.stack([given["syncnet_mfcc"][4 * i : 4 * i + 20].T for i in range(count)])[:, None]
    near(sound_windows(wave, 0, count), expected)
    near(sound_windows(wave, 17, 40), expected[17:40])  # from the middle on
    near(sound_windows(np.concatenate([np.ones(640, np.float32), wave]), 0, count, 640), expected)  # what lies before a clip is not heard


@needs_vectors
def test_the_measures_are_the_published_ones() -> None:
    given = vectors("syncnet_protocol")
    found = score_of(distances_of(given["video"], given["audio"]))
    near(found.distances, given["mean_distance"])
    assert found.offset == int(given["offset"])
    near(np.array([found.distance, found.confidence]), np.array([given["min_distance"], given["confidence"]]))


def test_video_that_is_its_sound_delayed_by_three_scores_three_and_ends_meet_zeros() -> None:
    audio = np.random.default_rng(0).normal(size=(60, 1024)).astype(np.float32)
    video = np.roll(audio, 3, axis=0)
    distances = distances_of(video, audio)
    found = score_of(distances)
    assert found.offset == 3 and found.confidence > 5 and found.scorable
    assert np.allclose(distances[0, :15], np.linalg.norm(video[0] + 1e-6), rtol=1e-5)
    padded = np.pad(audio, ((15, 15), (0, 0)))
    plain = np.stack([np.linalg.norm(video[i] - padded[i : i + 31] + 1e-6, axis=1) for i in range(60)])
    assert np.allclose(distances, plain, rtol=1e-5)
    rough = np.median(plain.mean(0)) - plain[:, plain.mean(0).argmin()]
    assert np.isclose(found.window_confidence[30], np.median(rough[26:35]), atol=1e-4)


def test_a_clip_that_streams_scores_as_one_that_is_held(network: PublishedSyncNet, scorer: PublishedScorer, monkeypatch: pytest.MonkeyPatch) -> None:
    faces, wave = clip(41)
    count = windows_in(41, len(wave))
    video = scorer.see(faces)
    whole = score_of(distances_of(video[:count], scorer.hear(wave, 0, count)))
    assert len(video) == 37 and count == 36 == len(whole.window_confidence)
    monkeypatch.setattr(at_work, "STRETCH", 8)
    sounds = Samples(np.float32, [np.ones(640, np.float32), wave])
    lane = at_work.Lane(scorer, sounds, 640)
    for face in faces:
        lane.add(face)
        assert len(lane.video) <= at_work.BATCH + 8 + 2 * 15 and len(lane.faces) < at_work.BATCH + 4
    streamed = lane.score()
    assert streamed.offset == whole.offset
    for name in ("distances", "window_confidence", "distance", "confidence"):
        np.testing.assert_allclose(getattr(streamed, name), getattr(whole, name), rtol=1e-4, atol=1e-4 * whole.distance)


def test_the_sound_ends_a_clip_and_short_ones_say_so(scorer: PublishedScorer) -> None:
    faces, wave = clip(12)
    assert len(scorer.score(faces, wave[: 9 * 640 + 639]).window_confidence) == 4
    for given in (scorer.score(faces[:5], wave), scorer.score(faces, wave[: 6 * 640 - 1]), scorer.score(faces[:0], wave)):
        assert not given.scorable and "shorter" in given.reason and np.isnan(given.distance)


def test_the_published_file_becomes_weights(home: Path, tmp_path: Path, network: PublishedSyncNet) -> None:
    state = {key: value for key, value in network.state_dict().items() if not key.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "syncnet_v2.model")
    assert not installed()
    (card,) = bring("syncnet", [tmp_path / "syncnet_v2.model"], licence="terms not stated; measuring only")
    assert installed() and card.engine == "syncnet" and card.licence_class == "research" and "align_corners" not in card.config
    assert card in checkpoints.cards() and checkpoints.place("syncnet", "published").is_relative_to(home)
    loaded = PublishedScorer.load()
    assert loaded.version == card.sha256
    assert all(torch.equal(value, network.state_dict()[key]) for key, value in loaded.network.state_dict().items())


# fewer products


def same(found: torch.Tensor, expected: torch.Tensor) -> None:
    """At most 1e-4 of the range apart: rounding, and kernels in sixteen bits."""
    assert found.shape == expected.shape
    assert float((found - expected).abs().max()) <= 1e-4 * float(expected.abs().max())


@pytest.mark.parametrize("integers", [True, False], ids=["integers", "floats"])
@torch.inference_mode()
def test_the_rearranged_towers_give_the_published_embeddings(network: PublishedSyncNet, integers: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not cpu.runs_here() or (integers and not cpu.integers_run()):
        pytest.skip("left out: this processor has no VNNI, or is no x86")
    monkeypatch.setattr(cpu, "integers_run", lambda: integers)
    fast = cpu.FastSyncNet(network)
    faces = torch.from_numpy(clip(10)[0])
    faces[3] = 255  # the largest sums that there are
    windows = faces.permute(3, 0, 1, 2).float().unfold(1, 5, 1).permute(1, 0, 4, 2, 3)
    same(fast.see(faces), network.see(windows))
    sound = torch.randn(7, 1, 13, 20) * 10
    same(fast.hear(sound), network.hear(sound))


@pytest.mark.parametrize(("batch", "height", "width"), [(1, 13, 13), (7, 11, 9), (20, 13, 13), (3, 4, 5), (2, 1, 1)])
@torch.inference_mode()
def test_tiles_of_many_windows_are_plain_convolutions(batch: int, height: int, width: int) -> None:
    conv = torch.nn.Conv2d(8, 16, 3, padding=1)
    feature = torch.randn(batch, 8, height, width).contiguous(memory_format=torch.channels_last)
    same(cpu.Tiled(conv.weight, conv.bias)(feature), conv(feature).relu())


@pytest.mark.parametrize(("height", "width"), [(54, 54), (10, 16)])
@torch.inference_mode()
def test_blocks_of_pixels_give_a_convolution_of_stride_two(height: int, width: int) -> None:
    conv = torch.nn.Conv2d(8, 16, 5, stride=2, padding=1)
    feature = torch.randn(3, 8, height, width).contiguous(memory_format=torch.channels_last)
    same(cpu.Halved(conv.weight, conv.bias)(feature), conv(feature))


def test_the_bench_reports_only_where_scores_are_the_same(network: PublishedSyncNet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bench.rows, "add", functools.partial(bench.rows.add, path=tmp_path / "results.csv"))
    told = bench.run(rounds=1, windows=6)
    assert set(told["figures"]) == {"cpu_seconds_ratio", "window_seconds", "published_window_seconds", "scores_apart"}
    assert 0 <= told["figures"]["scores_apart"] <= 1e-4
    monkeypatch.setattr(bench, "SAME", -1.0)
    with pytest.raises(RuntimeError, match="nothing is measured"):
        bench.run(rounds=1, windows=6)
