"""The scorer: its sign and protocol, what it finds on people it never saw, and that it streams and repeats itself."""

import json
import tracemalloc
import weakref
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from models import checkpoints
from models.corpus import FACE_SIZE, MOUTH_SIZE, SPLITS, Clip, read_clip
from models.syncnet.conditions import Condition, babble, pink, with_noise, written_again
from models.syncnet.evaluate import Pair, evaluate, pairs
from models.syncnet.network import MELS, SyncConfig, SyncNetwork, log_mels
from models.syncnet.protocol import BLOCK, REACH, Curve, auc, certainty, curve_of, figures_of, margin
from models.syncnet.scorer import CHUNK, SyncScorer, score_of
from models.syncnet.train import RUN, Scorer, Windows, contrast, offsets_of_seconds
from models.training.loop import Budget, fit
from models.training.part import Options

FRAME = 640  # samples
STEPS = (-15, -11, -6, -3, 0, 2, 5, 9, 14)  # frames that the sound is moved by


def unit_vectors(count: int, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=(count, 32)).astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def moved(wave: np.ndarray, frames: int) -> np.ndarray:
    """The sound `frames` later (earlier where negative), silence in its place, of the same length."""
    step = frames * FRAME
    return np.pad(wave, (max(step, 0), max(-step, 0)))[max(-step, 0) :][: len(wave)]


@pytest.fixture(scope="module")
def scorer() -> SyncScorer:
    torch.set_num_threads(1)
    return SyncScorer.load("compact")


@pytest.fixture(scope="module")
def unseen() -> list[Pair]:
    """Real clips of people the scorer never saw, one each, but two of s2."""
    from conftest import shared_data

    found: dict[str, list[Pair]] = {}
    for pair in pairs(shared_data() / "grid", ("unseen",), workers=1):
        found.setdefault(pair.speaker, []).append(pair)
    return [pair for clips in found.values() for pair in clips[:2]]


@pytest.mark.parametrize("late", [-15, -4, 0, 3, 15])
def test_a_positive_offset_means_that_the_audio_leads(late: int) -> None:
    """Video that is its audio delayed by 3 frames scores +3 (SEEDS.md 5.3)."""
    audio = unit_vectors(80)
    video = np.roll(audio, late, axis=0)
    assert curve_of(video, audio).offset == late


def test_windows_without_a_partner_are_left_out_not_compared_with_zeros() -> None:
    curve = curve_of(unit_vectors(40), unit_vectors(40))
    assert np.isnan(curve.distances).sum() == 2 * sum(range(1, REACH + 1))
    assert curve.distances[0, REACH] == pytest.approx(0, abs=1e-4)
    zeros = np.linalg.norm(unit_vectors(40)[0])
    assert not np.isclose(curve.distances[~np.isnan(curve.distances)], zeros, atol=1e-6).any()


def test_an_offset_that_few_windows_reach_is_no_candidate() -> None:
    video, audio = unit_vectors(21), unit_vectors(21, 1)
    audio[15:] = video[:6]  # six windows agree perfectly 15 frames away: too few to believe
    curve = curve_of(video, audio)
    assert np.isnan(curve.candidates[-1]) and np.isfinite(curve.mean[-1])
    assert curve.offset != -15


def test_certainty_is_a_log_probability_and_auc_orders() -> None:
    right, wrong = curve_of(unit_vectors(71), unit_vectors(71)), curve_of(unit_vectors(71), unit_vectors(71, 1))
    for curve in (right, wrong):
        assert np.exp(certainty(curve.distances, 12.0)).sum() == pytest.approx(1)
    assert auc([right], margin) == 1.0
    assert auc([right], lambda d: -margin(d)) == 0.0
    assert auc([right], lambda _: np.zeros(31)) == 0.5
    assert figures_of([right], 12.0) == {"offset_within_1": 1.0, "auc_1s": 1.0, "auc_1s_margin": 1.0}


def test_mels_place_a_tone_ignore_gain_and_do_not_depend_on_chunks() -> None:
    times = np.arange(40 * 16_000) / 16_000
    tone = (0.1 * np.sin(2 * np.pi * 1000 * times)).astype(np.float32)
    rows = log_mels(tone, 4000)
    assert rows.shape == (4000, MELS) and np.isfinite(rows).all()
    low, high = (2595 * np.log10(1 + f / 700) for f in (80, 7600))
    expected = (2595 * np.log10(1 + 1000 / 700) - low) / (high - low) * (MELS + 1) - 1
    assert abs(rows[2000].argmax() - expected) <= 1
    np.testing.assert_allclose(log_mels(tone * 0.03, 4000), rows, atol=1e-2)
    np.testing.assert_allclose(rows[2990:3010], rows[1990:2010], atol=1e-3)  # on both sides of a chunk's end
    assert log_mels(np.zeros(0, np.float32), 0).shape == (0, MELS)
    assert np.isfinite(log_mels(np.zeros(FRAME, np.float32), 8)).all()


