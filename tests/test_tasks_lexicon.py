"""Lexicons: whole words, in letters or IPA, by locale; every fault of the file at once; what a voice cannot say is named before."""

from pathlib import Path

import pytest

from infra.errors import ManifestError
from tasks.scripts import from_text
from tasks.speech import sounds, synthesise
from tasks.speech.lexicon import Entry, Lexicon, Piece, check, plain, read_lexicon

ROWS = "written,spoken,ipa,locale\nDubwright,dab rait,,\nGirona,,ʒiˈɾonə,ca\nGirona,,xiˈɾona,es\nUS,estados unidos,,\ncafé,/te/,,\n"


def said(lexicon: Lexicon, text: str) -> str:
    return "".join(f"[{piece.ipa}]" if piece.ipa else piece.text for piece in lexicon.say(text))


def test_whole_words_are_replaced_in_any_script(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text(ROWS)
    lexicon = read_lexicon(tmp_path / "l.csv", "es-ES")
    assert said(lexicon, "US us, Dubwright's Dubwrights: CAFÉ, cafés Girona.") == "estados unidos us, dab rait's Dubwrights: [te], cafés [xiˈɾona]."
    assert lexicon.notes() == ["said by the lexicon: US, Dubwright, café, Girona"]
    assert said(read_lexicon(tmp_path / "l.csv", "ca-ES"), "Girona") == "[ʒiˈɾonə]" and said(read_lexicon(tmp_path / "l.csv", "fr-FR"), "Girona") == "Girona"
    other = Lexicon((Entry("東京", "ひがし"), Entry("नम", "x"), Entry("مرحبا", "y")))
    assert said(other, "東京へ नमस्ते नम، مرحبا!") == "ひがしへ नमस्ते x، y!"
    assert said(Lexicon((Entry("café", "x"),)), "Cafe\u0301") == "x"


def test_ssml_says_one_place_otherwise_and_captions_keep_the_word() -> None:
    text = 'La <phoneme alphabet="ipa" ph="xiˈɾona">Girona</phoneme> del <sub alias="doctor">Dr.</sub> Sáez'
    assert Lexicon().say(text) == (Piece("La "), Piece("Girona", "xiˈɾona"), Piece(" del "), Piece("doctor"), Piece(" Sáez"))
    assert plain(text) == "La Girona del Dr. Sáez" and plain("1 < 2 > 0") == "1 < 2 > 0"


def test_ipa_is_spoken_by_the_voices_own_sounds() -> None:
    lexicon = Lexicon((Entry("xyz", ipa="ˈpapa"), Entry("abc", spoken="papa")))
    track = synthesise(from_text("xyz. abc. papa. [[x]] xyz."), "es-ES", lexicon=lexicon)
    cues = track.speech.cues
    heard = ["".join(p.symbol for p in track.speech.phones if cue.start <= p.start < cue.end) for cue in cues]
    assert heard[0] == heard[1] == heard[2] == "PAAPAA" and heard[3].endswith("PAAPAA")
    assert cues[0].text == "xyz." and "said by the lexicon: xyz (2 times), abc" in track.speech.notes
    names, strange = sounds.mnemonics("xe͡ɾ.ǃo", "es")
    assert strange == ("ǃ",) and names.startswith("x|e|")
    with pytest.raises(ManifestError) as told:
        check(Lexicon((Entry("a", ipa="ǃa", where="row 2"), Entry("b", ipa="ba", where="row 3"))), "es")
    assert told.value.code == "lexicon.invalid" and [fault["field"] for fault in told.value.faults] == ["row 2"]


def test_every_fault_of_a_lexicon_has_its_row(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("written;spoken\n--;x\na;\nb;x\nb;y\n" + "c" * 300 + ";x\n")
    with pytest.raises(ManifestError) as told:
        read_lexicon(tmp_path / "l.csv")
    assert [fault["field"] for fault in told.value.faults] == ["row 2", "row 3", "row 5", "row 6"] and all(fault["fix"] for fault in told.value.faults)
    for data in (b"", b"a,b\n1,2\n", b"\xff\xfe\x00", b"x" * (5 * 2**20)):
        (tmp_path / "l.csv").write_bytes(data)
        with pytest.raises(ManifestError):
            read_lexicon(tmp_path / "l.csv")
