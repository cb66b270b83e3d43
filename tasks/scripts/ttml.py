"""TTML and its profiles (IMSC, EBU-TT, iTunes, Netflix): paragraphs with their times and agents; layout and style are left out.

XML is read by a parser that refuses document types and entities; time expressions are ttconv's. TTML2, sections 12 (timing) and 14 (metadata).
"""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any
from xml.sax.handler import ContentHandler, feature_external_ges, feature_external_pes, feature_namespaces

from tasks.scripts.faults import BadTime, refused
from tasks.scripts.lines import SHARED, Found, Line, Reading, split
from tasks.scripts.times import Rate, timecode

NAMESPACE = re.compile(r"http://www\.w3\.org/(?:ns/ttml|2006/(?:10|04)/ttaf1)(?P<part>#\w+)?")
XML = "http://www.w3.org/XML/1998/namespace"
TIMED = ("body", "div", "p", "span", "br")
DEEPEST, MOST_AGENTS = 100, 2000
RUBY = ("text", "textContainer", "delimiter")  # how a word is read, printed above it: said once is enough
OFFSET = re.compile(r"\d{1,9}(?:\.\d{1,9})?(?:h|m|s|ms|f|t)")
FRAMES = re.compile(r"\d{2,3}:\d{2}:\d{2}[:;]\d{2,3}")
CLOCK = re.compile(r"\d{2,4}:\d{2}:\d{2}(?:\.\d{1,9})?")


@dataclass
class Element:
    """An open element: its name, times in seconds of the document (end None: as long as its parent), and whom it gives the word."""

    name: str
    begin: Fraction = Fraction(0)
    end: Fraction | None = None
    seq: bool = False
    cursor: Fraction = Fraction(0)  # in a sequence: where the last child ended
    agent: str = ""
    hidden: bool = False
    bad: bool = False  # its times, or those around it, cannot be read, which has been told


@dataclass
class Times:
    """How the document's times are read: what its root says, else the manifest."""

    reading: Reading
    rate: Rate | None = None
    ticks: Fraction | None = None
    smpte: bool = False
    context: Any = None

    def seconds(self, text: str) -> Fraction:
        """A time expression in seconds of the document. Raises BadTime."""
        from ttconv.imsc.attributes import parse_time_expression

        plain = text.strip()
        if FRAMES.fullmatch(plain):
            if self.smpte or ";" in plain:
                return timecode(plain, self.rate)
            timecode(plain, Rate(self._known(plain).frames))  # whether there is such a frame
        elif not OFFSET.fullmatch(plain) and not CLOCK.fullmatch(plain):
            raise BadTime(f"{plain[:40]!r} is not a TTML time", "write 00:01:02.500, 00:01:02:12, 62.5s, 1500f or 100t")
        if plain.endswith("t") and self.ticks is None:
            raise BadTime(f"{plain} counts ticks of an unknown rate", "give ttp:tickRate in the tt element")
        frames = self._known(plain).frames if plain.endswith("f") or FRAMES.fullmatch(plain) else Fraction(1)
        self.context.frame_rate, self.context.tick_rate = frames, self.ticks or Fraction(1)
        try:
            return parse_time_expression(self.context, plain)
        except ValueError as error:
            raise BadTime(f"{plain[:40]!r} is not a TTML time ({error})", "correct it") from error

    def _known(self, text: str) -> Rate:
        if self.rate is None:
            raise BadTime(f"{text} counts frames, and their rate is not known", "give ttp:frameRate in the tt element, or timecode: {rate: 25} in the manifest")
        return self.rate


@dataclass
class Run:
    """A piece of text with the times and the agent of the element that holds it."""

    begin: Fraction
    end: Fraction | None
    agent: str
    text: str


@dataclass
class Document:
    """What has been read of the document so far."""

    found: Found = field(default_factory=Found)
    agents: dict[str, str] = field(default_factory=dict)
    skipped: int = 0
    shared: int = 0
    ruby: int = 0
    origin: Fraction = Fraction(0)