def test_the_offset_of_people_never_seen_is_found_wherever_the_sound_is_moved(scorer: SyncScorer, unseen: list[Pair]) -> None:
    """P12, a sample: the sound moved by frames from -15 to +15."""
    found = []
    for pair in unseen:
        video = scorer.see(pair.mouths)
        found += [(pair.speaker, step, scorer.score_embeddings(video, moved(pair.wave, step)).offset + step) for step in STEPS]
    missed = [row for row in found if abs(row[2]) > 1]
    assert len(missed) <= 0.05 * len(found), missed


def test_figures_on_people_never_seen(scorer: SyncScorer, unseen: list[Pair]) -> None:
    figures = figures_of([scorer.curve(pair.mouths, pair.wave) for pair in unseen], scorer.network.temperature)
    assert figures["offset_within_1"] >= 0.95
    assert figures["auc_1s"] >= 0.95


def test_a_score_repeats_itself_and_chunks_do_not_show(scorer: SyncScorer, unseen: list[Pair]) -> None:
    long = np.concatenate([pair.mouths for pair in unseen[:3]])
    first, again = scorer.see(long), scorer.see(iter(long))
    np.testing.assert_array_equal(first, again)
    assert len(first) == len(long) - 4
    np.testing.assert_allclose(scorer.see(long[CHUNK - 20 : CHUNK + 20]), first[CHUNK - 20 : CHUNK + 16], atol=1e-4)
    one, two = (scorer.score(unseen[0].mouths, unseen[0].wave) for _ in range(2))
    assert (one.offset, one.distance, one.confidence, one.extra) == (two.offset, two.distance, two.confidence, two.extra)


def test_pictures_are_let_go_as_they_stream(scorer: SyncScorer) -> None:
    alive: weakref.WeakValueDictionary[int, np.ndarray] = weakref.WeakValueDictionary()
    most = 0

    def frames() -> Iterator[np.ndarray]:
        nonlocal most
        for number in range(6 * CHUNK):
            frame = np.full((MOUTH_SIZE, MOUTH_SIZE), number % 251, np.uint8)
            alive[number] = frame
            most = max(most, len(alive))
            yield frame

    assert scorer.see(frames()).shape == (6 * CHUNK - 4, SyncConfig().embedding)
    assert most <= CHUNK + 8


def test_the_score_of_half_an_hour_takes_no_copies_of_its_distances() -> None:
    distances = np.random.default_rng(0).uniform(0.5, 1.5, (45_000, 2 * REACH + 1)).astype(np.float32)
    distances[BLOCK - 50 : BLOCK + 70] = np.nan
    distances[:, 0] = np.nan
    curve = Curve(distances)
    assert np.array_equal(curve.mean[1:], np.nanmean(distances[:, 1:], axis=0, dtype=np.float64).astype(np.float32)) and np.isnan(curve.mean[0])
    tracemalloc.start()
    score = score_of(curve, "", 10.0)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert score.scorable and len(score.seconds) == 1800
    assert most < distances.nbytes / 2


