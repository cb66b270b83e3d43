"""Speech fitted to a picture's length: rates within bounds, slots, pauses, pitch, exact lengths, in five languages and on recordings."""

import itertools
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.isochrony import LINES as SAID
from benchmarks.stretch import apart, pitches
from infra.errors import InputError
from infra.media import resampled, whole_samples
from models.types import SAMPLE_RATE, Cue, Phone, Speech
from tasks.scripts import from_text
from tasks.speech import SpeechTrack, espeak, from_recording, synthesise
from tasks.speech.fit import FASTEST, GAP, MODES, SLOWEST, CueFit, fitted
from tasks.speech.slots import EARLY, LATE
from tasks.speech.stretch import FOUND_PAUSE, Span, faded, quiet_rows, rested, spans_of, stretched
from tasks.values import load_speech, save_speech

RECORDING = Path(__file__).parent.parent / "demo" / "recordings" / "mission.en-GB.flac"
LINES = {locale: SAID[locale] for locale in ("en-GB", "de-DE", "es-ES", "fr-FR")} | {
    "it-IT": ("Buonasera.", "Hai sentito la pioggia stanotte?", "No, per niente.", "Mi ha tenuto sveglio per ore, e poi ha cominciato il cane.", "Poverino.",
              "Ho fatto un tè, letto un libro, e aspettato il mattino.", "Avresti dovuto chiamare.", "Alle quattro? Mai."),
}  # fmt: skip


def _slots(texts: tuple[str, ...], seed: int) -> tuple[Cue, ...]:
    """Slots as a script of another language leaves them: some wide, some tight, some touching."""
    random = np.random.default_rng(seed)
    cues, clock = [], 0.5
    for text in texts:
        length = max(0.4, len(text) * float(random.uniform(0.035, 0.09)))
        cues.append(Cue(round(clock, 3), round(clock + length, 3), text))
        clock += length + float(random.choice([0.0, 0.1, 0.4, 1.5]))
    return tuple(cues)


@pytest.fixture(scope="module")
def scripts() -> dict[str, SpeechTrack]:
    """Forty timed cues in five languages, spoken."""
    return {locale: synthesise(_slots(texts, seed), locale) for seed, (locale, texts) in enumerate(LINES.items())}


@pytest.fixture(scope="module")
def recording() -> SpeechTrack:
    return from_recording(RECORDING, RECORDING.with_suffix(".txt").read_text(), "en-GB")


