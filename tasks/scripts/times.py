"""Times of scripts: clock times and SMPTE ST 12-1 timecodes, drop-frame included, from where the programme starts.

A timecode's seconds depend on its rate, which no sheet and no edit list states in full; it is never guessed.
"""

import re
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from tasks.scripts.faults import BadTime

NTSC = {"23.976": 24, "23.98": 24, "29.97": 30, "47.952": 48, "59.94": 60, "119.88": 120}  # as people write rates / 1.001
DROPPING = (30, 60, 120)  # whole rates whose 1/1.001 has a drop-frame count
RATES = "23.976, 24, 25, 29.97df, 29.97ndf, 30, 50, 59.94df, 59.94ndf, 60"
CLOCK = re.compile(r"(?:(\d{1,4}):)?(\d{1,2}):(\d{1,2})(?:[.,](\d{1,9}))?")
CODE = re.compile(r"(\d{1,3}):(\d{2}):(\d{2})([:;.,])(\d{2,3})")
SECONDS = re.compile(r"(\d{1,9}(?:[.,]\d{1,9})?)\s*s?")


@dataclass(frozen=True)
class Rate:
    """Frames a second, and whether timecodes leave numbers out (drop-frame)."""

    frames: Fraction
    drop: bool = False

    @property
    def whole(self) -> int:
        """Frames that a timecode counts in a second."""
        return ceil(self.frames)


def rate_of(text: str) -> Rate:
    """`25`, `23.976`, `29.97df`, `59.94ndf` or `24000/1001` as a rate. Raises BadTime, too where drop-frame is left open."""
    found = re.fullmatch(r"\s*(\d{1,6}(?:\.\d{1,6})?|\d{1,6}/\d{1,6})\s*(df|ndf)?\s*", text.lower())
    if not found:
        raise BadTime(f"{text[:20]!r} is not a frame rate", f"write one of {RATES}")
    number, mode = found.groups()
    frames = Fraction(NTSC[number] * 1000, 1001) if number in NTSC else Fraction(number) if not number.endswith("/0") else Fraction(0)
    if not 1 <= frames <= 1000:
        raise BadTime(f"{text[:20]!r} is not a frame rate", f"write one of {RATES}")
    drops = frames.denominator == 1001 and ceil(frames) in DROPPING
    if drops and not mode:
        raise BadTime(f"a rate of {number} counts with or without drop-frame, 3.6 s an hour apart", f"write {number}df or {number}ndf")
    if mode == "df" and not drops:
        raise BadTime(f"there is no drop-frame count at {number}", f"write {number}")
    return Rate(frames, mode == "df")


class Clock:
    """Reads a script's times as seconds from the start of the programme, by the rate and the start that the manifest gives ('' is none)."""

    def __init__(self, rate: str = "", start: str = "") -> None:
        self.rate = rate_of(rate) if rate else None
        self.start = start.strip()

    def clock(self, text: str) -> Fraction:
        """A clock time, as 1:02:03.5 or 02:03,500. Raises BadTime."""
        return _clock(text) - self.origin()

    def code(self, text: str, rate: Rate | None = None) -> Fraction:
        """A timecode, as 01:02:03:04 or, in drop-frame, 01:02:03;04; `rate` stands in front of the manifest's. Raises BadTime."""
        return timecode(text, rate or self.rate) - self.origin(rate or self.rate, code=True)

    def either(self, text: str) -> Fraction:
        """A timecode, a clock time or plain seconds, by its looks. Raises BadTime."""
        plain = text.strip()
        if CODE.fullmatch(plain) and (CODE.fullmatch(plain)[4] in ":;"):  # type: ignore[index]
            return self.code(plain)
        if found := SECONDS.fullmatch(plain):
            return Fraction(found[1].replace(",", ".")) - self.origin()
        return self.clock(plain)

    def origin(self, rate: Rate | None = None, code: bool = False) -> Fraction:
        """Seconds at which the programme starts. As a clock time its digits count as they stand, as a timecode by the rate. Raises BadTime."""
        if not self.start:
            return Fraction(0)
        found = CODE.fullmatch(self.start)
        if code and found:
            return timecode(self.start, rate)
        if not found:
            return _clock(self.start)
        hours, minutes, seconds, frames = (int(found[group]) for group in (1, 2, 3, 5))
        counted = rate or self.rate
        if frames and not counted:
            raise BadTime(f"the start {self.start} counts frames of an unknown rate", "give timecode: {rate: ...} too")
        return hours * 3600 + minutes * 60 + seconds + (frames / counted.frames if counted else Fraction(0))


def _clock(text: str) -> Fraction:
    found = CLOCK.fullmatch(text.strip())
    if not found:
        raise BadTime(f"{text.strip()[:40]!r} is not a time", "write hours:minutes:seconds, as 00:01:02.500")
    hours, minutes, seconds = (int(part or 0) for part in found.groups()[:3])
    if seconds > 59 or (minutes > 59 and found[1] is not None):
        raise BadTime(f"{text.strip()[:40]!r} has more than 59 minutes or seconds", "write hours:minutes:seconds, as 00:01:02.500")
    return hours * 3600 + minutes * 60 + seconds + Fraction(f"0.{found[4] or 0}")


def timecode(text: str, rate: Rate | None) -> Fraction:
    """Seconds of a timecode (ST 12-1; ST 12-3 at 119.88) at a rate. Raises BadTime, too for numbers that drop-frame leaves out.

    Drop-frame leaves out the first fifteenth of a second's numbers in every minute but each tenth; ttconv leaves out 7 of 8 at 119.88.
    """
    plain = text.strip()
    found = CODE.fullmatch(plain)
    if not found:
        raise BadTime(f"{plain[:40]!r} is not a timecode", "write hours:minutes:seconds:frames, as 01:00:02:12")
    if rate is None:
        raise BadTime(f"{plain} counts frames, and their rate is not known", f"give the rate in the manifest, as timecode: {{rate: 25}}; known are {RATES}")
    hours, minutes, seconds, frames = (int(found[group]) for group in (1, 2, 3, 5))
    if found[4] == ";" and not rate.drop:
        raise BadTime(f"{plain} is drop-frame, the rate is not", "give a drop-frame rate, as 29.97df, or write the timecode with :")
    if minutes > 59 or seconds > 59 or frames >= rate.whole:
        raise BadTime(f"{plain} does not exist at {rate.whole} frames a second", "correct it, or the rate in the manifest")
    dropped = rate.whole // 15 if rate.drop else 0
    if minutes % 10 and not seconds and frames < dropped:
        raise BadTime(f"{plain} does not exist in drop-frame", "correct it: the first numbers of this minute are left out")
    passed = hours * 60 + minutes
    return ((passed * 60 + seconds) * rate.whole + frames - dropped * (passed - passed // 10)) / rate.frames
