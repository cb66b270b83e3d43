"""Speech: phones with their times from espeak-ng, alignment of recordings, voice activity; scripts to cues."""

import itertools
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.locales import PAGE, SENTENCES, coverage, table_of_ipa
from infra.errors import InputError, ManifestError, MediaError
from infra.media import write_wav
from models.avct.engine import AvctEngine
from models.avct.keypoints import mouth_opening
from models.avct.phonemes import IPA, PHONES, from_ipa
from models.avct.transcripts import read_words
from models.corpus import read_clip
from models.types import Portrait
from tasks.faces import read_portrait
from tasks.scripts import from_text, from_webvtt, read_script
from tasks.speech import align, espeak, from_recording, letters, recorded, synthesise
from tasks.speech.activity import voice_activity, widened
from tasks.speech.lexicon import read_lexicon
from tasks.speech.visemes import VISEME_OF


@pytest.fixture(scope="module")
def face() -> Portrait:
    return read_portrait(Path(__file__).parent.parent / "demo" / "portraits" / "grace_hopper.jpg")


@pytest.mark.parametrize("locale", SENTENCES)
def test_languages_speak_every_sound_has_a_mouth_and_it_moves(locale: str, face: Portrait) -> None:
    found = coverage(locale)
    assert not found.unknown and not found.unmapped() and len(found.visemes) >= 7
    assert "| " + " | ".join(found.row()) + " |" in PAGE.read_text(), "python -m benchmarks.locales --docs"
    track = synthesise(from_text(SENTENCES[locale]), locale)
    phones = track.speech.phones
    assert len(phones) > 8 and {p.symbol for p in phones} <= set(PHONES)
    assert not [note for note in track.speech.notes if "without a mouth shape" in note]
    assert all(a.end <= b.start + 1e-6 and a.start < a.end for a, b in itertools.pairwise(phones))
    assert phones[-1].end <= track.speech.seconds and np.abs(track.sound).max() > 0.05
    motion = AvctEngine.load().motion(face, track.speech, seed=1)  # no picture is drawn
    gaps = mouth_opening(motion.values)[round(phones[0].start * 25) : round(phones[-1].end * 25)]
    assert motion.frames == track.speech.frames and np.isfinite(motion.values).all() and np.ptp(gaps) > 0.02


def test_the_page_of_languages_has_the_whole_phone_table() -> None:
    rows = list(table_of_ipa())
    assert {symbol for _, _, symbols in rows for symbol in symbols.split()} == set(IPA) and set(VISEME_OF) == set(PHONES)
    assert all(f"| {viseme} | `{phone}` | {symbols} |" in PAGE.read_text() for viseme, phone, symbols in rows), "python -m benchmarks.locales --docs"
    assert from_ipa("aǃb") == (("AA", "B"), ("ǃ",))  # told, not dropped


