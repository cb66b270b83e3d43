"""One small script in many formats, each as the named tool or house writes it: what tests read and what the fuzzing damages.

Every sample says the same: ANNA asks, BEN answers in two lines, ANNA takes her leave. Written by hand after the tools' conventions.
"""

import datetime
import io
from collections.abc import Callable
from dataclasses import dataclass

from models.types import Cue
from tasks.scripts import Reading

SAID = (("ANNA", "Hola, ¿qué tal?"), ("BEN", "Bien, ¿y tú? Sí & no."), ("ANNA", "Hasta luego."))
AT_25 = ((1.0, 2.48), (3.0, 4.96), (61.0, 63.0))
NTSC = 1.001
MAPPED = ("Anna", "Ben")
PLAIN = Reading()


@dataclass(frozen=True)
class Sample:
    """A script file: name, bytes, how it is read, the kind it is, and the times of its cues."""

    name: str
    data: bytes
    kind: str
    reading: Reading = PLAIN
    times: tuple[tuple[float, float], ...] = AT_25

    @property
    def cues(self) -> tuple[Cue, ...]:
        """What has to be read."""
        return tuple(Cue(start, end, text, who) for (start, end), (who, text) in zip(self.times, SAID, strict=True))


WEBVTT = """WEBVTT - translated by somebody
Kind: captions
Language: es

STYLE
::cue(.loud) { color: yellow }

REGION
id:up
width:40%

NOTE checked
by two people

intro-1
00:00:01.000 --> 00:00:02.480 line:0 position:20% region:up
<v.loud Anna>Hola, <i>¿qué</i> tal?</v>

00:03.000 --> 00:04.960
<v Ben>Bien, ¿y tú?
Sí &amp; no.

00:01:01.000 --> 00:01:03.000
<v Anna>Hasta <00:01:02.000>luego.
"""
SUBRIP = """1
00:00:01,000 --> 00:00:02,480
{\\an8}ANNA: Hola, <i>¿qué tal?</i>

2
00:00:03,000 --> 00:00:04,960
BEN: <font color="#ffff00">Bien, ¿y tú?</font>
Sí & no.

3
00:01:01,000 --> 00:01:03,000
ANNA: Hasta luego.

"""
NETFLIX = """<?xml version="1.0" encoding="utf-8"?>
<tt xmlns:tt="http://www.w3.org/ns/ttml" xmlns:ttm="http://www.w3.org/ns/ttml#metadata" xmlns:ttp="http://www.w3.org/ns/ttml#parameter" xmlns:tts="http://www.w3.org/ns/ttml#styling" \
ttp:cellResolution="40 19" ttp:pixelAspectRatio="1 1" ttp:tickRate="10000000" ttp:frameRate="24" ttp:frameRateMultiplier="1000 1001" ttp:timeBase="media" tts:extent="640px 480px" ttp:version="2" xml:lang="es" xmlns="http://www.w3.org/ns/ttml">
 <head>
  <metadata><ttm:title>Welcome</ttm:title>
   <ttm:agent xml:id="anna" type="character"><ttm:name type="alias">Anna</ttm:name></ttm:agent><ttm:agent xml:id="ben" type="character"><ttm:name type="alias">Ben</ttm:name></ttm:agent></metadata>
  <styling><initial tts:backgroundColor="transparent" tts:color="white"/><style xml:id="style0" tts:textAlign="center"/></styling>
  <layout><region xml:id="region0" tts:displayAlign="after"/></layout>
 </head>
 <body xml:space="preserve"><div>
  <p xml:id="subtitle0" begin="10000000t" end="24800000t" region="region0" style="style0" ttm:agent="anna">Hola, ¿<span tts:ruby="container"><span tts:ruby="base">qué</span><span tts:ruby="text">ke</span></span> tal?</p>
  <p xml:id="subtitle1" begin="30000000t" end="49600000t" region="region0" style="style0" ttm:agent="ben"><span style="style0">Bien, ¿y tú?</span><br/><span tts:fontStyle="italic">Sí &amp; no.</span></p>
  <p xml:id="subtitle2" begin="610000000t" end="630000000t" region="region0" style="style0" ttm:agent="anna">Hasta luego.</p>
 </div></body>
</tt>
"""
EBU = """<?xml version="1.0" encoding="UTF-8"?>
<!-- after EBU Tech 3380 -->
<tt:tt xmlns:tt="http://www.w3.org/ns/ttml" xmlns:ttm="http://www.w3.org/ns/ttml#metadata" xmlns:ttp="http://www.w3.org/ns/ttml#parameter" xmlns:ebuttm="urn:ebu:tt:metadata" ttp:timeBase="media" xml:lang="es">
<tt:head><tt:metadata><ebuttm:documentMetadata><ebuttm:conformsToStandard>urn:ebu:tt:distribution:2014-01</ebuttm:conformsToStandard></ebuttm:documentMetadata>
<ttm:agent type="person" xml:id="S1"><ttm:name type="full">Anna</ttm:name></ttm:agent><ttm:agent type="person" xml:id="S2"><ttm:name type="full">Ben</ttm:name></ttm:agent></tt:metadata></tt:head>
<tt:body ttm:agent="S1"><tt:div begin="00:00:01.000">
<tt:p xml:id="a" begin="00:00:00.000" end="00:00:01.480"><tt:span>Hola,</tt:span> <tt:span>¿qué tal?</tt:span></tt:p>
<tt:p xml:id="b" begin="00:00:02.000" dur="1.96s" ttm:agent="S2">Bien, ¿y tú?<tt:br/>Sí &amp; no.</tt:p>
<tt:p xml:id="c" begin="1m" dur="2000ms">Hasta luego.</tt:p>
</tt:div></tt:body></tt:tt>
"""
SMPTE_TTML = """<?xml version="1.0" encoding="UTF-8"?>
<tt xmlns="http://www.w3.org/ns/ttml" xmlns:ttm="http://www.w3.org/ns/ttml#metadata" xmlns:ttp="http://www.w3.org/ns/ttml#parameter" ttp:timeBase="smpte" ttp:frameRate="30" ttp:frameRateMultiplier="1000 1001" ttp:dropMode="dropNTSC" xml:lang="es">
<head><metadata><ttm:agent xml:id="a" type="person"><ttm:name type="full">Anna</ttm:name></ttm:agent><ttm:agent xml:id="b" type="person"><ttm:name type="full">Ben</ttm:name></ttm:agent></metadata></head>
<body><div><p begin="01:00:01:00" end="01:00:02:15" ttm:agent="a">Hola, ¿qué tal?</p><p begin="01:00:03:00" end="01:00:05:00" ttm:agent="b">Bien, ¿y tú? Sí &amp; no.</p>
<p begin="01:01:01:02" end="01:01:03:02" ttm:agent="a">Hasta luego.</p></div></body></tt>
"""
AEGISUB = """[Script Info]
; Script generated by Aegisub 3.3.3
; http://www.aegisub.org/
Title: Default Aegisub file
ScriptType: v4.00+
WrapStyle: 0
ScaledBorderAndShadow: yes
YCbCr Matrix: None

[Aegisub Project Garbage]
Last Style Storage: Default
Audio File: ?video

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,Arial,48,&H00FFFFFF,&H000000FF,&H00000000,&H00000000,0,0,0,0,100,100,0,0,1,2,2,2,10,10,10,1

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
Comment: 0,0:00:00.00,0:00:05.00,Default,,0,0,0,,not said
Dialogue: 0,0:00:03.00,0:00:04.96,Default,Ben,0,0,0,,Bien, ¿y tú?\\N{\\i1}Sí & no.{\\i0}
Dialogue: 0,0:00:01.00,0:00:02.48,Default,Anna,0,0,0,,{\\an8\\fad(200,200)}Hola, {\\k20}¿qué tal?
Dialogue: 1,0:00:00.00,0:01:03.00,Default,,0,0,0,,{\\p1}m 0 0 l 100 0 100 100{\\p0}
Dialogue: 0,0:00:05.00,0:00:06.00,Default,,0,0,0,,
Dialogue: 0,0:01:01.00,0:01:03.00,Default,Anna,0,0,0,,Hasta\\hluego.
"""
SSA = """[Script Info]
ScriptType: v4.00

[V4 Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, TertiaryColour, BackColour, Bold, Italic, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, AlphaLevel, Encoding
Style: Anna,Arial,20,65535,65535,65535,-2147483640,-1,0,1,3,0,2,30,30,30,0,0
Style: Ben,Arial,20,65535,65535,65535,-2147483640,-1,0,1,3,0,2,30,30,30,0,0

[Events]
Format: Marked, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
Dialogue: Marked=0,0:00:01.00,0:00:02.48,Anna,,0000,0000,0000,,Hola, ¿qué tal?
Dialogue: Marked=0,0:00:03.00,0:00:04.96,*Ben,,0000,0000,0000,,Bien, ¿y tú? Sí & no.
Dialogue: Marked=0,0:01:01.00,0:01:03.00,Anna,,0000,0000,0000,,Hasta luego.
"""
EXCEL_GERMAN = """Nr.;Rolle;TC In;TC Out;Original;Translation
1;Anna;10:00:01:00;10:00:02:12;How are you?;"Hola, ¿qué tal?"
2;Ben;10:00:03:00;10:00:04:24;Fine;"Bien, ¿y tú?
Sí & no."

3;Anna;10:01:01:00;10:01:03:00;Bye;Hasta luego.
"""
EXCEL_UNICODE = "sep=\t\nCharacter\tStart (s)\tDuration (s)\tDialogue\tNotes\nAnna\t1\t1,48\tHola, ¿qué tal?\tsoft\nBen\t3\t1,96\t\"Bien, ¿y tú?\nSí & no.\"\t\nAnna\t61\t2\tHasta luego.\t\n"
EDIT_LIST = """TITLE: WELCOME_ES
FCM: DROP FRAME

001  AX       V     C        00:00:00;00 00:00:01;15 01:00:01;00 01:00:02;15
* FROM CLIP NAME: welcome.mov
* SPEAKER: Anna
* TEXT: Hola, ¿qué tal?

002  AX       V     C        00:00:01;15 00:00:03;15 01:00:03;00 01:00:05;00
* CHARACTER: Ben
* TEXT: Bien, ¿y tú?
* TEXT: Sí & no.

003  BL       V     C        00:00:00;00 00:00:10;00 01:00:05;00 01:00:15;00
M2   AX       000.0                00:00:00;00

004  AX       V     C        00:00:03;15 00:00:05;15 01:01:01;02 01:01:03;02
* SPEAKER: Anna
* TEXT: Hasta luego.
"""
DROP_TIMES = tuple((a * NTSC, b * NTSC) for a, b in ((1.0, 2.5), (3.0, 5.0), (61.0, 63.0)))


