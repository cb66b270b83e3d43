"""Scripts of every format: what the tools write is read without loss, what is written reads back, damaged files are refused with a fix."""

import datetime
import io
import random
import zipfile
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks.fuzz_scripts import run as fuzz
from benchmarks.script_samples import PLAIN, SUBRIP, WEBVTT, Sample, samples, workbook
from infra.errors import ManifestError
from models.types import Cue
from tasks.scripts import Reading, from_text, from_webvtt, open_cues, read_script
from tasks.scripts.captions import captions
from tasks.scripts.faults import BadTime
from tasks.scripts.kinds import LARGEST_BYTES
from tasks.scripts.lines import MOST_CUES
from tasks.scripts.times import Clock, rate_of, timecode
from tasks.speech import synthesise
from tasks.speech.assigned import voices_for

ALL = {sample.name: sample for sample in samples()}
LETTERS = "abc DEÉñßøЖдяאבאلعनमกข漢字かな한글 '’-–,.!?&<>;#{}[]/\\|\"0123456789 "


def faults(folder: Path, name: str, data: bytes | str, reading: Reading = PLAIN) -> list[dict[str, str]]:
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    with pytest.raises(ManifestError) as told:
        open_cues(path, reading)
    assert told.value.code == "script.invalid" and all(fault["problem"] and fault["fix"] for fault in told.value.faults)
    return told.value.faults


def close(found: tuple[Cue, ...], meant: tuple[Cue, ...]) -> None:
    """Same texts and speakers, times to the millisecond."""
    assert [(cue.text, cue.speaker.casefold()) for cue in found] == [(cue.text, cue.speaker.casefold()) for cue in meant]
    assert all(abs(a.start - b.start) < 6e-4 and abs(a.end - b.end) < 6e-4 for a, b in zip(found, meant, strict=True))


@pytest.mark.parametrize("sample", ALL.values(), ids=ALL)
def test_what_tools_write_is_read_whole(tmp_path: Path, sample: Sample) -> None:
    (tmp_path / sample.name).write_bytes(sample.data)
    found = open_cues(tmp_path / sample.name, sample.reading)
    assert found.kind == sample.kind
    close(found.cues, sample.cues)
    (tmp_path / "script.wrong").write_bytes(sample.data)  # its content tells
    reading = replace(sample.reading, encoding="cp1252") if sample.name == "excel-german.csv" else sample.reading
    close(open_cues(tmp_path / "script.wrong", reading).cues, sample.cues)


def random_cues(seed: int) -> tuple[Cue, ...]:
    chance = random.Random(seed)
    at, cues = 0, []
    for number in range(chance.randrange(1, 30)):
        start = at + chance.randrange(0, 4000)
        at = start + chance.randrange(1, 9000)
        text = "x" + " ".join("".join(chance.choice(LETTERS) for _ in range(chance.randrange(1, 60))).split())
        cues.append(Cue(start / 1000, at / 1000, text, f"Voz {number % 3}" if seed % 2 else ""))
    return tuple(cues)


@pytest.mark.parametrize("kind", ["vtt", "srt", "ttml"])
def test_what_is_written_reads_back(tmp_path: Path, kind: str) -> None:
    for seed in range(40):
        cues = random_cues(seed)
        path = tmp_path / f"a.{kind}"
        path.write_text(captions(kind, cues, "es-ES"))
        close(read_script(path, Reading(speakers=("VOZ 0", "voz 1", "Voz 2"), start="00:00:00:00")), cues)


