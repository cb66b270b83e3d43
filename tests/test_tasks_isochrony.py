"""Cues borrow before they hurry; lengths are foreseen from texts; what is too long is listed for translators, in a sheet that reads back."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from benchmarks.isochrony import LINES, lengths
from models.types import Cue
from tasks.scripts import read_script
from tasks.speech.fit import FASTEST, GAP
from tasks.speech.foresee import Foreseen, foreseen, rewrites, seconds_of, sheet, sounds_of
from tasks.speech.slots import EARLY, LATE, Place, Slot, placed


def put(*slots: tuple[float, float, float], seconds: float = 60.0, give: float = 0.0) -> list[Place]:
    return placed([Slot(start, end, natural, 0.0, give) for start, end, natural in slots], seconds, FASTEST, gap=GAP, breath=0.05)


def test_who_has_time_is_left_alone() -> None:
    assert put((1.0, 2.0, 1.0), (2.0, 3.0, 0.7), (3.0, 4.0, 1.4)) == [Place(1.0, 1.0), Place(2.0, 0.7), Place(3.0, 1.4)]


def test_a_crowded_cue_begins_in_the_silence_before_it_and_shares_the_hurry() -> None:
    first, crowded, last = put((1.0, 2.0, 0.6), (2.5, 3.5, 1.35), (3.5, 4.5, 1.0))
    assert first == Place(1.0, 0.6)
    assert 2.5 - EARLY <= crowded.start < 2.4 and 1.0 < 1.35 / crowded.length <= 1.14  # early before a hurry that is minded
    assert crowded.start + crowded.length <= last.start + 1e-6


def test_pauses_give_before_speech_and_neighbours_before_the_fastest_rate() -> None:
    assert put((0.0, 2.0, 2.1), (2.0, 4.0, 1.9), seconds=4.0, give=0.2)[0].length >= 1.9 - 1e-6
    pushed = put((0.0, 1.0, 1.3), (1.0, 2.0, 0.5), (2.5, 3.0, 0.5))
    assert 1.3 / pushed[0].length < 1.19 and 1.0 < pushed[1].start <= 1.0 + LATE + 1e-6  # the short neighbour waits for it


@pytest.mark.parametrize("seed", range(6))
def test_order_is_kept_nothing_overlaps_and_nobody_is_faster_than_the_fastest(seed: int) -> None:
    random = np.random.default_rng(seed)
    starts = np.cumsum(random.choice([0.3, 0.8, 1.5, 4.0], 120))
    slots = [(float(start), float(start + random.uniform(0.2, 1.5)), float(random.uniform(0.2, 2.2))) for start in starts]
    found = put(*slots, seconds=float(starts[-1] + 2))
    for (start, _, natural), place in zip(slots, found, strict=True):
        assert natural / FASTEST - 1e-6 <= place.length <= natural + 1e-6 and place.start >= max(0.0, start - EARLY) - 1e-6
    assert all(a.start + a.length <= b.start + 1e-6 for a, b in itertools.pairwise(found))


def test_lengths_are_foreseen_from_phones() -> None:
    wrong = []
    for locale, voice in (("es-ES", "es"), ("de-DE", "de")):
        expected = [seconds_of(one, locale) for one in sounds_of(LINES[locale], voice)]
        wrong += [abs(a - b) / b for a, b in zip(expected, lengths(LINES[locale], locale), strict=True)]
    assert np.median(wrong) < 0.08 and max(wrong) < 0.35


def test_a_translator_gets_the_cues_that_are_too_long_as_a_sheet(tmp_path: Path) -> None:
    long = "Ich habe Tee gekocht, ein Buch gelesen und auf den Morgen gewartet."
    cues = (Cue(1.0, 2.5, "Guten Abend.", "Anna"), Cue(3.0, 4.6, long, "Ben"), Cue(4.7, 6.0, "=Nein.", "Anna", True))
    found = foreseen(cues, 20.0, "de-DE", voices={"ANNA": "espeak:de+f3", "BEN": "espeak:de"})
    (tight,) = rewrites(found)
    assert tight.number == 2 and tight.rate == pytest.approx(FASTEST) and tight.syllables >= 3 and tight.excess > 0.5
    path = tmp_path / "welcome.de-DE.rewrite.csv"
    path.write_text(sheet(found), encoding="utf-8")
    again = read_script(path)
    assert [(c.start, c.end, c.speaker, c.off) for c in again] == [(c.start, c.end, c.speaker, c.off) for c in cues]
    assert [c.text.lstrip("\u2060") for c in again] == [c.text for c in cues] and not again[2].text.startswith("=")
    assert isinstance(found[0], Foreseen) and found[0].excess == 0
