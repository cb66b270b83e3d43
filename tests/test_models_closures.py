"""Mouth closures: lips that close for p, b and m and not elsewhere, what is not known, and a real clip with its sound and with a late one."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from infra.errors import InputError
from models.quality.closures import on_screen, with_closures
from models.quality.watch import COLUMNS
from models.types import Cue, Phone, SyncScore
from tasks.closures import phones_of, told
from tasks.report import closures_words
from tasks.score import score_video
from tasks.speech import recorded
from tasks.values import load_score, save_score, score_tree

SCORE = SyncScore(0, 0.7, 0.4, np.zeros(31, np.float32), np.zeros(0, np.float32), scorer="s", extra={"seconds": 3.0})
SOUNDS = ("AA", "P", "AA", "B", "IY", "M", "AO", "T")
PHONES = [Phone(SOUNDS[at % 8], at * 0.2, at * 0.2 + 0.2) for at in range(40)]  # eight seconds, five frames each


def lips(gaps: list[float], width: float = 50.0) -> np.ndarray:
    """Rows of a face by the gaps of its lips in mouth widths; NaN where it is not seen."""
    rows = np.full((len(gaps), len(COLUMNS)), np.nan, np.float32)
    rows[:, COLUMNS.index("opening")] = np.array(gaps) * width
    rows[:, COLUMNS.index("width")] = np.where(np.isfinite(gaps), width, np.nan)
    return rows


def spoken(closed: str = "PBM") -> list[float]:
    """Gaps of a mouth that says PHONES and closes in the middle of these sounds."""
    return [0.004 if phone.symbol in closed and frame == 2 else 0.18 for phone in PHONES for frame in range(5)]


def test_lips_that_close_in_time_are_told_from_those_that_do_not() -> None:
    good = with_closures(SCORE, lips(spoken()), PHONES)
    assert len(good.closures) == 15 and good.extra["closed"] == 1.0 and good.extra["closed_elsewhere"] < 0.75 and good.extra["seconds"] == 3.0
    assert with_closures(SCORE, lips(spoken("PM")), PHONES).extra["closed"] == pytest.approx(2 / 3)
    late = with_closures(SCORE, lips([0.18] * 4 + spoken("P")[:-4]), PHONES)
    assert late.extra["closed"] < 0.4
    for gap in (0.0, 0.2):  # a mouth that stands still, closed or open
        still = with_closures(SCORE, lips([gap] * 200), PHONES)
        assert still.extra["closed"] == still.extra["closed_elsewhere"] == float(gap == 0)


def test_the_size_of_the_face_does_not_count_and_what_is_not_seen_is_left_out() -> None:
    one, other = (with_closures(SCORE, lips(spoken(), width), PHONES) for width in (8.0, 90.0))
    assert one.extra == other.extra and np.allclose([gap for *_, gap in one.closures], [gap for *_, gap in other.closures], atol=1e-5)
    hidden = spoken()
    hidden[:100] = [np.nan] * 100
    assert [at for _, at, _ in with_closures(SCORE, lips(hidden), PHONES).closures] == [at for _, at, _ in one.closures if at > 3.9]
    assert with_closures(SCORE, lips([np.nan] * 200), PHONES) is SCORE
    assert with_closures(SCORE, lips(spoken()), [phone for phone in PHONES if phone.symbol not in "PBM"]) is SCORE
    assert with_closures(SCORE, lips([]), PHONES) is SCORE


def test_no_lips_are_asked_to_close_for_who_is_not_seen() -> None:
    cues = (Cue(0, 2, "a"), Cue(2, 4, "b", off=True), Cue(4, 6, "c"), Cue(6, 7, "d", off=True))
    assert [phone for phone in PHONES if not (2 <= phone.start < 4 or 6 <= phone.start < 7)] == on_screen(PHONES, cues)


def test_closures_go_to_json_and_back_and_are_told(tmp_path: Path) -> None:
    score = with_closures(SCORE, lips(spoken("PM")), PHONES)
    save_score(tmp_path / "score.json", score)
    read = load_score(tmp_path / "score.json")
    assert len(read.closures) == 15 and read.closures[0][0] == "P" and read.extra["closed"] == pytest.approx(2 / 3, abs=1e-4)
    words = told(score_tree(score))
    assert "close at 10 of 15 of p, b and m" in words and "b at 0.60 s (0.18 mouth widths)" in words and told(score_tree(SCORE)) == ""
    assert closures_words(score_tree(score)).startswith("10 of 15; at other moments") and closures_words({}) == ""
    old = {name: value for name, value in json.loads((tmp_path / "score.json").read_text()).items() if name != "closures"}
    (tmp_path / "old.json").write_text(json.dumps(old))
    assert replace(load_score(tmp_path / "old.json"), distances=SCORE.distances).closures == ()


def test_a_real_clip_closes_for_its_own_sound_alone(shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = shared_data / "grid" / "s1" / "bgbh6p.mkv"
    phones, notes = phones_of(clip, "bin green by h six please", "en-GB")
    assert not notes and [phone.symbol for phone in phones if phone.symbol in "PBM"] == ["B", "B", "P"]
    score = score_video(clip, phones=phones)
    assert score.extra["closed"] == 1.0
    late = score_video(clip, phones=[Phone(phone.symbol, phone.start + 0.16, phone.end + 0.16) for phone in phones])
    assert late.extra["closed"] < 1.0 and late.offset == score.offset
    (tmp_path / "said.vtt").write_text("WEBVTT\n\n00:00.400 --> 00:01.300\nbin green by\n\n00:01.300 --> 00:02.200\nh six please\n\n00:02.800 --> 00:02.950\nbye\n")
    monkeypatch.setattr(recorded, "WHOLE", 1.0)  # as of a long video: each cue for itself
    timed, notes = phones_of(clip, str(tmp_path / "said.vtt"), "en-GB")
    ours, theirs = ([phone.start for phone in several if phone.symbol in "PBM"] for several in (phones, timed))
    assert len(theirs) == 3 and np.abs(np.array(ours) - theirs).max() < 0.12 and "nobody is heard at 2.80 s" in notes[0]


def test_words_without_a_language_or_for_a_long_video_are_refused(tmp_path: Path) -> None:
    from infra.media import write_wav

    write_wav(tmp_path / "long.wav", np.zeros(16_000 * 250, np.float32), 16_000)
    with pytest.raises(InputError, match="language of the transcript"):
        phones_of(tmp_path / "long.wav", "hello", "")
    with pytest.raises(InputError, match="serves up to 240 s of sound, and this is 250 s") as refused:
        phones_of(tmp_path / "long.wav", "hello", "en-GB")
    assert "WebVTT" in refused.value.next_step
    assert phones_of(tmp_path / "long.wav", "", "") == ([], [])
