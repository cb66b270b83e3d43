"""The gate and its calibration: what passes, what never may, and thresholds that keep the rate they state."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra.errors import DubwrightError, InputError
from models import checkpoints
from models.syncnet.scorer import unscorable
from models.types import SyncScore
from tasks.calibrate import Embedded, calibrate, describe, fewest_clips
from tasks.gate import Level, Thresholds, decide, load_thresholds, save_thresholds, weak_stretches

THRESHOLDS = Thresholds(
    "s", (Level(1, 5.0, 3.0), Level(3, 2.0, 1.0)), 0.05, stretch=1.0
)  # prominence is ten times confidence here


def score(offset: int = 0, confidence: float = 0.4, seconds: float = 4.0, **rest: Any) -> SyncScore:
    each = rest.pop("each", [confidence] * round(seconds))
    spread = np.full(31, 1.4, np.float32)
    base = SyncScore(
        offset,
        1.0,
        confidence,
        spread,
        np.full(90, confidence, np.float32),
        tuple((offset, v) for v in each),
        True,
        "",
        "s",
        {"seconds": seconds, "prominence": confidence * 10},
    )
    return dataclasses.replace(base, **rest)


@pytest.mark.parametrize(
    ("made", "verdict", "words"),
    [
        (score(), "pass", "in sync within 1 frame"),
        (score(1), "pass", "in sync"),
        (score(-1, 0.2), "pass", "confidence 0.20"),
        (score(0, 0.15), "flag", "under the 2.0 that passes"),
        (score(0, 0.05), "fail", "do not agree"),
        (score(2), "fail", "the sound leads the lips by 2 frames"),
        (score(-7), "fail", "the lips lead the sound by 7 frames"),
        (score(2, 0.15), "flag", "by 2 frames"),
        (score(9, 0.05), "fail", "by 9 frames"),
        (score(0, 0.4, 1.4), "flag", "5.0"),
        (score(0, 0.5, 1.5), "pass", "in sync"),
        (score(0, 0.4, 2.6), "pass", "in sync"),
        (score(0, 0.4, 0.9), "flag", "5.0"),
    ],
)
def test_verdicts_and_their_reasons(made: SyncScore, verdict: str, words: str) -> None:
    found = decide(made, THRESHOLDS)
    assert found.verdict == verdict and words in " ".join(found.reasons)
    assert found.passed == (verdict == "pass") and found.thresholds is THRESHOLDS


def test_a_stretch_that_disagrees_is_flagged_by_its_seconds() -> None:
    each = [0.6] * 4 + [0.01] * 4 + [0.6] * 4
    thresholds = dataclasses.replace(THRESHOLDS, stretch=0.5)
    found = decide(score(0, 0.4, 12.0, each=each), thresholds)
    assert found.verdict == "flag" and "from second 4 to 8" in " ".join(found.reasons)
    pause = [0.6] * 4 + [math.nan] * 4 + [0.6] * 4
    assert decide(score(0, 0.4, 12.0, each=pause), thresholds).verdict == "pass"
    assert weak_stretches(score(0, 0.4, 12.0, each=each), 0.5, 1) == [(4, 8)]
    assert weak_stretches(score(0, 0.4, 3.0, each=[0.0] * 3), 9.0) == []  # the whole is judged by its level


def test_thresholds_in_a_videos_own_confidence() -> None:
    level, stretch = THRESHOLDS.in_confidence(0.4, {"prominence": 4.0, "seconds": 12.0})
    assert (level.passes, level.fails, stretch) == pytest.approx((0.2, 0.1, 0.2))
    with pytest.raises(DubwrightError):
        THRESHOLDS.in_confidence(0.4, {})


def test_what_is_unknown_never_passes() -> None:
    """P12: whatever the thresholds, and in every guise of not knowing."""
    lax = Thresholds("s", (Level(1, -9.0, -9.0),), 0.05, largest_offset=99)
    nothing = unscorable("no face is seen", "s")
    guises = [
        nothing,
        dataclasses.replace(nothing, reason=""),
        dataclasses.replace(nothing, confidence=9.0, distance=0.0),
        dataclasses.replace(nothing, scorable=True),
        score(confidence=math.nan, each=[0.4] * 4),
        score(confidence=math.inf, each=[0.4] * 4),
        score(distance=math.nan),
        score(extra={}),
        score(extra={"seconds": 4.0, "prominence": math.nan}),
    ]
    for guise in guises:
        for thresholds in (lax, THRESHOLDS):
            found = decide(guise, thresholds)
            assert found.verdict == "unscorable" and not found.passed and found.reasons[0]


def test_thresholds_of_another_scorer_are_refused() -> None:
    with pytest.raises(DubwrightError, match="thresholds are of other") as caught:
        decide(score(), dataclasses.replace(THRESHOLDS, scorer="other"))
    assert caught.value.code == "gate.thresholds"


def test_thresholds_go_to_json_and_back(tmp_path: Path) -> None:
    save_thresholds(THRESHOLDS, tmp_path / "deep" / "t.json")
    assert Thresholds.from_dict(json.loads((tmp_path / "deep" / "t.json").read_text())) == THRESHOLDS


@pytest.mark.parametrize(
    "broken",
    [{}, {"levels": []}, {"levels": [{"seconds": 1}]}, {"levels": [{"seconds": 1, "passes": math.nan, "fails": 0}]}, {"levels": [{"seconds": 1, "passes": "0.1", "fails": 0}]}, {"other": 1}],
)  # fmt: skip
def test_malformed_thresholds_are_refused(broken: dict[str, Any]) -> None:
    values = {} if not broken else THRESHOLDS.to_dict() | broken
    with pytest.raises(DubwrightError) as caught:
        Thresholds.from_dict(values)
    assert caught.value.code == "gate.thresholds"


def test_shipped_thresholds_belong_to_the_shipped_scorer() -> None:
    shipped = load_thresholds()
    assert shipped.scorer == checkpoints.sha256("syncnet", "compact")
    assert [level.seconds for level in shipped.levels] == sorted(level.seconds for level in shipped.levels)
    for level in shipped.levels:
        assert 0 <= level.fails <= level.passes < 20
    assert shipped.stretch > 0
    for rates in (shipped.measured[f"{level.seconds:.0f}s"] for level in shipped.levels):
        for kind in ("false_pass_shifted", "false_pass_mismatched"):
            assert (
                rates[kind]["rate"] <= shipped.false_pass_rate
                and rates[kind]["low"] <= rates[kind]["rate"] <= rates[kind]["high"]
            )
    with pytest.raises(DubwrightError):
        load_thresholds("none")


def clips_of(count: int, noise: float = 0.6, windows: int = 71) -> list[Embedded]:
    """Clips whose sound is their picture's embedding, drifting like speech does, plus noise."""
    random = np.random.default_rng(0)

    def unit(values: np.ndarray) -> np.ndarray:
        return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)

    made = []
    for number in range(count):
        steps = random.normal(size=(windows + 8, 24))
        flow = np.stack([steps[i : i + 8].sum(0) for i in range(windows)])
        video, audio = (unit(flow + noise * 3 * random.normal(size=flow.shape)) for _ in range(2))
        made.append(Embedded("unseen" if number % 4 else "validation", f"s{number % 5}", f"c{number}", video, audio))
    return made