def test_phones_lie_where_the_sound_is() -> None:
    track = synthesise(from_text("Papa. Mama. Bob."), "en-US")
    energy = np.array([np.abs(track.sound[int(t * track.rate) :][: track.rate // 50]).mean() for t in np.arange(0, track.speech.seconds - 0.02, 0.02)])
    vowels = [p for p in track.speech.phones if p.symbol in ("AA", "AE", "AH", "AO")]
    loud = np.mean([energy[int((p.start + p.end) / 2 * 50)] for p in vowels])
    stops = [p for p in track.speech.phones if p.symbol in ("P", "B")]
    soft = np.mean([energy[int((p.start + 0.01) * 50)] for p in stops])
    assert loud > 3 * soft
    assert energy[: int(0.35 * 50)].max() < 0.01  # it begins with a rest


def test_cues_start_at_their_times_and_overruns_are_told() -> None:
    cues = from_webvtt("WEBVTT\n\n00:01.000 --> 00:03.000\nGood morning.\n\n00:03.200 --> 00:03.500\nThis is far too much to say in so little time.\n")
    track = synthesise(cues, "en-US")
    assert track.speech.cues[0].start == 1.0
    assert abs(track.speech.phones[0].start - 1.0) < 0.06
    assert any("past its end" in note for note in track.speech.notes)


def test_unknown_locales_and_voices_are_refused_with_near_ones() -> None:
    with pytest.raises(InputError) as told:
        synthesise(from_text("x y"), "ess-ES")
    assert told.value.code == "input.locale" and "es" in told.value.message
    with pytest.raises(InputError):
        synthesise(from_text("x y"), "es-ES", "espeak:klingonese")


def test_letters_that_a_voice_does_not_know_are_refused_and_never_spelled_in_english(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not know the letters 東 京 駅") as told:
        synthesise(from_text("とうきょう。東京駅へ。"), "ja-JP")
    assert told.value.code == "input.unread_letters" and "lexicon" in told.value.next_step
    (tmp_path / "l.csv").write_text("written,spoken\n東京駅,とうきょうえき\n")
    lexicon = read_lexicon(tmp_path / "l.csv", "ja-JP")
    with_reading, in_kana = (synthesise(from_text(text), "ja-JP", lexicon=lexicon) for text in ("東京駅へ、500¥。", "とうきょうえきへ、500¥。"))
    assert [p.symbol for p in with_reading.speech.phones] == [p.symbol for p in in_kana.speech.phones]
    for text, locale in (("你好，今天天气很好。", "zh-CN"), ("カタカナ と ひらがな", "ja-JP"), ("안녕하세요", "ko-KR")):
        assert letters.unread(text, espeak.voice_for(locale)) == ""
    assert letters.unread("¿Hola か?", "es") == "か" and letters.unread("漢字", "ko") == "漢字"
    in_kana.write(tmp_path / "take.wav")  # a recording is there: its words are not needed
    guessed = from_recording(tmp_path / "take.wav", "東京駅へ。", "ja-JP").speech
    assert len(guessed.phones) > 4 and any("does not know 東 京 駅" in note and "guessed" in note for note in guessed.notes)


def test_where_another_voice_goes_on_is_no_sound() -> None:
    spoken = espeak.speak("Привет, my friend.", "ru")
    assert not [symbol for symbol in spoken.ipa if "(" in symbol] and "m" in spoken.ipa
    assert all("(" not in ipa for ipa, _ in espeak.clauses(["Привет, my friend."], "ru")[0])


def test_recording_with_transcript_gets_its_phones(tmp_path: Path) -> None:
    words = "Guten Morgen, wir fahren heute nach Hamburg."
    spoken = synthesise(from_text(words), "de-DE", "espeak:de+f2")
    noise = np.random.default_rng(0).normal(0, 0.003, len(spoken.sound)).astype(np.float32)
    write_wav(tmp_path / "take.wav", spoken.sound * 0.6 + noise, spoken.rate)
    found = from_recording(tmp_path / "take.wav", words, "de-DE").speech
    assert [p.symbol for p in found.phones] == [p.symbol for p in spoken.speech.phones]
    errors = [abs(a.start - b.start) for a, b in zip(found.phones, spoken.speech.phones, strict=True)]
    assert np.median(errors) < 0.04 and np.percentile(errors, 90) < 0.1


def test_a_long_recording_is_laid_along_its_words_without_growing_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cues = from_webvtt("WEBVTT\n\n00:00.400 --> 00:02.600\nWe are going to the market.\n\n00:03.200 --> 00:05.900\nBuy some bread, please, and butter.\n")
    said = synthesise(cues, "en-US", "espeak:en-us+f3")
    said.write(tmp_path / "take.wav")
    words = " ".join(cue.text for cue in cues)
    monkeypatch.setattr(align, "MOST", 150)  # as of four minutes: four rows are one
    coarse = from_recording(tmp_path / "take.wav", words, "en-US").speech.phones
    monkeypatch.undo()
    monkeypatch.setattr(recorded, "WHOLE", 2.0)  # as of an hour: each cue about its own time
    timed = from_recording(tmp_path / "take.wav", words, "en-US", cues=cues).speech
    for found in (coarse, timed.phones):
        assert [p.symbol for p in found] == [p.symbol for p in said.speech.phones]
        errors = [abs(a.start - b.start) for a, b in zip(found, said.speech.phones, strict=True)]
        assert np.median(errors) < 0.045 and np.percentile(errors, 90) < 0.12
    late = tuple(replace(cue, start=cue.start + 60, end=cue.end + 60) for cue in cues)
    with pytest.raises(InputError, match="nobody speaks at any of the transcript's times"):
        from_recording(tmp_path / "take.wav", words, "en-US", cues=late)
    monkeypatch.setattr(recorded, "LONGEST", 4.0)
    with pytest.raises(InputError, match="without times serves up to 4 s of sound") as told:
        from_recording(tmp_path / "take.wav", words, "en-US")
    assert told.value.code == "input.untimed_transcript"


def test_recording_alone_is_guessed_and_says_so(tmp_path: Path) -> None:
    synthesise(from_text("We are going to the market tomorrow."), "en-US").write(tmp_path / "take.wav")
    assert len(from_recording(tmp_path / "take.wav", "", "en-US").speech.phones) > 10
    assert any("guessed" in note for note in from_recording(tmp_path / "take.wav", "", "fr-FR").speech.notes)


def test_alignment_finds_the_words_of_real_recordings(shared_data: Path, tmp_path: Path) -> None:
    errors = []
    for path in sorted((shared_data / "grid" / "s1").glob("*.mkv"))[:40:5]:
        words = [w for w in read_words(path.with_suffix(".align")) if w[0] not in ("sil", "sp")]
        write_wav(tmp_path / "clip.wav", read_clip(path)[1].astype(np.float32) / 32768, 16_000)
        phones = from_recording(tmp_path / "clip.wav", " ".join(w[0] for w in words), "en-GB").speech.phones
        errors += [abs(phones[0].start - words[0][1]), abs(phones[-1].end - words[-1][2])]
    assert np.median(errors) < 0.06


def test_silence_and_noise_are_not_speech(tmp_path: Path) -> None:
    assert voice_activity(np.zeros(32_000, np.float32)).sum() == 0
    assert voice_activity(np.zeros(0, np.float32)).shape == (0,)
    write_wav(tmp_path / "hum.wav", 0.1 * np.sin(np.arange(48_000) * 0.05), 16_000)
    with pytest.raises(InputError) as told:
        from_recording(tmp_path / "hum.wav", "hello", "en-US")
    assert told.value.code == "input.no_speech"
    (tmp_path / "empty.wav").write_bytes(b"")
    with pytest.raises(MediaError):
        from_recording(tmp_path / "empty.wav", "hello", "en-US")


def test_voice_activity_finds_the_pause() -> None:
    first, second = (synthesise(from_text(t), "en-US").speech.wave for t in ("Hello there everyone.", "Good night to you."))
    wave = np.concatenate([first, np.zeros(16_000, np.float32), second])
    active = voice_activity(wave)
    middle = len(first) // 160 + 50
    assert active[: middle - 60].mean() > 0.4 and active[middle - 25 : middle + 25].sum() == 0


def test_every_fault_of_a_webvtt_is_told_at_once() -> None:
    with pytest.raises(ManifestError) as told:
        from_webvtt("WEBVTT\n\n00:01.000 -> 00:02.000\nOne\n\n00:05.000 --> 00:04.000\nTwo\n\n1:2 --> 3\nThree\n\n00:06.000 --> 00:07.000\n<i></i>\n")
    text = told.value.message
    assert "ends at" in text and "line 9" in text and "no word" in text and len(told.value.faults) >= 3


@pytest.mark.parametrize("text", ["", "   \n", "...!?", "—"])
def test_texts_without_a_word_are_refused(text: str) -> None:
    with pytest.raises(ManifestError):
        from_text(text)


def test_scripts_are_read_by_kind(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Erster Satz. Zweiter Satz!", encoding="utf-8")
    (tmp_path / "a.vtt").write_text("WEBVTT\n\n00:00:01.250 --> 00:02.500\n<v Ana>Hola <b>amigos</b>\n", encoding="utf-8")
    (tmp_path / "bad.txt").write_bytes("naïve".encode("latin-1"))
    assert [c.text for c in read_script(tmp_path / "a.txt")] == ["Erster Satz.", "Zweiter Satz!"]
    cue = read_script(tmp_path / "a.vtt")[0]
    assert (cue.start, cue.end, cue.speaker, cue.text) == (1.25, 2.5, "Ana", "Hola amigos")
    with pytest.raises(ManifestError, match="UTF-8"):
        read_script(tmp_path / "bad.txt")


def test_two_threads_do_not_mix_voices() -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: tuple(p.symbol for p in espeak.speak("Guten Tag, schöne Welt", "de").phones), range(8)))
        other = list(pool.map(lambda v: espeak.speak("Hola mundo", v).sound.size, ["es", "de"] * 4))
    assert len(set(found)) == 1 and len(set(other[::2])) == 1


def test_a_text_sounds_the_same_whenever_it_is_said() -> None:
    first = synthesise(from_text("Guten Morgen."), "de-DE").sound
    time.sleep(1.1)  # the library would seed its chance by the clock's seconds
    assert np.array_equal(first, synthesise(from_text("Guten Morgen."), "de-DE").sound)


def test_a_late_detector_does_not_cut_the_first_word() -> None:
    wave = synthesise(from_text("Guten Morgen, wir fahren heute nach Hamburg."), "de-DE").speech.wave
    spoken = np.flatnonzero(np.abs(wave) > 0.02) // 160
    late = np.zeros(len(wave) // 160, np.float32)
    late[spoken[0] + 40 : spoken[-1] - 30] = 1
    found = np.flatnonzero(widened(wave, late))
    assert abs(found[0] - spoken[0]) < 12 and abs(found[-1] - spoken[-1]) < 25
    assert not widened(wave, np.zeros_like(late)).any()