def noise(seconds: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    frames = round(seconds * 25)
    wave = random.normal(0, 0.1, frames * FRAME).astype(np.float32)
    return random.integers(0, 255, (frames, MOUTH_SIZE, MOUTH_SIZE), np.uint8), wave


def test_what_cannot_be_scored_says_why(scorer: SyncScorer) -> None:
    mouths, wave = noise(2)
    frames = np.arange(50)
    cases = {
        "shorter than a second": scorer.score(mouths[:24], wave[: 24 * FRAME]),
        "face": scorer.score(mouths, wave, present=frames < 20),
        "voice": scorer.score(mouths, wave, present=frames < 26, spoken=frames > 48),
    }
    cases["a second"] = scorer.score(mouths, wave[: 15 * FRAME])
    for word, score in cases.items():
        assert not score.scorable and word in score.reason and score.scorer == scorer.version
        assert np.isnan([score.distance, score.confidence]).all()
    assert scorer.score(mouths, wave).scorable


def test_marked_frames_leave_the_score_and_their_seconds(scorer: SyncScorer) -> None:
    mouths, wave = noise(5)
    present = np.ones(125, bool)
    present[50:75] = False
    score = scorer.score(mouths, wave, present=present)
    assert np.isnan(score.window_confidence[46:75]).all() and np.isfinite(score.window_confidence[:46]).all()
    assert [np.isnan(value) for _, value in score.seconds] == [False, False, True, False, False]
    assert score.extra["seconds"] == pytest.approx((121 - 29 + 4) / 25)
    assert np.isfinite(score.distances).all() and 0 <= score.extra["in_sync"] <= 1


def test_shipped_weights_say_whose_they_are() -> None:
    card = checkpoints.card("syncnet", "compact")
    assert "one-speaker" in card.data and "GRID" in card.attribution and card.licence_class == "open"
    with pytest.raises(ValueError, match="preset"):
        SyncScorer.load("paper")


def test_the_seconds_term_wants_the_diagonal() -> None:
    right = torch.eye(RUN)[None] * 10
    assert offsets_of_seconds(right) < 0.01 < 1 < offsets_of_seconds(torch.roll(right, 5, 2))


def small_cache(folder: Path, clips: int = 3, frames: int = 60) -> Path:
    """A cache in the form of models/corpus.py, of noise."""
    random = np.random.default_rng(0)
    for split in SPLITS:
        (folder / split).mkdir()
        for name, shape in (("face", (0,)), ("mouth", (clips * frames, MOUTH_SIZE, MOUTH_SIZE))):
            random.integers(0, 255, shape, np.uint8).tofile(folder / split / f"{name}.bin")
        with (folder / split / "face.bin").open("wb") as sparse:
            sparse.truncate(clips * frames * FACE_SIZE * FACE_SIZE * 3)
        with (folder / split / "landmarks.bin").open("wb") as sparse:
            sparse.truncate(clips * frames * 478 * 3 * 4)
        random.integers(-9000, 9000, clips * frames * FRAME, np.int16).tofile(folder / split / "wave.bin")
        rows = [asdict(Clip(f"c{i}", "s9", i * frames, frames, i * frames * FRAME, frames * FRAME)) for i in range(clips)]
        (folder / split / "index.json").write_text(json.dumps(rows))
    return folder


def test_training_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    cache = small_cache(tmp_path / "cache")
    options = Options(cache=cache, out=tmp_path / "out", batch=2)
    first, again = (fit(Scorer(options), Budget(seconds=seconds)) for seconds in (1.0, 2.0))
    assert 0 < first["step"] < again["step"]
    state = torch.load(tmp_path / "out" / "syncnet.pt", weights_only=True)
    SyncNetwork(SyncConfig()).load_state_dict(state["average"])
    assert set(again["unseen"]) == {"offset_within_1", "auc_1s", "auc_1s_margin"}


def test_a_step_of_training_lowers_the_loss(tmp_path: Path) -> None:
    from models.corpus import Corpus

    torch.manual_seed(0)
    data = Windows(Corpus(small_cache(tmp_path), "train"), 0)
    seen, heard = data.batch(2)
    assert seen.shape == (2 * RUN, 5, 64, 64) and heard.shape == (2 * RUN, 20, MELS)
    assert torch.isfinite(seen).all() and torch.isfinite(heard).all()
    network = SyncNetwork(SyncConfig())
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    losses = []
    for _ in range(4):
        loss = contrast(network, seen, heard)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("decibels", [20.0, 10.0])
def test_noise_is_as_loud_as_stated_and_pink(decibels: float) -> None:
    wave = np.random.default_rng(1).normal(0, 0.05, 48_000).astype(np.float32)
    noise = pink(len(wave), seed=3)
    added = with_noise(wave, noise, decibels) - wave
    assert 10 * np.log10(np.mean(wave**2) / np.mean(added**2)) == pytest.approx(decibels, abs=0.01)
    power = np.abs(np.fft.rfft(added)) ** 2
    octaves = [power[first : 2 * first].sum() for first in (600, 1_200, 2_400, 4_800, 9_600)]  # bins a third of a hertz apart
    assert max(octaves) < 1.3 * min(octaves)


def test_voices_in_a_babble_are_equally_loud_and_of_their_own_beginnings() -> None:
    waves = [np.sin(np.arange(16_000) * step).astype(np.float32) * level for step, level in ((0.1, 0.01), (0.25, 0.9))]
    spectrum = np.abs(np.fft.rfft(babble(waves, 16_000, seed=1)))
    quiet, loud = (spectrum[round(step * 16_000 / 2 / np.pi) - 3 :][:7].max() for step in (0.1, 0.25))
    assert 0.7 < quiet / loud < 1.4


def test_a_clip_written_again_keeps_its_frames_and_its_sound_and_has_the_size_that_was_asked(tmp_path: Path) -> None:
    from conftest import shared_data

    path = shared_data() / "grid" / "s2" / "bbws7n.mpg"
    frames, wave = read_clip(path)
    made, sound = read_clip(written_again(path, Condition("small", crf=35, size=0.5, turned=20.0), tmp_path))
    assert made.shape == (len(frames), 144, 180, 3)
    lag = np.argmax(np.correlate(sound[4_000:44_000].astype(float), wave[5_000:40_000].astype(float))) - 1_000
    assert abs(lag) <= 1  # an AAC generation lies between, no shift


def test_evaluation_gives_the_figures_by_name(tmp_path: Path) -> None:
    result = evaluate(small_cache(tmp_path))
    assert {"offset_within_1_worst", "auc_1s_worst", "auc_1s_noise_10db", "auc_1s_babble_10db"} <= set(result["figures"])
    assert "auc_1s_crf_35" not in result["figures"]  # a cache has no pictures to encode again
    assert {"offset_within_1", "auc_1s", "offset_within_1_s1", "auc_1s_s1", "clips", "clips_s1"} <= set(result["figures"])
    assert len(result["clips"]) == 6
    json.dumps(result)
    with pytest.raises(ValueError, match="other than s1"):
        (tmp_path / "empty").mkdir()
        evaluate(tmp_path / "empty")
