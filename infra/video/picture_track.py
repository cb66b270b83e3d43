"""The picture track of a dub: every picture at its own time, encoded once, or copied in whole groups where nobody edits.

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

FINEST_TICK = 2**31 - 1  # of an MP4 track, by its muxer
COARSEST_TICK = 10_000
PROFILES = {66: "cabac=0:8x8dct=0:weightp=0:bframes=0", 77: "cabac=1:8x8dct=0", 100: "cabac=1:8x8dct=1"}
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
    """H.264 yuv420p in the source's colours and aspect; `copy` names picture ranges (first, last) that nobody edits."""

    def __init__(
        self, out: Any, source: Path, facts: VideoFacts, ticks: int, *, crf: int, preset: str, threads: int, copy: Sequence[tuple[int, int]], notes: list[str]
    ) -> None:
        self._out, self._facts, self._ticks, self._notes = out, facts, ticks, notes
        self._references = 0
        self._crf, self._preset, self._threads = crf, preset, threads
        self._plan = _planned(source, facts, copy, notes)
        self._groups = deque(self._plan.groups)
        self._packets: Iterator[tuple[Fraction, bool, bytes]] = copied(source, self._plan.groups, facts.origin)
        self._references = self._fitting()
        self._stream = out.add_stream("libx264", rate=facts.fps.limit_denominator(100_000))
        self._configure(self._stream.codec_context)
        self._stream.time_base = Fraction(1, ticks)
        self._encoder: Any = self._stream.codec_context
        if self._groups:
            self._encoder.open()
            self._encoder.extradata = self._plan.sets + self._encoder.extradata
        self._ahead = 0
        self.written = self.copied = self._decoded = 0
        self._shown: deque[int] = deque()  # times of pictures, from the one that is the next packet's decoding time
        self._last = -1

    def _configure(self, context: Any) -> None:
        facts = self._facts
        context.width, context.height = facts.width + facts.width % 2, facts.height + facts.height % 2
        context.pix_fmt, context.time_base, context.thread_count = "yuv420p", Fraction(1, self._ticks), self._threads
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

    def write(self, picture: Picture) -> None:
        """Add one picture."""
        if picture.y.shape != (self._facts.height, self._facts.width):
            raise ValueError(f"a picture of {picture.y.shape} in a video of {(self._facts.height, self._facts.width)}")
        stamp = max(round(picture.time * self._ticks), self._last + 1)
        if self._last < 0:
            self._begin(stamp)
        self._last = stamp
        self._shown.append(stamp)
        group = self._group(picture)
        if group is None:
            self._encode(picture, stamp)
        else:
            self._copy(group)
        self.written += 1

    def _begin(self, stamp: int) -> None:
        if not self._encoder.is_open:
            self._encoder.open()
        self._ahead = max(self._encoder.reorder_depth, self._plan.ahead)
        step = self._step()
        self._shown.extend(stamp - step * left for left in range(self._ahead, 0, -1))

    def _step(self) -> int:
        return max(round(self._ticks / self._facts.fps), 1)

    def _group(self, picture: Picture) -> Group | None:
        """The group that this picture belongs to, if it is copied."""
        while self._groups and self._groups[0].last <= self.written:
            self._groups.popleft()
        group = self._groups[0] if self._groups and self._groups[0].first <= self.written else None
        if group and group.first == self.written and (picture.time, picture.number) != (group.time, group.first):
            self._notes.append(f"pictures are encoded from {float(picture.time):.2f} s on, not copied: their numbers differ from the file's")
            self._groups.clear()
            return None
        return group

    def _encode(self, picture: Picture, stamp: int) -> None:
        import av

        if self._encoder is None:
            self._encoder = av.CodecContext.create("libx264", "w")
            self._configure(self._encoder)
            self._encoder.flags = self._stream.codec_context.flags
        frame = picture.frame(even=True)
        frame.pts, frame.time_base = stamp, Fraction(1, self._ticks)
        self._mux(self._encoder.encode(frame))

    def _copy(self, group: Group) -> None:
        import av

        self.finish()
        time, begins, data = next(self._packets)
        packet = av.Packet(data)
        packet.pts, packet.time_base, packet.is_keyframe = round(time * self._ticks), Fraction(1, self._ticks), begins
        self._mux([packet])
        self.copied += 1

    def _mux(self, packets: list[Any]) -> None:
        for packet in packets:
            packet.stream, packet.dts, packet.duration = self._stream, self._shown.popleft(), self._step()
            self._out.mux(packet)

    def finish(self) -> None:
        """End the part that is being encoded."""
        if self._encoder is not None and self._encoder.is_open:
            self._mux(self._encoder.encode(None))
        self._encoder = None


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
