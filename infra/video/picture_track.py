"""The picture track of a film: every picture at its own time, encoded once, or copied in whole groups where nobody edits.

Decoding times are ours: picture k in decoding order is decoded when picture k - n is shown, n being how far decoding runs ahead
in any part. So encoded and copied parts follow each other without a gap.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from fractions import Fraction
from math import lcm
from pathlib import Path
from typing import Any

from infra.video.groups import CannotCopy, Group, Plan, copied, held_by, plan
from infra.video.picture import Picture
from infra.video.source import VideoFacts
from infra.video.window import Window, WindowFile

FINEST_TICK = 2**31 - 1  # of an MP4 track, by its muxer
COARSEST_TICK = 10_000
PROFILES = {66: "cabac=0:8x8dct=0:weightp=0:bframes=0", 77: "cabac=1:8x8dct=0", 100: "cabac=1:8x8dct=1"}
THREADS = 2  # of an encoder: what it writes hangs on their number, and a window may be another machine's
GLOBAL_HEADER = 1 << 22  # AV_CODEC_FLAG_GLOBAL_HEADER


def ticks_per_second(facts: VideoFacts) -> int:
    """A time unit for the written pictures in which each time of the source is a whole number."""
    ticks = lcm(facts.tick.denominator, facts.origin.denominator)
    if ticks > FINEST_TICK:  # only a file with clocks that share nothing: its start is then rounded
        ticks = facts.tick.denominator
    while ticks < COARSEST_TICK:  # as the muxer would
        ticks *= 2
    return ticks


class PictureTrack:
    """H.264 yuv420p in the source's colours and aspect; `copy` names picture ranges (first, last) that nobody edits.

    `write` encodes into a window (infra/video/window.py), `join` muxes a window that is whole: one that was just written, or one
    that another process wrote before with the same arguments. Either way the same packets come out.
    """

    def __init__(
        self, out: Any, source: Path | None, facts: VideoFacts, ticks: int, *, crf: int, preset: str, copy: Sequence[tuple[int, int]], notes: list[str]
    ) -> None:
        self._out, self._facts, self._ticks, self._notes = out, facts, ticks, notes
        self._references = 0
        self._crf, self._preset = crf, preset
        self._plan = Plan() if source is None else _planned(source, facts, copy, notes)
        self._groups = deque(self._plan.groups)
        self._packets: Iterator[tuple[Fraction, bool, bytes]] = iter(()) if source is None else copied(source, self._plan.groups, facts.origin)
        self._references = self._fitting()
        self._stream = out.add_stream("libx264", rate=facts.fps.limit_denominator(100_000))
        self._configure(self._stream.codec_context)
        self._stream.time_base = Fraction(1, ticks)
        self._encoder: Any = self._stream.codec_context
        self._encoder.open()
        if self._groups:
            self._encoder.extradata = self._plan.sets + self._encoder.extradata
        self._ahead = max(self._encoder.reorder_depth, self._plan.ahead)
        self._encoding = False
        self.written = self.joined = self.copied = 0
        self._shown: deque[int] = deque()  # times of pictures, from the one that is the next packet's decoding time
        self._last = -1

    def _configure(self, context: Any) -> None:
        facts = self._facts
        context.width, context.height = facts.width + facts.width % 2, facts.height + facts.height % 2
        context.pix_fmt, context.time_base, context.thread_count = "yuv420p", Fraction(1, self._ticks), THREADS
        context.framerate = facts.fps.limit_denominator(100_000)
        context.sample_aspect_ratio = facts.sample_aspect
        context.colorspace, context.color_primaries, context.color_trc = facts.colour.matrix, facts.colour.primaries, facts.colour.transfer
        context.color_range = facts.colour.range
        context.options = {"crf": str(self._crf), "preset": self._preset}
        if self._plan.groups:
            context.options = {**context.options, "x264-params": _beside(self._plan, self._references)}

    def _fitting(self) -> int:
        """How many references to allow so that a decoder holds as many pictures as the source asks for; 0: as the preset has it."""
        import av

        if not self._plan.groups:
            return 0
        trial = av.CodecContext.create("libx264", "w")
        self._configure(trial)
        trial.flags |= GLOBAL_HEADER
        trial.open()
        return self._plan.held if held_by(trial.extradata or b"") > self._plan.held else 0

    def write(self, picture: Picture, window: WindowFile) -> None:
        """Add one picture to a window."""
        if picture.y.shape != (self._facts.height, self._facts.width):
            raise ValueError(f"a picture of {picture.y.shape} in a video of {(self._facts.height, self._facts.width)}")
        stamp = max(round(picture.time * self._ticks), self._last + 1)
        self._last = stamp
        group = self._group(picture, window)
        window.picture(stamp, group is not None)
        if group is None:
            self._encode(picture, stamp, window)
        else:
            self.finish(window)
        self.written += 1

    def _step(self) -> int:
        return max(round(self._ticks / self._facts.fps), 1)

    def _group(self, picture: Picture, window: WindowFile) -> Group | None:
        """The group that this picture belongs to, if it is copied."""
        while self._groups and self._groups[0].last <= self.written:
            self._groups.popleft()
        group = self._groups[0] if self._groups and self._groups[0].first <= self.written else None
        if group and group.first == self.written and (picture.time, picture.number) != (group.time, group.first):
            window.note = f"pictures are encoded from {float(picture.time):.2f} s on, not copied: their numbers differ from the file's"
            self._groups.clear()
            return None
        return group

    def _encode(self, picture: Picture, stamp: int, window: WindowFile) -> None:
        import av

        if self._encoder is None:
            self._encoder = av.CodecContext.create("libx264", "w")
            self._configure(self._encoder)
            self._encoder.flags = self._stream.codec_context.flags
        frame = picture.frame(even=True)
        frame.pts, frame.time_base = stamp, Fraction(1, self._ticks)
        window.add(self._encoder.encode(frame))
        self._encoding = True

    def finish(self, window: WindowFile) -> None:
        """End the part that is being encoded."""
        if self._encoding:
            window.add(self._encoder.encode(None))
            self._encoder, self._encoding = None, False

    def join(self, window: Window) -> Iterator[Fraction]:
        """Mux a window's pictures, encoded and copied ones; the time of each comes when it is muxed."""
        encoded = window.packets()
        for number, stamp in enumerate(window.shown):
            if not self.joined:
                self._shown.extend(stamp - self._step() * left for left in range(self._ahead, 0, -1))
            self._shown.append(stamp)
            if number in window.copied:
                time, begins, data = next(self._packets)
                self._mux(round(time * self._ticks), begins, data)
                self.copied += 1
            else:
                self._mux(*next(encoded))
            self.joined += 1
            yield Fraction(stamp, self._ticks)
        self._last, self.written = max(self._last, stamp), max(self.written, self.joined)
        if window.note:
            self._notes.append(window.note)
            self._groups.clear()

    def _mux(self, stamp: int, begins: bool, data: bytes) -> None:
        import av

        packet = av.Packet(data)
        packet.pts, packet.time_base, packet.is_keyframe = stamp, Fraction(1, self._ticks), begins
        packet.stream, packet.dts, packet.duration = self._stream, self._shown.popleft(), self._step()
        self._out.mux(packet)


def _beside(plan: Plan, references: int) -> str:
    """x264's options for pictures that stand beside copied ones.

    A decoder may drop what it still holds where the size of its buffer changes (H.264, C.4.4), and some show pictures of the
    baseline profile at once: so size and profile are made the same.
    """
    chosen = [f"sps-id={plan.free}", f"dpb-size={plan.held}"]
    if references:
        chosen.append(f"ref={references}")
    if plan.held < 4:
        chosen.append("b-pyramid=none")
    if plan.held < 2 or plan.ahead:
        chosen.append(f"bframes={3 if plan.held >= 2 else 0}")
    chosen.append(PROFILES.get(plan.profile, PROFILES[100]))
    return ":".join(chosen)


def _planned(source: Path, facts: VideoFacts, copy: Sequence[tuple[int, int]], notes: list[str]) -> Plan:
    if not copy:
        return Plan()
    try:
        found = plan(source, facts, copy)
    except CannotCopy as error:
        notes.append(f"no pictures are copied, all are encoded: {error}")
        return Plan()
    if not found.groups:
        notes.append("no pictures are copied, all are encoded: no whole group of pictures lies where nothing is edited")
    return found