def test_other_tools_read_what_is_written_and_write_what_is_read(tmp_path: Path) -> None:
    from xml.etree import ElementTree as ET

    import pysubs2
    import ttconv.imsc.reader
    import ttconv.imsc.writer
    import ttconv.srt.reader
    import webvtt
    from ttconv.style_properties import DirectionType, StyleProperties

    cues = tuple(Cue(cue.start, cue.end, f"x{number} sí & no") for number, cue in enumerate(random_cues(2)))
    times = [(round(cue.start * 1000), round(cue.end * 1000)) for cue in cues]
    theirs = pysubs2.SSAFile.from_string(captions("srt", cues), "srt")
    assert [(event.start, event.end, event.plaintext) for event in theirs] == [(*time, cue.text) for time, cue in zip(times, cues, strict=True)]
    theirs.save(str(tmp_path / "a.ass"))
    for event in theirs:
        event.start, event.end = event.start // 10 * 10, event.end // 10 * 10 + 10
    theirs.save(str(tmp_path / "a.ass"))
    close(read_script(tmp_path / "a.ass"), tuple(Cue(event.start / 1000, event.end / 1000, event.plaintext) for event in theirs))
    read = webvtt.from_buffer(io.StringIO(captions("vtt", cues)))
    assert [(caption.start_in_seconds, caption.end_in_seconds) for caption in read] == [(start // 1000, end // 1000) for start, end in times]
    model = ttconv.srt.reader.to_model(io.StringIO(captions("srt", cues)))
    ttconv.imsc.writer.from_model(model).write(tmp_path / "a.ttml", encoding="utf-8", xml_declaration=True)
    close(read_script(tmp_path / "a.ttml"), cues)
    back = ttconv.imsc.reader.to_model(ET.ElementTree(ET.fromstring(captions("ttml", cues, "es-ES"))))
    paragraphs = [p for div in back.get_body() for p in div]
    assert [(round(p.get_begin() * 1000), round(p.get_end() * 1000)) for p in paragraphs] == times
    both = ET.ElementTree(ET.fromstring(captions("ttml", (Cue(0, 1, "Hello, שלום!"), Cue(1, 2, "10 מ'!"), Cue(2, 3, "«مرحبا» Dubwright!")), "ar-SA")))
    ways = [p.get_style(StyleProperties.Direction) for div in ttconv.imsc.reader.to_model(both).get_body() for p in div]
    assert ways == [None, DirectionType.rtl, DirectionType.rtl]


@pytest.mark.parametrize(
    ("text", "rate", "seconds"),
    [  # SMPTE ST 12-1: an hour of drop-frame is 107 892 frames; at 59.94 215 784
        ("01:00:00;00", "29.97df", Fraction(107_892 * 1001, 30_000)), ("00:01:00;02", "29.97df", Fraction(1800 * 1001, 30_000)),
        ("00:10:00;00", "29.97df", Fraction(17_982 * 1001, 30_000)), ("01:00:00:00", "29.97ndf", Fraction(108_000 * 1001, 30_000)),
        ("01:00:00;00", "59.94df", Fraction(215_784 * 1001, 60_000)), ("00:01:00:04", "59.94df", Fraction(3600 * 1001, 60_000)),
        ("10:00:00:12", "25", Fraction(36_000) + Fraction(12, 25)), ("01:00:00:00", "23.976", Fraction(86_400 * 1001, 24_000)), ("00:00:01:00", "24000/1001", Fraction(1001, 1000)),
    ],
)  # fmt: skip
def test_timecodes_are_seconds_at_their_rate(text: str, rate: str, seconds: Fraction) -> None:
    assert timecode(text, rate_of(rate)) == seconds


@pytest.mark.parametrize(("name", "whole", "dropped"), [("29.97df", 30, 2), ("59.94df", 60, 4), ("119.88df", 120, 8)])
def test_twelve_minutes_of_drop_frame_count_every_frame_once(name: str, whole: int, dropped: int) -> None:
    there = [f"00:{m:02}:{s:02};{f:02}" for m in range(12) for s in range(60) for f in range(whole) if m % 10 == 0 or s or f >= dropped]
    found = [timecode(text, rate_of(name)) for text in there]
    assert all(b - a == Fraction(1001, 1000 * whole) for a, b in pairwise(found))


@pytest.mark.parametrize(
    ("text", "rate", "part"),
    [("00:01:00;01", "29.97df", "drop-frame"), ("00:00:01:25", "25", "does not exist"), ("00:00:01;10", "25", "is drop-frame"), ("00:60:00:00", "25", "does not exist"), ("1:2:3", "25", "not a timecode")],
)
def test_timecodes_that_do_not_exist_are_refused(text: str, rate: str, part: str) -> None:
    with pytest.raises(BadTime, match=part):
        timecode(text, rate_of(rate))


def test_a_rate_is_never_guessed(tmp_path: Path) -> None:
    for name in ("excel-german.csv", "resolve.edl"):
        found = faults(tmp_path, name, ALL[name].data, Reading(start="00:00:00:00"))
        assert len(found) >= 3 and all("rate is not known" in fault["problem"] and "timecode:" in fault["fix"] for fault in found)
    with pytest.raises(BadTime, match="with or without drop-frame"):
        rate_of("29.97")
    assert "list is drop-frame" in faults(tmp_path, "a.edl", ALL["resolve.edl"].data, Reading("29.97ndf"))[0]["problem"]
    text = ALL["netflix.ttml"].data.replace(b"10000000t", b"25f").replace(b'ttp:frameRate="24"', b"").replace(b'ttp:tickRate="10000000"', b"")
    assert all("rate" in fault["problem"] for fault in faults(tmp_path, "a.ttml", text))


def test_where_the_programme_starts_is_told_not_guessed(tmp_path: Path) -> None:
    late = SUBRIP.replace("00:0", "10:0").encode()
    assert 'start: "10:00:00:00"' in faults(tmp_path, "a.srt", late)[0]["fix"]
    (tmp_path / "b.srt").write_bytes(late)
    assert read_script(tmp_path / "b.srt", Reading(start="10:00:00:00"))[0].start == 1
    assert read_script(tmp_path / "b.srt", Reading(start="00:00:00:00"))[0].start == 36_001
    assert "before the programme" in faults(tmp_path, "c.srt", SUBRIP, Reading(start="00:00:02.000"))[0]["problem"]
    assert Clock("29.97df", "01:00:00;00").code("01:00:00;00") == 0


def test_every_fault_has_its_line(tmp_path: Path) -> None:
    srt = "Title\n1\n00:00:01,000 --> 00:00:02,000\nHi\n\n2\n00:00:03,000 -> 00:00:04,000\nlost\n\n3\n00:00:09,000 --> 00:00:08,000\nBack\n\n4\n00:00:02,000 --> 00:00:03,000\n...\n"
    assert [fault["field"] for fault in faults(tmp_path, "a.srt", srt)] == ["line 1", "line 7", "line 11", "line 15"]
    ass = "[Events]\nDialogue: 0,0:00:01.00,soon,Default,,0,0,0,,Hi\nDialogue: 0,0:00:01.00\nDialogue: 0,0:00:04.00,0:00:03.00,Default,,0,0,0,,Hi\n"
    assert [fault["field"] for fault in faults(tmp_path, "a.ass", ass)] == ["line 2", "line 3", "line 4"]
    sheet = "speaker,start,end,text\nA,1,2,Hi\nA,,3,Hi\nA,soon,3,Hi\nA,4,5,\n"
    assert [fault["field"] for fault in faults(tmp_path, "a.csv", sheet)] == ["row 3", "row 4", "row 5"]
    ttml = '<tt xmlns="http://www.w3.org/ns/ttml"><body><div>\n<p begin="1x" end="2s">a</p>\n<p begin="3s">b</p>\n<p begin="5s" end="4s">c</p></div></body></tt>'
    assert [fault["field"] for fault in faults(tmp_path, "a.ttml", ttml)] == ["line 2", "line 3", "line 4"]
    vtt = "WEBVTT\n\nlost words\n\n00:01.000 --> 00:02.000\nHi\n00:03.000 --> 00:04.000\nthere\n\n00:00.500 --> 00:02.000\nearlier\n"
    assert [fault["field"] for fault in faults(tmp_path, "a.vtt", vtt)] == ["line 3", "line 7"]
    edl = ALL["resolve.edl"].data.replace(b"FCM: DROP", b"FCM: NON-DROP").replace(b"01:00:03;00", b"01:00:03;30")
    assert [fault["field"] for fault in faults(tmp_path, "a.edl", edl, ALL["resolve.edl"].reading)] == ["line 2", "line 9"]


def test_order_overlap_and_two_voices_in_a_cue(tmp_path: Path) -> None:
    assert "before the cue above" in faults(tmp_path, "a.srt", "1\n00:00:05,000 --> 00:00:06,000\nb\n\n2\n00:00:01,000 --> 00:00:02,000\na\n")[0]["problem"]
    (tmp_path / "a.csv").write_text("start,end,text\n5,6,b\n1,9,a\n")
    found = open_cues(tmp_path / "a.csv")
    assert [(cue.start, cue.end) for cue in found.cues] == [(1, 9), (5, 6)] and "out of order" in found.notes[0]
    both = from_webvtt("WEBVTT\n\n00:01.000 --> 00:03.000\n<v Ann>Four\n<v Bob>Also\n")
    assert [(cue.start, cue.end, cue.speaker) for cue in both] == [(1, 2, "Ann"), (2, 3, "Bob")]
    (tmp_path / "b.srt").write_text("1\n00:00:01,000 --> 00:00:03,000\n- ANN: Four\n- BOB: Also\n")
    found = open_cues(tmp_path / "b.srt", Reading(speakers=("Ann", "Bob")))
    assert [(cue.start, cue.end, cue.speaker, cue.text) for cue in found.cues] == [(1, 2, "ANN", "Four"), (2, 3, "BOB", "Also")] and "1 cue(s)" in found.notes[0]
    assert "ANN, BOB" in open_cues(tmp_path / "b.srt").notes[0]


def test_nested_and_sequential_times_of_ttml(tmp_path: Path) -> None:
    body = '<body begin="10s"><div timeContainer="seq"><p dur="1s">one</p><p begin="500ms" dur="1s">two</p></div><div><p begin="5s" end="6s"><span end="400ms">three</span> <span begin="400ms">four</span></p></div></body>'
    (tmp_path / "a.ttml").write_text(f'<tt xmlns="http://www.w3.org/ns/ttml">{body}</tt>')
    assert [(cue.start, cue.end, cue.text) for cue in read_script(tmp_path / "a.ttml")] == [(10, 11, "one"), (11.5, 12.5, "two"), (15, 15.4, "three"), (15.4, 16, "four")]


@pytest.mark.parametrize(
    "times",
    [lambda s: datetime.timedelta(seconds=s), lambda s: (datetime.datetime(2000, 1, 1) + datetime.timedelta(seconds=s)).time(), lambda s: s, lambda s: f"00:{int(s) // 60:02}:{s % 60:06.3f}"],
    ids=["durations", "times of day", "seconds", "text"],
)
def test_times_of_excel_are_times(tmp_path: Path, times: Callable[[float], object]) -> None:
    (tmp_path / "a.xlsx").write_bytes(workbook(times))
    close(read_script(tmp_path / "a.xlsx"), ALL["studio.xlsx"].cues)


def test_a_sheet_without_ends_and_one_without_times(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("character|in|line\nA|1|one\nB|4|two\n")
    found = open_cues(tmp_path / "a.csv")
    assert [(cue.start, cue.end) for cue in found.cues] == [(1, 4), (4, 5)] and "no end" in found.notes[0]
    (tmp_path / "b.csv").write_text("Role,Target text\nA,one\n\nB,two\n")
    assert [(cue.end, cue.speaker) for cue in read_script(tmp_path / "b.csv")] == [(0, "A"), (0, "B")]
    assert "no column" in faults(tmp_path, "c.csv", "a,b\n1,2\n")[0]["problem"]


def test_encodings_and_names_are_told(tmp_path: Path) -> None:
    for encoding in ("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"):
        (tmp_path / "a.srt").write_bytes(SUBRIP.encode(encoding))
        found = open_cues(tmp_path / "a.srt", Reading(speakers=("ANNA", "BEN")))
        assert found.cues[0].text == "Hola, ¿qué tal?" and bool(found.notes) == ("utf-8" not in encoding)
    fault = faults(tmp_path, "b.srt", SUBRIP.encode("cp1252"))[0]
    assert "not UTF-8" in fault["problem"] and "encoding: cp125" in fault["fix"]
    (tmp_path / "c.srt").write_bytes(SUBRIP.encode("cp1252"))
    assert read_script(tmp_path / "c.srt", Reading(encoding="cp1252"))[0].text == "ANNA: Hola, ¿qué tal?"
    (tmp_path / "d.srt").write_text(WEBVTT)
    assert "is named .srt and is WebVTT" in open_cues(tmp_path / "d.srt").notes[0]
    for data, word in ((b"%PDF-1.7 x", "PDF"), (b"{\\rtf1 x", "rich text"), (b"\xd0\xcf\x11\xe0 x", "older Office"), (b"\x89PNG\0\0", "UTF-8"), (b"ab\0cd", "not text")):
        assert word in faults(tmp_path, "e.txt", data)[0]["problem"]


def zip_of(**parts: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name.replace("__", "/").replace("_", "."), data)
    return out.getvalue()


def test_hostile_files_are_refused(tmp_path: Path) -> None:
    head = '<tt xmlns="http://www.w3.org/ns/ttml">'
    bomb = '<!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;&b;">]>' + head + '<body><div><p begin="1s" end="2s">&c;</p></div></body></tt>'
    outside = '<!DOCTYPE a SYSTEM "file:///etc/passwd">' + head + "</tt>"
    assert all("entities" in faults(tmp_path, "a.ttml", text)[0]["problem"] for text in (bomb, outside))
    assert "nested" in faults(tmp_path, "b.ttml", head + "<div>" * 200)[0]["problem"]
    assert "larger" in faults(tmp_path, "c.txt", b"a" * (LARGEST_BYTES["text"] + 1))[0]["problem"]
    assert "more than 50000 cues" in faults(tmp_path, "d.csv", "text,speaker\n" + "a,b\n" * (MOST_CUES + 2))[-1]["problem"]
    assert "unpacks to more" in faults(tmp_path, "e.xlsx", zip_of(xl__workbook_xml=b"x", xl__a_xml=bytes(260 * 2**20)))[0]["problem"]
    assert "Word" in faults(tmp_path, "f.docx", zip_of(word__document_xml=b"x"))[0]["problem"]
    assert len(faults(tmp_path, "g.vtt", "WEBVTT\n\n" + "x --> y\n\n" * 5000)) == 1000
    assert "after 24 h" in faults(tmp_path, "h.vtt", "WEBVTT\n\n00:01.000 --> 9999:00:00.000\nHi\n")[0]["problem"]
    assert from_text("Hi \x00 \ud800 there.")[0].text == "Hi there."


def test_damaged_scripts_end_in_cues_or_in_faults() -> None:
    told = fuzz(40, seed=7)
    assert not [text for row in told.values() for text in row["wrong"]]
    assert all(row["refused"] and row["read"] for row in told.values())


def test_a_speaker_without_a_voice_is_named_unless_one_voice_is_for_all() -> None:
    cues = (Cue(0, 0, "Hi.", "ANNA"), Cue(0, 0, "Ho.", "Ben"), Cue(0, 0, "Hm.", "carla"))
    with pytest.raises(ManifestError) as told:
        voices_for(cues, "", {"anna": "espeak:es"})
    assert told.value.code == "voices.unmapped" and "Ben, carla" in told.value.message and "voices: {Ben: " in told.value.next_step
    assert voices_for(cues, "espeak:es", {"anna": "espeak:es+f3"}) == ("espeak:es+f3", "espeak:es", "espeak:es")
    assert voices_for((Cue(0, 0, "Hi."),), "", {"anna": "x"}) == ("",)
    with pytest.raises(ManifestError, match="1 cue"):
        voices_for((cues[0], Cue(0, 0, "Hm.")), "", {"ANNA": "espeak:es"})


def test_each_cue_is_spoken_by_its_speakers_voice() -> None:
    cues = (Cue(0, 0, "Hola amigos.", "Anna"), Cue(0, 0, "Hola amigos.", "Ben"), Cue(0, 0, "Hola amigos.", "ANNA"))
    track = synthesise(cues, "es-ES", "", {"ANNA": "espeak:es+f3", "BEN": "espeak:es+m3"})
    parts = [track.sound[round(cue.start * track.rate) :][: int(0.6 * track.rate)].astype(int) for cue in track.speech.cues]
    assert (parts[0] == parts[2]).all() and (parts[0] != parts[1]).mean() > 0.5