def read_ttml(data: bytes, text: str, reading: Reading) -> Found:
    """Lines of a TTML document. Raises ManifestError where it is no XML, or holds a document type or entities."""
    from xml.sax import SAXException
    from xml.sax.xmlreader import InputSource

    from defusedxml.common import DefusedXmlException
    from defusedxml.expatreader import DefusedExpatParser

    handler = Handler(reading)
    parser = DefusedExpatParser(forbid_dtd=True)
    for feature, value in ((feature_namespaces, True), (feature_external_ges, False), (feature_external_pes, False)):
        parser.setFeature(feature, value)
    parser.setContentHandler(handler)
    source = InputSource()
    declared = re.match(rb"\s*<\?xml[^>]*encoding=[\"']([\w.-]+)", data[:200].lstrip(b"\xef\xbb\xbf"))
    if reading.encoding or not declared or declared[1].lower().startswith(b"utf"):
        data, encoding = re.sub(r"^\s*<\?xml[^>]*\?>", "", text.lstrip("\ufeff")).encode("utf-8", "replace"), "utf-8"
        source.setEncoding(encoding)
    source.setByteStream(io.BytesIO(data))
    try:
        parser.parse(source)
    except DefusedXmlException as error:
        raise refused("file", "its XML declares a document type or entities, which no script needs", "remove <!DOCTYPE ...> and the entities") from error
    except (SAXException, LookupError, ValueError) as error:
        where = f"line {error.getLineNumber()}" if hasattr(error, "getLineNumber") else "file"
        said = error.getMessage() if isinstance(error, SAXException) else str(error)
        raise refused(where, f"it is not well-formed XML ({said[:80]})", "export it anew, or check it with an XML validator") from error
    return handler.done()


