"""A small honest sample of the benchmarks, and the list of their figures held to what they print."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import avct, desk, engine, lipmemory, memory, rows, speed, startup, stretch
from models.avct.keypoints import from_landmarks, mouth_opening
from models.corpus import clips_of, read_clip
from models.lipmemory.engine import LipMemoryEngine, closed_frame, tracked
from models.types import Speech

LISTED = set(re.findall(r"`(\w+)`", (Path(__file__).parent.parent / "benchmarks" / "README.md").read_text()))


@pytest.fixture(autouse=True)
def no_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test's figures are no record."""
    monkeypatch.setattr(rows, "add", lambda measured: None)


def listed(tree: dict[str, Any]) -> dict[str, float]:
    assert set(tree["figures"]) <= LISTED
    return tree["figures"]


def test_memory_does_not_grow_with_length() -> None:
    assert listed(memory.run(4.0, 16.0))["memory_ratio_long"] < 1.1


def test_speed_and_startup_print_what_is_listed() -> None:
    assert listed(speed.run(1))["speed_all"] > 0
    assert listed(startup.run(1))["startup_help_seconds"] > 0


def test_the_desk_prints_what_is_listed() -> None:
    found = listed(desk.run(100, 2))
    assert len(found) == 14 and found["desk_take_p95_ms"] > 0 and found["desk_title_clock_p95_ms"] > 0


def test_speech_is_stretched_by_the_way_that_changes_it_least() -> None:
    found = listed(stretch.run(1))
    assert found["stretch_atempo_mel_db"] < min(found["stretch_again_mel_db"], found["stretch_vocoder_mel_db"])
    assert found["stretch_atempo_semitones"] < 0.1


def test_the_engine_prints_what_is_listed_and_paper_is_quicker_than_the_published_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUBWRIGHT_THREADS", "1")
    found = listed(engine.run(rounds=1, frames=2, short=2.0, long=4.0, sample=2))
    assert found["render_fps"] > 0 and found["render_apart"] < 1e-3
    assert 0 < found["cpu_seconds_ratio"] < 1  # of two frames, which share little
    assert found["memory_ratio_long"] < 1.1 and found["memory_peak_published_mib"] > 0


def test_the_renderer_beats_holding_a_frame_on_faces_never_seen(shared_data: Path) -> None:
    found = avct.unseen_gains(shared_data / "grid")
    assert found["unseen_psnr_gain_db"] > 2.5 and found["unseen_mouth_psnr_gain_db"] > 3.5


def test_lips_follow_speech_on_held_out_clips(shared_data: Path) -> None:
    found = [avct.own_portrait(path) for path in clips_of(shared_data / "grid")["validation"][20:100:40]]
    assert np.mean([row["lmd"] for row in found]) < 0.75 * np.mean([row["held_lmd"] for row in found])
    assert np.mean([row["mouth_psnr_gain_db"] for row in found]) > 0.5
    assert all(abs(row["offset"]) <= 1 for row in found)


def test_silence_stills_the_mouth(shared_data: Path) -> None:
    found = avct.silence_row(clips_of(shared_data / "grid")["validation"][5])
    assert found["in_silence"] < 0.2 * found["in_speech"]


def test_another_persons_portrait_speaks_in_sync(shared_data: Path) -> None:
    path = clips_of(shared_data / "grid")["validation"][33]
    name, face = next(iter(avct.others(shared_data / "grid").items()))
    found = avct.one_shot_row(name, face, path)
    assert abs(found["offset"]) <= 1 and found["identity_psnr_db"] > 38


def test_redrawn_lips_beat_holding_a_frame(shared_data: Path) -> None:
    found = listed(lipmemory.evaluate(shared_data / "grid", clips=2, others=1))
    assert found["psnr_gain_db"] > 2 and found["mouth_psnr_gain_db"] > 1.5
    assert found["ssim"] > 0.9


def test_no_sound_closes_the_lips_of_a_face_that_speaks(shared_data: Path) -> None:
    frames, wave = read_clip(clips_of(shared_data / "grid")["validation"][5])
    marks, engine = avct.track(frames), LipMemoryEngine.load()
    rest = closed_frame(marks)
    reference = engine.reference(frames[rest], marks[rest])
    still = Speech(np.zeros(len(wave), np.float32), (), np.zeros(len(wave) // 160, np.float32))
    made = list(engine.frames(tracked(frames, marks), reference, still, len(frames)))
    before, after = (mouth_opening(from_landmarks(m)[0]) for m in (marks, avct.track(np.stack(made))))
    assert after.std() < 0.25 * before.std() and after.max() < 0.5 * before.max()