def workbook(times: Callable[[float], object] = lambda seconds: datetime.timedelta(seconds=seconds)) -> bytes:
    """An Excel dubbing sheet with a title above its headers, a picture list as a second sheet, and Excel's own times."""
    from openpyxl import Workbook

    book = Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = "Dialogue list"
    for row in (["Welcome, episode 1"], [], ["#", "CHARACTER", "Time In", "Time Out", "English", "Español / Translation", "Translation"]):
        sheet.append(row)
    for number, ((start, end), (who, text)) in enumerate(zip(AT_25, SAID, strict=True), 1):
        sheet.append([number, who.title(), times(start), times(end), "...", "", text])
    book.create_sheet("Pictures").append(["file", "place"])
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def samples() -> tuple[Sample, ...]:
    """All of them. The workbook is made anew each time, since its date is in it."""
    drop = Reading("29.97df", "01:00:00:00")
    return (
        Sample("w3c.vtt", WEBVTT.encode(), "vtt"),
        Sample("subtitle-edit.srt", SUBRIP.replace("\n", "\r\n").encode("utf-8-sig"), "srt", Reading(speakers=MAPPED)),
        Sample("netflix.ttml", NETFLIX.encode(), "ttml"),
        Sample("ebu-tt-d.xml", EBU.encode(), "ttml"),
        Sample("broadcast.ttml", SMPTE_TTML.encode("utf-16"), "ttml", Reading(start="01:00:00:00"), DROP_TIMES),
        Sample("aegisub.ass", AEGISUB.encode("utf-8-sig"), "ass"),
        Sample("old.ssa", SSA.replace("\n", "\r\n").encode(), "ass", Reading(speakers=MAPPED)),
        Sample("excel-german.csv", EXCEL_GERMAN.replace("\n", "\r\n").encode("cp1252"), "sheet", Reading("25", "10:00:00:00")),
        Sample("excel-unicode.txt", EXCEL_UNICODE.encode("utf-16"), "sheet"),
        Sample("studio.xlsx", workbook(), "xlsx"),
        Sample("resolve.edl", EDIT_LIST.encode(), "edl", drop, DROP_TIMES),
    )