class Version:
    """Stands where a scorer stands in calibrate once clips are embedded: all that it is asked for is its version."""

    version = "s"


def calibrated(clips: list[Embedded], rate: float) -> Thresholds:
    return calibrate(Path("unused"), false_pass_rate=rate, scorer=Version(), clips=clips)  # type: ignore[arg-type]


def test_calibration_keeps_the_rate_it_states() -> None:
    clips = clips_of(120)
    found = {rate: calibrated(clips, rate) for rate in (0.2, 0.05)}
    assert [level.seconds for level in found[0.05].levels] == [1, 2, 3, 6]
    for rate, thresholds in found.items():
        for rates in (thresholds.measured[f"{level.seconds:.0f}s"] for level in thresholds.levels):
            assert max(rates["false_pass_shifted"]["rate"], rates["false_pass_mismatched"]["rate"]) <= rate
            assert rates["in_sync_pass"]["rate"] > 0.5
    for strict, lax in zip(found[0.05].levels, found[0.2].levels, strict=True):
        assert strict.passes >= lax.passes and strict.fails <= strict.passes
    assert calibrated(clips[:20], 0.2) == calibrated(clips_of(20), 0.2)
    assert (
        found[0.05].measured["stretch"]["flagged_half_moved"]["rate"]
        > 0.8
        > 0.2
        > found[0.05].measured["stretch"]["flagged_in_sync"]["rate"]
    )
    lines = describe(found[0.05])
    assert "stated false-pass rate 5.0%" in lines[0] and any("95 %" in line for line in lines)


def test_calibration_refuses_too_little_data() -> None:
    assert (fewest_clips(0.05), fewest_clips(0.01)) == (59, 299)
    with pytest.raises(InputError, match="at least 59") as caught:
        calibrated(clips_of(58), 0.05)
    assert caught.value.code == "calibrate.too_little" and caught.value.next_step
    assert [level.seconds for level in calibrated(clips_of(60), 0.05).levels] == [1, 2, 3]  # 30 joined pairs are too few for 6 s
    for rate in (0, 1, -0.1):
        with pytest.raises(ValueError, match="false-pass rate"):
            calibrated(clips_of(60), rate)


def test_sound_that_has_nothing_to_do_with_the_picture_does_not_pass() -> None:
    clips = clips_of(70)
    wrong = [dataclasses.replace(clip, audio=other.audio) for clip, other in zip(clips, clips[1:] + clips[:1], strict=True)]
    rates = calibrated(wrong, 0.05).measured["3s"]
    assert rates["in_sync_pass"]["rate"] < 0.15