class Handler(ContentHandler):
    """Walks the document once and keeps no tree of it."""

    def __init__(self, reading: Reading) -> None:
        super().__init__()
        self.reading, self.times, self.made = reading, Times(reading), Document()
        self.stack: list[Element] = []
        self.runs: list[Run] = []
        self.where = ""
        self.agent = ""  # whose name is being read
        self.line: Callable[[], int] = lambda: 0

    def setDocumentLocator(self, locator: Any) -> None:
        """The parser's place in the file, for faults."""
        self.line = locator.getLineNumber

    def startElementNS(self, name: tuple[str | None, str], qname: str | None, attrs: Any) -> None:
        """An element begins."""
        space, local = name
        if len(self.stack) >= DEEPEST:
            raise ValueError(f"elements are nested more than {DEEPEST} deep")
        kind = NAMESPACE.fullmatch(space or "")
        attributes = {(uri or "", key): value for (uri, key), value in attrs.items()}
        if not self.stack:
            if local != "tt" or not kind:
                raise refused("line 1", f"it is XML, but not TTML: its root is <{local[:40]}>", "give TTML, or another format of docs/scripts.md")
            self._root(attributes)
        content = kind and not kind["part"] and local in TIMED
        element = Element(local if kind else "", hidden=not content and any(e.name in ("body", "p") for e in self.stack))
        if self.stack:
            above = self.stack[-1]
            element.agent, element.hidden, element.bad = above.agent, element.hidden or above.hidden, above.bad
            element.begin, element.end = above.begin, above.end
        if content:
            self._timed(element, attributes)
        if kind and kind["part"] == "#metadata" and local == "agent" and len(self.made.agents) < MOST_AGENTS:
            self.agent = attributes.get((XML, "id"), "")
            self.made.agents.setdefault(self.agent, "")
        self.stack.append(element)
        if local == "p" and content:
            self.runs, self.where = [], f"line {self.line()}"

    def endElementNS(self, name: tuple[str | None, str], qname: str | None) -> None:
        """An element ends."""
        element = self.stack.pop()
        if self.stack and self.stack[-1].seq and element.end is not None:
            self.stack[-1].cursor = element.end
        if element.name == "agent":
            self.agent = ""
        if element.name == "br" and not element.hidden:
            self._text("\n")
        if element.name == "p" and not element.hidden and not element.bad:
            self._paragraph()

    def characters(self, content: str) -> None:
        """Text of an element."""
        if self.agent and self.stack[-1].name == "name":
            self.made.agents[self.agent] += content
        elif any(element.name == "p" for element in self.stack) and not self.stack[-1].hidden:
            self._text(content)

    def _text(self, text: str) -> None:
        here = self.stack[-1]
        if self.runs and (self.runs[-1].begin, self.runs[-1].end, self.runs[-1].agent) == (here.begin, here.end, here.agent):
            self.runs[-1].text += text
        else:
            self.runs.append(Run(here.begin, here.end, here.agent, text))

    def _root(self, attributes: dict[tuple[str, str], str]) -> None:
        """Rates and time base of the tt element; what the manifest says of the rate stands where the document says nothing."""
        from ttconv.imsc.attributes import TemporalAttributeParsingContext

        own = {key: value for (uri, key), value in attributes.items() if uri.endswith("#parameter")}
        times, faults = self.times, self.made.found.faults
        times.context = TemporalAttributeParsingContext()
        times.smpte = own.get("timeBase") == "smpte"
        try:
            times.rate = self._rate(own) or self.reading.clock().rate
            if own.get("timeBase", "media") not in ("media", "smpte"):
                raise BadTime(f"its time base is {own['timeBase'][:20]!r}", "export it with ttp:timeBase media or smpte")
            ticks = own.get("tickRate", "")
            times.ticks = Fraction(ticks) if re.fullmatch(r"[1-9]\d{0,11}", ticks) else times.rate.frames if times.rate and "frameRate" in own else None
            if ticks and times.ticks is None:
                raise BadTime(f"its tick rate is {ticks[:20]!r}", "give a whole number in ttp:tickRate")
            self.made.origin = self.reading.clock().origin(times.rate, code=times.smpte)
        except BadTime as error:
            faults.add(f"line {self.line()}", error.problem, error.fix)

    def _rate(self, own: dict[str, str]) -> Rate | None:
        if "frameRate" not in own:
            return None
        multiplier = re.fullmatch(r"([1-9]\d{0,5})[ :]([1-9]\d{0,5})", own.get("frameRateMultiplier", "1 1").strip())
        if not re.fullmatch(r"[1-9]\d{0,2}", own["frameRate"]) or not multiplier:
            raise BadTime("its frame rate is not a number and a multiplier", 'write ttp:frameRate="30" ttp:frameRateMultiplier="1000 1001"')
        frames = Fraction(own["frameRate"]) * Fraction(int(multiplier[1]), int(multiplier[2]))
        drop = own.get("dropMode", "nonDrop") == "dropNTSC"
        if own.get("dropMode", "nonDrop") not in ("nonDrop", "dropNTSC") or (drop and frames.denominator != 1001):
            raise BadTime(f"drop mode {own['dropMode'][:20]!r} does not go with {float(frames):.3f} frames a second", 'write ttp:frameRateMultiplier="1000 1001" for 29.97, or remove ttp:dropMode')
        return Rate(frames, drop)

    def _timed(self, element: Element, attributes: dict[tuple[str, str], str]) -> None:
        """Times of an element within its parent's, which runs its children beside or after one another."""
        above = self.stack[-1]
        base = above.cursor if above.seq else above.begin
        given: dict[str, Fraction] = {}
        for key in ("begin", "end", "dur"):
            if ("", key) in attributes:
                try:
                    given[key] = self.times.seconds(attributes["", key])
                except BadTime as error:
                    self.made.found.faults.add(f"line {self.line()}", f"{key} {error.problem}", error.fix)
                    element.bad = True
        element.begin = base + given.get("begin", Fraction(0))
        ends = [base + given["end"]] if "end" in given else []
        ends += [element.begin + given["dur"]] if "dur" in given else []
        ends += [above.end] if above.end is not None else []
        element.end = min(ends) if ends else None
        element.seq = attributes.get(("", "timeContainer")) == "seq"
        element.cursor = element.begin
        names = [value for (uri, key), value in attributes.items() if key == "agent" and uri.endswith("#metadata")]
        element.agent = names[0] if names else element.agent
        if any(key == "ruby" and value in RUBY for (_, key), value in attributes.items()):
            element.hidden = True
            self.made.ruby += 1

    def _paragraph(self) -> None:
        """The text of a paragraph as one line for each of its times and agents."""
        made, found = self.made, self.made.found
        runs = [run for run in self.runs if run.text.strip()]
        if not runs:
            made.skipped += 1
            return
        times = list(dict.fromkeys((run.begin, run.end) for run in runs))
        for begin, end in times:
            parts: list[tuple[str, str]] = []
            for run in (run for run in runs if (run.begin, run.end) == (begin, end)):
                if parts and parts[-1][0] == run.agent:
                    parts[-1] = (run.agent, parts[-1][1] + run.text)
                else:
                    parts.append((run.agent, run.text))
            if end is None:
                found.faults.add(self.where, "it has no end", "give the paragraph an end or a dur")
                continue
            made.shared += len(parts) > 1
            found.lines += split(Line(self.where, begin - made.origin, end - made.origin, "", "", f"{float(end):.3f} s"), parts)
        if found.full():
            found.faults.add(self.where, "there are too many cues", "split it into several scripts")
            found.faults.end()

    def done(self) -> Found:
        """What was found, agents by their names."""
        found, made = self.made.found, self.made
        names = {key: " ".join(value.split()) or key for key, value in made.agents.items()}
        found.lines = [replace(line, speaker=" & ".join(names.get(part, part) for part in line.speaker.split())) for line in found.lines]
        found.notes += [f"{made.skipped} paragraph(s) without text are left out"] if made.skipped else []
        found.notes += [f"{made.ruby} ruby annotation(s) are not spoken; the words under them are"] if made.ruby else []
        found.notes += [SHARED.format(count=made.shared)] if made.shared else []
        return found
