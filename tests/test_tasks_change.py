"""One cue of a script changed: only its windows are rendered again, and the video is, to the last byte, that of a whole render."""

import os
from pathlib import Path

import numpy as np

from benchmarks import cue_change
from infra.differences import changes
from infra.media import resampled
from models.avct.features import spoken_rows
from models.lipmemory.engine import heard
from models.types import SAMPLE_RATE, Cue
from tasks import catalogue
from tasks.scripts import Reading, open_cues
from tasks.speech import SpeechTrack, synthesise
from tasks.speech.fit import fitted


def test_only_the_windows_of_a_changed_cue_are_rendered_again() -> None:
    before = dict(os.environ)
    told = cue_change.measure("portrait", 4, 3, 2)
    assert told["windows"] == 3 or told["windows"] == 4
    assert told["rendered again"] and set(told["rendered again"]) <= set(told["windows of the cue"]) and 0 not in told["rendered again"]
    assert told["of them as they were"] == told["pictures elsewhere"] > 0
    assert told["of them as a whole render's"] == told["pictures rendered again"] > 0
    assert told["same file as a whole render's"] and dict(os.environ) == before


def spoken(folder: Path, changed: int | None) -> SpeechTrack:
    path = folder / "script.vtt"
    path.write_text(cue_change.script(12, changed))
    return synthesise(open_cues(path, Reading()).cues, "en-US")


def test_a_changed_cue_is_heard_nowhere_else(tmp_path: Path) -> None:
    first, second = spoken(tmp_path, None), spoken(tmp_path, 7)
    seconds, pictures = 12 * cue_change.SLOT, int(12 * cue_change.SLOT * 25)
    about = [7 * cue_change.SLOT + 0.3 - cue_change.ABOUT, 8 * cue_change.SLOT - 0.1 + cue_change.ABOUT]
    rows = [spoken_rows(track.speech, pictures) for track in (first, second)]
    differ = np.flatnonzero((rows[0] != rows[1]).any(1)) / 100
    assert len(differ) > 20 and about[0] <= differ.min() and differ.max() <= about[1]
    for mode in ("fit", "cut"):  # and for a video, with figures of its own for each cue
        told = [heard(fitted(track, seconds, mode)[0].speech, np.arange(pictures) / 25) for track in (first, second)]
        other = [at for at in range(0, pictures, 5) if told[0](at, at + 5) != told[1](at, at + 5)]
        assert other and about[0] <= other[0] / 25 and other[-1] / 25 <= about[1], mode
    assert len(resampled(first.sound, first.rate, SAMPLE_RATE)) == len(first.speech.wave)


def test_what_differs_between_versions_and_what_it_costs() -> None:
    before = tuple(Cue(2.0 * at, 2.0 * at + 1.5, f"Line {at}.") for at in range(10))
    after = (*before[:3], Cue(6.0, 7.5, "Another line."), *before[4:8], Cue(16.2, 17.5, "Line 8."), before[9], Cue(20.0, 21.5, "And one more."))
    told = changes(before, after)
    assert [(row["what"], row["place"]) for row in told] == [("changed", 4), ("changed", 9), ("added", 11)]
    assert told[0]["before"]["text"] == "Line 3." and told[1]["after"]["start"] == 16.2
    assert changes(after, before)[-1]["what"] == "removed" and changes(before, before) == []
    windows = tuple((2.0 * at, 2.0 * at + 2) for at in range(11))
    version = catalogue.Version(1, 1, "delivered", before, before, {}, windows, 110.0)
    assert catalogue.cost(version, before) == {"cues": 0, "windows": 0, "of": 11, "seconds": 0.0}
    assert catalogue.cost(version, after) == {"cues": 3, "windows": 6, "of": 11, "seconds": 60.0}  # 5.5 to 8, 15.5 to 18, 19.5 to 22 seconds
    assert catalogue.cost(version, [Cue(0, 0, "Plain text.")])["windows"] == 11
