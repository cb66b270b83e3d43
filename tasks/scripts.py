"""Scripts to cues: plain text (a cue per sentence) and WebVTT, every fault reported with its line."""

import re
from pathlib import Path

from infra.errors import ManifestError
from models.types import Cue

SENTENCE = re.compile(r"(?<=[.!?…。！？।؟])[\s]+|(?<=[。！？])|\n\s*\n")
TAG = re.compile(r"<[^>]*>")
VOICE = re.compile(r"<v(?:\.[^\s>]*)?\s+([^>]+)>")


def from_text(text: str) -> tuple[Cue, ...]:
    """Sentences as cues without times (start and end 0). Raises ManifestError when there is no word in it."""
    parts = [" ".join(part.split()) for part in SENTENCE.split(text) if part and part.strip()]
    if not any(c.isalnum() for c in text):
        raise _faults([("text", "the text holds no word", "write what is to be said")])
    return tuple(Cue(0.0, 0.0, part) for part in parts)


def from_webvtt(text: str) -> tuple[Cue, ...]:
    """Cues of a WebVTT file, in seconds, voice tags as speakers. Raises ManifestError with every fault and its line."""
    import io

    import webvtt
    from webvtt.errors import MalformedCaptionError, MalformedFileError

    lines = text.splitlines()
    faults = [] if lines and lines[0].lstrip("\ufeff").startswith("WEBVTT") else [("line 1", "the file does not begin with WEBVTT", "write WEBVTT in the first line")]
    cues: list[Cue] = []
    try:
        captions = [] if faults else webvtt.from_buffer(io.StringIO(text.lstrip("\ufeff"))).captions
    except (MalformedFileError, MalformedCaptionError, ValueError) as error:
        faults.append(("file", f"it is not WebVTT ({error})", "check it with a WebVTT validator"))
        captions = []
    faults += _bad_times(lines)
    for caption in captions:
        where = f"cue at {caption.start}"
        start, end = _seconds(caption.start), _seconds(caption.end)
        speaker = VOICE.search(caption.raw_text)
        words = " ".join(TAG.sub(" ", caption.raw_text).split())
        if not any(c.isalnum() for c in words):
            faults.append((where, "it holds no word", "write what is said, or remove the cue"))
        elif end <= start:
            faults.append((where, f"it ends at {caption.end}, not after its start", "correct its times"))
        elif cues and start < cues[-1].start:
            faults.append((where, "it starts before the cue above it", "put the cues in order"))
        else:
            cues.append(Cue(start, end, words, speaker.group(1).strip() if speaker else ""))
    if not cues and not faults:
        faults.append(("file", "it holds no cue", "add a cue"))
    if faults:
        raise _faults(faults)
    return tuple(cues)


def _seconds(stamp: str) -> float:
    *hours, minutes, seconds = stamp.split(":")
    return int(hours[0] if hours else 0) * 3600 + int(minutes) * 60 + float(seconds)


def _bad_times(lines: list[str]) -> list[tuple[str, str, str]]:
    stamp = r"(?:\d{2,}:)?[0-5]\d:[0-5]\d\.\d{3}"
    good = re.compile(rf"^\s*{stamp}\s+-->\s+{stamp}(\s.*)?$")
    return [
        (f"line {number}", f"{line.strip()[:60]!r} is not a pair of times", "write times as 00:01.000 --> 00:03.500")
        for number, line in enumerate(lines, 1)
        if "-->" in line and not good.match(line)
    ]


def read_script(path: Path) -> tuple[Cue, ...]:
    """Cues of a script file: WebVTT by its name or first line, otherwise plain text in UTF-8. Raises ManifestError."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise _faults([(f"byte {error.start}", "the script is not UTF-8 text", "save it as UTF-8")]) from error
    if path.suffix.lower() == ".vtt" or text.startswith("WEBVTT"):
        return from_webvtt(text)
    return from_text(text)


def _faults(rows: list[tuple[str, str, str]]) -> ManifestError:
    faults = [{"row": "script", "field": where, "problem": problem, "fix": fix} for where, problem, fix in rows]
    text = "; ".join(f"{where}: {problem}" for where, problem, _ in rows)
    return ManifestError(f"the script has {len(rows)} fault(s): {text}", code="script.invalid", faults=faults, next_step=rows[0][2] + ".")
