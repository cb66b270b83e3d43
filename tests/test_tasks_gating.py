"""Limits of features and what they rest on: where good takes end, what is refused, what is told, and made-up takes that are judged."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any
from xml.dom import minidom

import numpy as np
import pytest

from benchmarks import gate as bench
from benchmarks.cpbd import cpbd
from infra.errors import DubwrightError, InputError
from models.quality.catalogue import FEATURES
from models.quality.features import silent_motion, spoken_motion
from models.syncnet.scorer import unscorable
from models.types import SyncScore
from tasks.calibrate import calibrate
from tasks.gate import Level, Thresholds, decide, faults_of, load_thresholds, save_thresholds
from tasks.gating.clips import Clip, halves, look_at
from tasks.gating.limits import limit_of, measured
from tasks.gating.reliability import predicted, reliability
from tasks.gating.spoilt import SHIFTS, shifted
from tasks.scored import draw_reliability
from tasks.values import load_score, save_score

LIMITS = {"silent_motion": 0.01, "spoken_motion": 0.008, "sharpness": -6.0, "seam_added": 2.0}
THRESHOLDS = Thresholds("s", (Level(1, 5.0, 3.0),), 0.05, limits=LIMITS)
FINE = {"silent_motion": 0.001, "spoken_motion": 0.03, "sharpness": -1.0, "seam_added": 0.0}
SCORE = SyncScore(
    0, 0.7, 0.4, np.full(31, 1.4, np.float32), np.full(71, 0.4, np.float32), ((0, 0.4),) * 3, scorer="s", extra={"seconds": 3.0, "prominence": 8.0}, features=FINE
)


def with_(**features: float) -> SyncScore:
    return dataclasses.replace(SCORE, features=FINE | features)


@pytest.mark.parametrize(
    ("features", "words"),
    [
        ({"silent_motion": 0.02}, "the mouth moves where nobody speaks: how fast the lips open and close in silence is 0.02 mouth widths a frame, more than 0.01"),
        ({"spoken_motion": 0.001}, "the mouth stands still where somebody speaks: how fast the lips open and close in speech is 0.001 mouth widths a frame, less than 0.008"),
        ({"sharpness": -9.5}, "the mouth is blurred beside the rest of the face: the fine detail of the mouth over that of eyes and cheeks is -9.5 dB, less than -6"),
        ({"seam_added": 4.0}, "an edge that the source does not have"),
    ],
)
def test_a_feature_beyond_its_limit_is_flagged_with_figure_and_limit(features: dict[str, float], words: str) -> None:
    assert decide(SCORE, THRESHOLDS).verdict == "pass"
    found = decide(with_(**features), THRESHOLDS)
    assert found.verdict == "flag" and len(found.reasons) == 2 and words in found.reasons[1]
    late = decide(dataclasses.replace(with_(**features), offset=6), THRESHOLDS)
    assert late.verdict == "fail" and words in late.reasons[-1]  # it is told, and makes nothing better


def test_what_is_not_known_of_a_feature_says_nothing() -> None:
    for features in ({}, dict.fromkeys(FINE, math.nan), {"likeness": 0.1}):
        assert decide(dataclasses.replace(SCORE, features=features), THRESHOLDS).verdict == "pass"
    for name, limit in LIMITS.items():  # at the limit is not beyond it
        assert decide(with_(**{name: limit}), THRESHOLDS).verdict == "pass"


def test_what_is_unscorable_never_passes_whatever_the_features_say() -> None:
    nothing = dataclasses.replace(unscorable("no face is seen", "s"), features=FINE)
    for score in (nothing, dataclasses.replace(nothing, scorable=True), dataclasses.replace(SCORE, extra={}), dataclasses.replace(SCORE, confidence=math.nan)):
        for thresholds in (THRESHOLDS, dataclasses.replace(THRESHOLDS, levels=(Level(1, -9.0, -9.0),), limits={})):
            assert decide(score, thresholds).verdict == "unscorable"


def test_limits_and_features_go_to_json_and_back(tmp_path: Path) -> None:
    made = dataclasses.replace(THRESHOLDS, reliability={"curves": {"1s": [-3.0, 1.0]}, "bins": [], "error": 0.1})
    save_thresholds(made, tmp_path / "t.json")
    assert Thresholds.from_dict(json.loads((tmp_path / "t.json").read_text())) == made
    old = {name: value for name, value in made.to_dict().items() if name not in ("limits", "reliability")}
    assert Thresholds.from_dict(old).limits == {}  # those that a ledger holds from before
    save_score(tmp_path / "score.json", with_(likeness=math.nan))
    read = load_score(tmp_path / "score.json").features
    assert math.isnan(read.pop("likeness")) and read == FINE


@pytest.mark.parametrize("limits", [{"sharpnes": 1.0}, {"sharpness": math.nan}, {"sharpness": "1"}, [1.0]])
def test_limits_that_are_none_are_refused(limits: Any) -> None:
    with pytest.raises(DubwrightError) as caught:
        Thresholds.from_dict(THRESHOLDS.to_dict() | {"limits": limits})
    assert caught.value.code == "gate.thresholds"


def test_a_limit_lies_between_the_good_and_the_faulty_or_where_the_good_end() -> None:
    good, bad = {"real": np.linspace(0, 1, 101).tolist()}, {"fault": np.linspace(3, 9, 101).tolist()}
    assert limit_of("seam", good, bad) == pytest.approx((0.99 + 3.06) / 2, abs=1e-4)
    assert limit_of("sharpness", {"real": [-v for v in good["real"]]}, {"fault": [-v for v in bad["fault"]]}) == pytest.approx(-(0.99 + 3.06) / 2, abs=1e-4)
    assert limit_of("seam", good, {"fault": [0.5, 4.0]}) == pytest.approx(0.99)  # they overlap: good ones are spared
    assert limit_of("seam", good | {"avct": [1.5] * 9}, bad) == pytest.approx((1.5 + 3.06) / 2, abs=1e-4)  # the kind that spreads furthest
    assert limit_of("seam", good, {}) == pytest.approx(0.99) and limit_of("seam", {}, bad) is None
    told = measured("seam", 2.0, good, bad)
    assert told["flagged_real"]["rate"] == 0 and told["caught_fault"]["rate"] == 1 and 0.9 < told["caught_fault"]["low"] < 1


def test_too_few_clips_are_refused_before_any_is_looked_at(tmp_path: Path) -> None:
    for number in range(60):
        (tmp_path / f"{number:02d}.mp4").touch()
    both = halves(tmp_path)
    assert len(both["set"]) == len(both["measure"]) == 30 and not set(both["set"]) & set(both["measure"])
    with pytest.raises(InputError, match=r"30 clips cannot show a false-pass rate of 5\.0%: at least 59") as caught:
        calibrate(tmp_path)
    assert caught.value.code == "calibrate.too_little"


def test_shipped_limits_name_features_and_how_often_they_are_wrong() -> None:
    shipped = load_thresholds()
    assert {"silent_motion", "spoken_motion", "sharpness", "flicker", "seam_added", "likeness"} <= shipped.limits.keys() <= FEATURES.keys()
    for name in shipped.limits:
        rates = shipped.measured["features"][name]
        assert rates["flagged_real"]["rate"] <= 0.1 and rates["flagged_real"]["low"] <= rates["flagged_real"]["rate"] <= rates["flagged_real"]["high"]
    assert 0 <= shipped.reliability["error"] < 0.15 and len(shipped.reliability["bins"]) >= 3
    drawn = minidom.parseString(draw_reliability(shipped))
    assert len(drawn.getElementsByTagName("circle")) == len(shipped.reliability["bins"])
    assert draw_reliability(THRESHOLDS) == ""


def test_reliability_tells_a_prediction_that_holds_from_one_that_does_not() -> None:
    random = np.random.default_rng(0)
    right, wrong = ([random.normal(mean, 1.0, 6).tolist() for _ in range(80)] for mean in (5.0, 3.0))
    told = reliability({"3s": (right, wrong)})
    assert told["error"] < 0.06 and predicted(told, 3.0, 4.0) == pytest.approx(0.5, abs=0.06)
    assert predicted(told, 9.0, 8.0) > 0.97 > 0.03 > predicted(told, 1.0, 0.0)
    shares = [row["share"] for row in told["bins"]]
    assert shares == sorted(shares) and all(row["share_low"] <= row["share"] <= row["share_high"] for row in told["bins"])
    halves_apart = reliability({"3s": ([[5.0 + clip % 2 * 4] * 3 for clip in range(40)], [[3.0 + clip % 2 * 4] * 3 for clip in range(40)])})
    assert halves_apart["error"] > 0.3  # what one half of the clips learns is wrong for the other
    assert reliability({"3s": ([[1.0]], [[-math.inf]])}) == {} and math.isnan(predicted({}, 3.0, 4.0))


def test_lips_in_silence_and_in_speech_are_told_apart_by_where_a_voice_is() -> None:
    spoken = np.zeros(100, bool)
    spoken[40:70] = True
    talking, breath = np.zeros(100), np.zeros(100)
    talking[40:70], breath[10:14] = 0.04, 0.1
    assert silent_motion(talking, spoken) == 0 and spoken_motion(talking, spoken) == pytest.approx(0.04, rel=0.2)
    assert silent_motion(breath, spoken) == 0  # a mouth that opens once for breath
    assert silent_motion(np.roll(talking, 40), spoken) == pytest.approx(0.04) and spoken_motion(np.roll(talking, 40), spoken) == 0
    assert math.isnan(silent_motion(talking, np.ones(100, bool))) and math.isnan(spoken_motion(talking, np.zeros(100, bool)))


def test_sound_is_moved_by_whole_frames_both_ways() -> None:
    wave = np.arange(16_000, dtype=np.float32)
    assert shifted(wave, 3)[1920] == 0 and shifted(wave, 3)[1921] == 1 and shifted(wave, -3)[0] == 1920
    assert all(len(shifted(wave, by)) == len(wave) for by in SHIFTS) and {abs(by) for by in SHIFTS} == set(range(3, 9))


def test_cpbd_falls_with_blur_and_is_none_without_edges() -> None:
    import cv2

    from scene_cases import portrait

    sharp = cv2.cvtColor(portrait("astronaut_collins.png", 512, 512), cv2.COLOR_RGB2GRAY)
    values = [cpbd(sharp if spread == 0 else cv2.GaussianBlur(sharp, (0, 0), spread)) for spread in (0, 0.7, 1.5, 3.0)]
    assert values == sorted(values, reverse=True) and values[0] > 0.2 and values[-1] < 0.05
    assert math.isnan(cpbd(np.full((128, 128), 90, np.uint8)))


def test_the_mix_is_judged_as_it_was_made(shared_data: Path) -> None:
    """One held-out clip of a person that nobody trained on, through the real tracker, with every fault."""
    path = next(path for path in halves(shared_data / "grid")["measure"] if path.parent.name == "s32")
    clip = look_at(path)
    other = look_at(halves(shared_data / "grid")["measure"][0], ())
    assert isinstance(clip, Clip) and isinstance(other, Clip)
    told = bench.measure([clip, other], {"avct": [clip]}, load_thresholds())
    listed = (Path(__file__).parent.parent / "benchmarks" / "README.md").read_text()
    assert all(f"`{name}`" in listed for name in told["figures"])
    assert {"good", "shifted", "other speech", "frozen mouth", "blurred mouth"} <= told["kinds"].keys()
    assert told["kinds"]["good"]["rate"] == 1 and told["kinds"]["frozen mouth"]["rate"] == told["kinds"]["blurred mouth"]["rate"] == 0
    assert told["kinds"]["shifted"]["rate"] <= 0.1 and "the mouth is more blurred than in the source" in told["reasons"]["blurred mouth"]
    features = clip.spoilt["frozen mouth"].score(clip.heard, clip.source).features
    assert faults_of(features, {"spoken_motion": load_thresholds().limits["spoken_motion"]})
