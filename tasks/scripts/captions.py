"""Captions that lie beside a delivery: cues at the times at which they are heard, as WebVTT, SRT or TTML. What is written reads back."""

import html
import re
import unicodedata
from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape, quoteattr

from models.types import Cue
from tasks.scripts.lines import words_of
from tasks.scripts.subtitles import SRT_TAG

TYPES = {"vtt": "text/vtt", "srt": "application/x-subrip", "ttml": "application/ttml+xml"}
XML_REFUSES = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
ENTITY = re.compile(r"&(?=#?\w{1,32};?)")


def captions(kind: str, cues: Sequence[Cue], locale: str = "") -> str:
    """Cues as `vtt`, `srt` or `ttml`, in order of time."""
    return {"vtt": webvtt, "srt": srt, "ttml": lambda given: ttml(given, locale)}[kind](cues)


def webvtt(cues: Sequence[Cue]) -> str:
    """Cues as a WebVTT file (W3C), in order of time; speakers become voice tags."""
    blocks = ["WEBVTT"]
    for cue, start, end in _shown(cues):
        text = "\n".join(_escaped(line) for line in _rows(cue.text))
        voice = f"<v {_escaped(' '.join(cue.speaker.split()))}>" if cue.speaker.strip() else ""
        blocks.append(f"{_clock(start, '.')} --> {_clock(end, '.')}\n{voice}{text}")
    return "\n\n".join(blocks) + "\n"


def srt(cues: Sequence[Cue]) -> str:
    """Cues as an SRT file, in order of time; a speaker stands before the text, as `ANNA: text`."""
    blocks = []
    for number, (cue, start, end) in enumerate(_shown(cues), 1):
        text = "\n".join(_plain(line) for line in _rows(cue.text))
        name = f"{_plain(words_of(cue.speaker))}: " if cue.speaker.strip() else ""
        blocks.append(f"{number}\n{_clock(start, ',')} --> {_clock(end, ',')}\n{name}{text}")
    return "\n\n".join(blocks) + "\n" if blocks else ""


def ttml(cues: Sequence[Cue], locale: str = "") -> str:
    """Cues as TTML (IMSC 1.1 text profile, media time), in order of time; speakers become agents."""
    shown = list(_shown(cues))
    speakers = list(dict.fromkeys(words_of(cue.speaker) for cue, _, _ in shown if cue.speaker.strip()))
    agents = [f'      <ttm:agent xml:id="a{n}" type="character"><ttm:name type="alias">{_xml(name)}</ttm:name></ttm:agent>' for n, name in enumerate(speakers, 1)]
    rows = []
    for cue, start, end in shown:
        agent = f' ttm:agent="a{speakers.index(words_of(cue.speaker)) + 1}"' if cue.speaker.strip() else ""
        way = ' tts:direction="rtl"' if _leftwards(cue.text) else ""
        rows.append(f'      <p begin="{_clock(start, ".")}" end="{_clock(end, ".")}"{agent}{way}>{"<br/>".join(_xml(line) for line in _rows(cue.text))}</p>')
    return "\n".join([
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<tt xmlns="http://www.w3.org/ns/ttml" xmlns:ttm="http://www.w3.org/ns/ttml#metadata" xmlns:ttp="http://www.w3.org/ns/ttml#parameter" '
        f'xmlns:tts="http://www.w3.org/ns/ttml#styling" xml:lang={quoteattr(_xml(locale))} ttp:timeBase="media" ttp:contentProfiles="http://www.w3.org/ns/ttml/profile/imsc1.1/text">',
        "  <head>", *(["    <metadata>", *agents, "    </metadata>"] if agents else []),
        '    <layout>', '      <region xml:id="bottom" tts:origin="10% 80%" tts:extent="80% 15%" tts:displayAlign="after" tts:textAlign="center"/>', "    </layout>",
        "  </head>", '  <body region="bottom">', "    <div>", *rows, "    </div>", "  </body>", "</tt>", "",
    ])  # fmt: skip


def _shown(cues: Sequence[Cue]) -> Iterator[tuple[Cue, int, int]]:
    """Cues that hold text, in order, with their start and end in thousandths; none is shown for no time."""
    for cue in sorted(cues, key=lambda c: (c.start, c.end)):
        if _rows(cue.text):
            start = max(0, round(cue.start * 1000))
            yield cue, start, max(round(cue.end * 1000), start + 1)


def _rows(text: str) -> list[str]:
    return [line for raw in text.splitlines() if (line := words_of(raw))]


def _escaped(text: str) -> str:
    return html.escape(text, quote=False)


def _plain(text: str) -> str:
    """A line of SRT, which knows no escapes; what would be read as a tag or an entity is written as entities all the same."""
    text = ENTITY.sub("&amp;", text)
    text = text.replace("<", "&lt;").replace(">", "&gt;") if SRT_TAG.search(text) else text
    return text.replace("{", "&#123;") if "{\\" in text else text


def _leftwards(text: str) -> bool:
    """Whether a text is written from right to left, by its first letter that has a direction (Unicode's rule P2)."""
    return next((way for c in text if (way := unicodedata.bidirectional(c)) in ("L", "R", "AL")), "L") != "L"


def _xml(text: str) -> str:
    return escape(XML_REFUSES.sub("", text))


def _clock(thousandths: int, point: str) -> str:
    return f"{thousandths // 3_600_000:02d}:{thousandths // 60_000 % 60:02d}:{thousandths // 1000 % 60:02d}{point}{thousandths % 1000:03d}"