def _law(track: SpeechTrack, made: SpeechTrack, fits: tuple[CueFit, ...], seconds: float, mode: str) -> None:
    """What holds of every fitted track."""
    samples = round(seconds * track.rate)
    assert len(made.sound) == samples if mode != "hold" else len(made.sound) >= samples
    assert len(made.speech.wave) == -(-len(made.sound) * SAMPLE_RATE // track.rate)
    assert len(made.speech.activity) == len(made.speech.wave) // 160
    assert made.sound.dtype == np.int16 and made.rate == track.rate and not made.wanted
    assert [f.number for f in fits] == list(range(1, len(fits) + 1))
    assert all(SLOWEST <= f.rate <= FASTEST if mode == "fit" else f.rate == 1.0 for f in fits)
    heard = [f for f in fits if f.ends > f.begins]
    assert [(c.start, c.end, c.text) for c in made.speech.cues] == [(f.begins, f.ends, f.text) for f in heard]
    assert all(a.ends <= b.begins + 1e-9 for a, b in itertools.pairwise(heard))
    assert all(f.begins >= f.start - (EARLY if mode == "fit" else 0) - 1e-4 for f in heard) and heard[-1].ends <= len(made.sound) / made.rate + 1e-9
    phones = made.speech.phones
    assert all(a.end <= b.start + 1e-6 and a.start < a.end for a, b in itertools.pairwise(phones))
    assert all(any(c.start - 1e-6 <= p.start and p.end <= c.end + 1e-6 for c in made.speech.cues) for p in phones)
    for fit in fits:
        assert fit.words.startswith((f"cue {fit.number} ", f"line {fit.number}"))
        assert (fit.how == "held") == (fit.held > 0.01) and (fit.how == "cut") == (fit.lost > 0.01 and fit.held <= 0.01)
        if track.wanted:
            assert fit.over == pytest.approx(max(0.0, fit.ends - fit.end)) and fit.late == pytest.approx(max(0.0, fit.begins - fit.start))


@pytest.mark.parametrize("locale", LINES)
def test_cues_of_five_languages_are_fitted_within_the_bounds(scripts: dict[str, SpeechTrack], locale: str) -> None:
    track = scripts[locale]
    seconds = track.wanted[-1].end + 0.7
    made, fits = fitted(track, seconds, "fit")
    _law(track, made, fits, seconds, "fit")
    assert len(fits) == 8 and {"stretched", "borrowed"} & {f.how for f in fits}
    for fit, after in zip(fits, [*track.wanted[1:], Cue(seconds, 0, "")], strict=True):
        deadline = max(fit.end, after.start - GAP)
        if fit.rate < FASTEST - 1e-3:  # whoever is not played at the fastest is done in time, or a little later where that spares the voice
            assert fit.ends <= deadline + LATE + 1e-3
        if fit.natural <= deadline - max(fit.start, fit.begins):  # and who has the time is left as spoken
            assert fit.rate == 1.0 and fit.ends - fit.begins == pytest.approx(fit.natural, abs=1e-3)
        if fit.excess == 0 and fit.late == 0:
            assert fit.ends <= deadline + LATE + 1e-3 and fit.lost == 0
        assert (fit.how == "fits" and fit.late < 0.02) or any(fit.words == note for note in made.speech.notes)
    assert not [note for note in made.speech.notes if "the one before it runs over" in note]  # told of the unfitted speech


@pytest.mark.parametrize("seed", range(60))
def test_any_schedule_keeps_the_laws(scripts: dict[str, SpeechTrack], seed: int) -> None:
    """Slots overlapping, touching, empty, beyond the picture; the same spoken words each time."""
    random = np.random.default_rng(seed)
    track = scripts[list(LINES)[seed % 5]]
    starts = np.sort(random.uniform(0, random.choice([8.0, 20.0, 40.0]), 8)).round(3)
    wanted = tuple(replace(c, start=s, end=s + random.uniform(0.01, 5)) for c, s in zip(track.wanted, starts.tolist(), strict=True))
    seconds = float(random.uniform(starts[0] + 0.2, starts[-1] + 6))
    track = replace(track, wanted=wanted)
    for mode in MODES:
        made, fits = fitted(track, seconds, mode)  # type: ignore[arg-type]
        _law(track, made, fits, seconds, mode)
        if mode == "hold":
            assert not any(f.lost for f in fits) and len(made.sound) / made.rate == pytest.approx(max(seconds, fits[-1].ends + 0.02), abs=1e-3)
        assert made.speech.activity[: int(fits[0].begins * 100)].sum() == 0  # nobody speaks before the first cue


def test_a_cue_with_time_is_left_alone_bit_for_bit(scripts: dict[str, SpeechTrack]) -> None:
    track = scripts["es-ES"]
    wanted = tuple(replace(c, start=10.0 * i, end=10.0 * i + 8) for i, c in enumerate(track.wanted))
    made, fits = fitted(replace(track, wanted=wanted), 80.0, "fit")
    assert {f.how for f in fits} == {"fits"} and {f.words.split(": ")[1] for f in fits} == {"as spoken"}
    for cue, slot in zip(track.speech.cues, wanted, strict=True):
        count, before, now = int((cue.end - cue.start) * track.rate), round(cue.start * track.rate), round(slot.start * track.rate)
        assert np.array_equal(made.sound[now : now + count], track.sound[before : before + count])


def test_a_long_cue_takes_the_silence_after_it_then_its_pauses_then_speed(scripts: dict[str, SpeechTrack]) -> None:
    track = scripts["en-GB"]
    only = 5  # a sentence with pauses at its commas
    cue = track.speech.cues[only]
    phones = tuple(p for p in track.speech.phones if cue.start <= p.start < cue.end)
    alone = replace(track, speech=replace(track.speech, cues=(cue,), phones=phones))
    natural, at = cue.end - cue.start, {}
    for name, room in (("silence", natural + 0.2), ("pauses", natural - 0.1), ("speed", natural / 1.15)):
        slot = Cue(1.0, 1.5, cue.text)
        at[name] = fitted(replace(alone, wanted=(slot,)), 1.0 + room + GAP, "fit")[1][0]
    assert (at["silence"].how, at["silence"].rate) == ("borrowed", 1.0) and at["silence"].over == pytest.approx(natural - 0.5, abs=1e-3)
    assert (at["pauses"].how, at["pauses"].rate) == ("borrowed", 1.0) and at["pauses"].ends == pytest.approx(1 + natural - 0.1, abs=1e-3)
    assert at["speed"].how == "stretched" and 1.0 < at["speed"].rate < 1.15  # pauses gave the rest
    assert at["speed"].ends == pytest.approx(1 + natural / 1.15, abs=1e-3)


def test_excess_is_what_a_translator_has_to_take_out(scripts: dict[str, SpeechTrack]) -> None:
    track = scripts["de-DE"]
    cue = track.speech.cues[3]
    wanted = tuple(replace(c, start=20.0 * i, end=20.0 * i + 1) for i, c in enumerate(track.wanted))
    wanted = (*wanted[:4], replace(wanted[4], start=62.0), *wanted[5:])  # the fourth has two seconds
    _, fits = fitted(replace(track, wanted=wanted), 160.0, "fit")
    fit = fits[3]
    assert fit.rate == FASTEST and fit.excess > 0.3 and fit.excess == pytest.approx(fit.ends - (62.0 - GAP), abs=1e-3)
    assert fits[4].late == pytest.approx(fit.ends + GAP - 62.0, abs=1e-3) and fits[4].excess == 0  # who is pushed is not to blame
    assert sum(f.excess > 0 for f in fits) == 1 and f"about {fit.syllables} syllables to lose" in fit.words
    vowels = sum(p.symbol in ("AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW") for p in track.speech.phones if cue.start <= p.start < cue.end)
    assert fit.syllables == pytest.approx(vowels * fit.excess / (cue.end - cue.start) * FASTEST, abs=1) and 1 < fit.syllables < vowels


@pytest.mark.parametrize("tempo", [0.85, 0.93, 1.07, 1.2])
@pytest.mark.parametrize("rate", [22_050, 48_000])
def test_stretching_keeps_pitch_and_spectrum_and_gives_every_sample(tempo: float, rate: int) -> None:
    spoken = espeak.speak("We are all away a long, long while.", "en-gb")
    sound = whole_samples(resampled(whole_samples(spoken.sound), spoken.rate, rate))
    samples = round(len(sound) / tempo)
    made = stretched(sound, Span(0, len(sound), True), samples, rate)
    assert len(made) == samples and np.array_equal(made, stretched(sound, Span(0, len(sound), True), samples, rate))
    before, after = (resampled(s, rate, SAMPLE_RATE) for s in (sound, made))
    hum = np.round(9000 * np.sin(np.arange(2 * rate) * 700 / rate)).astype(np.int16)
    held = stretched(hum, Span(rate // 2, 3 * rate // 2, True), round(rate / tempo), rate).astype(float)
    assert all(np.abs(part).max() > 8800 for part in np.array_split(held[-rate // 50 :], 5))  # to its last sample
    hertz, now = pitches(before, after)
    assert len(now) > 80 and np.median(np.abs(now / hertz - 1)) < 0.02 and abs(np.median(now) / np.median(hertz) - 1) < 0.03
    turned = np.interp(np.arange(len(after)) * tempo, np.arange(len(before)), before).astype(np.float32)  # a tape played at another speed
    again = espeak.speak("We are all away a long, long while.", "en-gb", round(165 * tempo))
    other = resampled(whole_samples(again.sound), again.rate, SAMPLE_RATE)
    assert apart(before, after) < 1.3 and apart(before, after) < 0.7 * apart(before, turned)
    assert apart(before, after) < apart(before, other)  # nearer to the voice as first heard than the same voice told to hurry


def test_stretched_phones_lie_where_the_stretched_sound_is(scripts: dict[str, SpeechTrack]) -> None:
    track = scripts["fr-FR"]
    wanted = tuple(replace(c, start=s, end=e) for c, s, e in ((c, n.start * 0.87, n.end * 0.87) for c, n in zip(track.wanted, track.speech.cues, strict=True)))
    made, fits = fitted(replace(track, wanted=wanted), track.speech.cues[-1].end * 0.87 + 0.1, "fit")
    assert max(f.rate for f in fits) > 1.05
    assert [p.symbol for p in made.speech.phones] == [p.symbol for p in track.speech.phones]
    then, now = _loudness(track.speech, 0.0), _loudness(made.speech, 0.0)
    assert np.corrcoef(then, now)[0, 1] > 0.95 > np.corrcoef(then, _loudness(made.speech, 0.06))[0, 1] + 0.05


def _loudness(speech: Speech, later: float) -> np.ndarray:
    middles = [int(((p.start + p.end) / 2 + later) * SAMPLE_RATE) for p in speech.phones]
    return np.array([np.log10(np.square(speech.wave[max(0, m - 240) : m + 240]).mean() + 1e-6) for m in middles])


def test_plain_text_takes_up_the_picture_pauses_first() -> None:
    track = synthesise(from_text("One day, early, we went out. Two days later, at noon, we came back. And that was all."), "en-US")
    whole, last = track.speech.seconds, track.speech.cues[-1].end
    found = {}
    for seconds in (last * 0.7, last * 0.8, whole - 0.3, whole, whole + 0.3, whole * 1.2, whole * 3):
        made, fits = fitted(track, seconds, "fit")
        _law(track, made, fits, seconds, "fit")
        found[seconds] = fits
    assert [fits[0].rate for fits in found.values()][2:5] == [1.0, 1.0, 1.0]  # pauses suffice
    short, tight, *_, wide, far = found.values()
    assert short[0].rate == FASTEST and short[-1].lost > 0 and sum(f.syllables for f in short) == 2
    assert 1.0 < tight[0].rate < FASTEST and not any(f.lost or f.excess for f in tight)
    assert SLOWEST <= wide[0].rate < 1.0 and wide[-1].ends > last * 1.05
    assert far[0].rate == 1.0 and far[-1].ends == pytest.approx(last, abs=1e-3)  # what cannot be filled is not drawled into
    assert all(f.start == f.end == 0 for f in far)


def test_a_recording_is_fitted_held_and_cut(recording: SpeechTrack) -> None:
    spoken = recording.speech.cues[0]
    for seconds in (5.0, 6.5, 7.3, 9.0, 30.0):
        made, (fit,) = fitted(recording, seconds, "fit")
        assert len(made.sound) == round(seconds * 48_000) and SLOWEST <= fit.rate <= FASTEST
        assert (fit.lost > 0) == (seconds == 5.0) and (fit.how == "stretched") == (seconds in (6.5, 9.0))
        if seconds != 5.0:
            assert [p.symbol for p in made.speech.phones] == [p.symbol for p in recording.speech.phones]
            assert 0.9 < made.speech.activity.sum() / (recording.speech.activity.sum() / fit.rate) < 1.02
            assert min(_active(made.speech), _active(recording.speech)) > 0.98
            quiet = made.speech.wave[: len(made.speech.activity) * 160].reshape(-1, 160).std(1)[made.speech.activity == 0]
            assert np.median(quiet) < 0.003
    held, (fit,) = fitted(recording, 5.0, "hold")
    assert len(held.sound) / 48_000 == pytest.approx(spoken.end + 0.02, abs=1e-3) and fit.held == pytest.approx(spoken.end - 5.0, abs=1e-3)
    assert np.array_equal(held.sound[: 48_000 * 6], recording.sound[: 48_000 * 6])
    cut, (fit,) = fitted(recording, 5.0, "cut")
    assert fit.lost == pytest.approx(spoken.end - fit.ends, abs=1e-3) and fit.how == "cut" and f"its last {fit.lost:.2f} s are cut off" in fit.words
    assert np.array_equal(cut.sound[: 48_000 * 4], recording.sound[: 48_000 * 4]) and abs(int(cut.sound[-1])) < 50
    assert fitted(recording, 5.0, "cut")[0].speech.notes[-1] == fit.words


def _active(speech: Speech) -> float:
    return float(np.mean([speech.activity[int((p.start + p.end) * 50)] for p in speech.phones]))


def test_a_recording_without_words_is_one_line(recording: SpeechTrack) -> None:
    silent = replace(recording, speech=replace(recording.speech, cues=()))
    made, (fit,) = fitted(silent, 6.5, "fit")
    assert fit.text == "" and fit.rate > 1.0 and made.speech.cues == () and fit.words in made.speech.notes


def test_cut_ends_at_a_pause_where_one_is_near_and_fades(scripts: dict[str, SpeechTrack]) -> None:
    track = scripts["it-IT"]
    cue = track.speech.cues[5]  # "Ho fatto un tè, letto un libro, e aspettato il mattino."
    spans = [s for s in spans_of(quiet_rows(track.speech), round(cue.start * track.rate), round(cue.end * track.rate), track.rate) if not s.speaks]
    pause = spans[0].first / track.rate - cue.start
    wanted = tuple(replace(c, start=10.0 * i, end=10.0 * i + 0.5) for i, c in enumerate(track.wanted))
    for after, ends in ((0.3, pause + 0.02), (-0.1, pause - 0.1)):
        changed = (*wanted[:6], replace(wanted[6], start=50 + pause + after + GAP, end=70.0), *wanted[7:])
        made, fits = fitted(replace(track, wanted=changed), 90.0, "cut")
        assert fits[5].how == "cut" and fits[5].ends == pytest.approx(50 + ends, abs=1e-3)
        stop = round(fits[5].ends * made.rate)
        before = track.sound[round(cue.start * track.rate) :][: stop - round(50 * made.rate)]  # as spoken, to where it is cut
        assert np.array_equal(made.sound[stop - len(before) : stop], faded(before, made.rate))
        assert after > 0 or np.abs(before[-300:]).max() > 1000  # in the middle of a word
        assert not made.sound[stop : round(fits[6].begins * made.rate)].any() and abs(int(made.sound[stop - 1])) < 300
        assert made.speech.activity[int(fits[5].ends * 100) + 1 : int(fits[6].begins * 100)].sum() == 0
        assert fits[6].late < 1e-4 and [f.how for f in fits if f.number not in (6,)].count("cut") == 0
    last, word = track.speech.cues[7], 0.37  # "Alle quattro? Mai.": the last word goes whole, but not for its vowel's last hundredths
    for missing, lost in ((0.15, word), (0.06, 0.06)):
        fits = fitted(replace(track, wanted=wanted), 70.0 + last.end - last.start - missing + GAP, "cut")[1]
        assert fits[7].how == "cut" and lost - 0.01 < fits[7].lost < lost + 0.35  # the pause before the word is lost too
        assert (fits[7].lost > 0.3) == (missing > 0.1)
    loud = np.full(4_000, 20_000, np.int16)
    assert np.array_equal(faded(loud, 16_000)[: 4_000 - 320], loud[: 4_000 - 320]) and faded(loud, 16_000)[-1] == 0


def test_room_tone_goes_on_through_pauses_made_longer_or_shorter() -> None:
    noise = np.random.default_rng(0).normal(0, 60, 16_000).astype(np.int16)
    tone = Span(4_000, 12_000, False)
    for samples in (2_000, 7_999, 8_001, 30_000):
        made = rested(noise, tone, samples, 16_000)
        assert len(made) == samples and np.array_equal(made[:900], noise[4_000:4_900]) and np.array_equal(made[-800:], noise[11_200:12_000])
        pieces = [float(p.std()) for p in np.array_split(made, samples // 400)]
        assert min(pieces) > 40 and max(pieces) < 80  # no hole, no bump
    slow = np.round(1000 * np.sin(np.arange(16_000) / 50)).astype(np.int16)
    assert max(np.abs(np.diff(rested(slow, tone, n, 16_000).astype(int))).max() for n in (2_000, 5_001, 20_000)) < 60  # nor a click


def test_pauses_keep_clear_of_words() -> None:
    activity = np.zeros(300, np.float32)
    activity[50:120], activity[130:140], activity[180:250] = 1, 1, 1
    hum = np.full(48_000, 0.1, np.float32)
    spans = spans_of(quiet_rows(Speech(hum, (), activity)), 0, 48_000, 16_000)
    assert [(s.first / 160, s.last / 160, s.speaks) for s in spans] == [(0, 44, False), (44, 142, True), (142, 174, False), (174, 252, True), (252, 300, False)]
    assert all(s.speaks or s.samples >= FOUND_PAUSE * 16_000 for s in spans)
    hum[85 * 160 : 101 * 160] = 0  # a comma: too short a rest for the activity
    hum[205 * 160 : 221 * 160] = 0  # a stop's closure: a phone lies over it
    spans = spans_of(quiet_rows(Speech(hum, (Phone("T", 2.04, 2.22),), activity)), 0, 48_000, 16_000)
    assert [(s.first / 160, s.last / 160) for s in spans if not s.speaks] == [(0, 44), (85, 101), (142, 174), (252, 300)]


def test_same_speech_same_bytes_and_slots_outlive_the_file(scripts: dict[str, SpeechTrack], tmp_path: Path) -> None:
    track = scripts["en-GB"]
    save_speech(tmp_path / "speech.npz", track)
    again = load_speech(tmp_path / "speech.npz")
    assert again.wanted == track.wanted
    (one, fits), (two, others) = fitted(track, 14.0, "fit"), fitted(again, 14.0, "fit")
    assert one.sound.tobytes() == two.sound.tobytes() and one.speech.wave.tobytes() == two.speech.wave.tobytes()
    assert fits == others and one.speech.phones == two.speech.phones and one.speech.notes == two.speech.notes


def test_nothing_to_hear_and_impossible_wishes_are_refused(scripts: dict[str, SpeechTrack], recording: SpeechTrack) -> None:
    with pytest.raises(InputError, match="nobody speaks"):
        fitted(recording, 0.2, "cut")  # its first word comes later
    for seconds in (0.3, 0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InputError) as told:
            fitted(scripts["en-GB"], seconds, "fit")
        assert told.value.code == "input.length" and told.value.next_step
    assert fitted(scripts["en-GB"], 0.3, "hold")[0].speech.seconds > 5
    for wish in ({"mode": "loop"}, {"mode": "fit", "slowest": 1.1}, {"mode": "fit", "fastest": 0.9}):
        with pytest.raises(ValueError, match="none of fit, hold, cut"):
            fitted(scripts["en-GB"], 10.0, **wish)  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", MODES)
def test_memory_is_a_few_times_the_sound(mode: str) -> None:
    rate, minutes = SAMPLE_RATE, 4
    sound = np.random.default_rng(0).integers(-9000, 9000, rate * 60 * minutes).astype(np.int16)
    activity = np.ones(len(sound) // 160, np.float32)
    speech = Speech(sound / np.float32(32768), (Phone("AA", 1.0, 2.0),), activity, (Cue(0.0, 60.0 * minutes, "long"),))
    tracemalloc.start()
    made, _ = fitted(SpeechTrack(speech, sound, rate), 54.0 * minutes, mode)  # type: ignore[arg-type]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(made.sound) and peak < 5 * sound.nbytes  # the new sound, its stretched speech, and the engines' wave, twice as wide
