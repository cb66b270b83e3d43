"""One cue of a script changed: only its windows are rendered again, and the video is, to the last byte, that of a whole render."""

import os
from pathlib import Path

import numpy as np

from benchmarks import cue_change
from infra.media import resampled
from models.avct.features import spoken_rows
from models.lipmemory.engine import heard
from models.types import SAMPLE_RATE
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
