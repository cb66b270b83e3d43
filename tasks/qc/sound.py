"""What a sound track of a file is: loudness by EBU R128, level in tenths of a second, clipped samples. One pass, streamed."""

import array
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from infra.errors import MediaError
from infra.media import decoded, open_media
from tasks.qc.picture import Spans

TENTH = 0.1  # seconds of a level
SILENT = -60.0  # dB of full scale below which nothing is heard
FULL, RUN = 0.997, 4  # samples in a row, so near full scale, that are clipped


@dataclass
class Sound:
    """A sound track. integrated in LUFS, range in LU, peak in dBTP (None where it is silent throughout); levels: dB of each tenth of a second; clipped: runs of samples, and where."""

    index: int
    codec: str
    language: str
    name: str
    channels: int
    rate: int
    default: bool
    start: float = 0.0
    seconds: float = 0.0
    integrated: float | None = None
    range: float | None = None
    peak: float | None = None
    levels: array.array = field(default_factory=lambda: array.array("f"))
    clipped: int = 0
    clipped_at: list[float] = field(default_factory=list)

    def silences(self, shortest: float = 0.0) -> Spans:
        """(from, to) in seconds where nothing is heard for so long at least."""
        quiet = np.flatnonzero(np.diff(np.concatenate([[0], (np.frombuffer(self.levels, np.float32) < SILENT).view(np.int8), [0]]).astype(np.int8)))
        spans = [(self.start + begin * TENTH, self.start + end * TENTH) for begin, end in zip(quiet[::2], quiet[1::2], strict=True)]
        return [(float(begin), float(end)) for begin, end in spans if end - begin >= shortest]

    def loudest(self, begin: float, end: float) -> float:
        """The highest level between two times, in dB."""
        first, last = max(0, int((begin - self.start) / TENTH)), max(0, math.ceil((end - self.start) / TENTH))
        return max(self.levels[first:last], default=-math.inf)


def listen(path: Path, number: int) -> Sound:
    """Listen to a file's sound number `number`. Raises MediaError where it is damaged."""
    import av
    from av.stream import Disposition

    with open_media(path) as media:
        stream = media.streams.audio[number]
        context, said = stream.codec_context, stream.metadata
        found = Sound(
            number, context.name, said.get("language", "und"), said.get("handler_name", "") or said.get("title", ""), context.channels, context.sample_rate,
            bool(stream.disposition & Disposition.default),
        )  # fmt: skip
        graph, meter = _graph(stream), _Meter(found)
        count, at = 0, 0.0
        try:
            for frame in decoded(media, stream):
                if not count:
                    found.start = at = float(frame.time or 0.0)
                count += frame.samples
                at = found.start + count / frame.sample_rate
                meter.see(frame)
                graph.push(frame)
                _pull(graph, found)
            graph.push(None)
            _pull(graph, found)
        except (av.FFmpegError, ValueError) as error:
            raise MediaError(f"sound {number + 1} of {path.name} is damaged after {at:.2f} s ({error})", code="media.damaged") from error
    meter.rest()
    found.seconds = at - found.start
    return found


def _graph(stream: Any) -> Any:
    import av

    graph = av.filter.Graph()
    graph.threads = 1
    graph.link_nodes(graph.add_abuffer(template=stream), graph.add("ebur128", "peak=true:metadata=1:framelog=quiet"), graph.add("abuffersink")).configure()
    return graph


def _pull(graph: Any, found: Sound) -> None:
    """The newest figures of what was heard so far: those after the last sample are the whole track's."""
    import av

    while True:
        try:
            told = graph.pull().metadata
        except (BlockingIOError, av.EOFError):
            return
        if "lavfi.r128.I" in told:
            loud, peak = float(told["lavfi.r128.I"]), float(told.get("lavfi.r128.true_peak", "nan"))
            found.integrated = loud if loud > -69.9 else None  # what the filter says of silence
            found.range = float(told["lavfi.r128.LRA"])
            found.peak = 20 * math.log10(peak) if peak > 0 else None


class _Meter:
    """Levels of tenths of a second, and runs of clipped samples, from frames as they come."""

    def __init__(self, found: Sound) -> None:
        self.found, self.square, self.held, self.run, self.count = found, 0.0, 0, 0, 0

    def see(self, frame: Any) -> None:
        samples = _floats(frame)
        self._clipped(np.abs(samples).max(axis=0), frame.sample_rate)
        power = (samples**2).mean(axis=0)
        size = round(frame.sample_rate * TENTH)
        while len(power):
            part = power[: size - self.held]
            self.square, self.held, power = self.square + float(part.sum()), self.held + len(part), power[len(part) :]
            if self.held == size:
                self._end()

    def rest(self) -> None:
        """The last part of a tenth."""
        if self.held:
            self._end()

    def _end(self) -> None:
        self.found.levels.append(10 * math.log10(max(self.square / self.held, 1e-12)))
        self.square, self.held = 0.0, 0

    def _clipped(self, peaks: np.ndarray, rate: int) -> None:
        """Count runs of RUN samples and more; one may go on from frame to frame."""
        full = np.concatenate([np.ones(self.run, bool), peaks >= FULL]) if self.run else peaks >= FULL
        edges = np.flatnonzero(np.diff(np.concatenate([[0], full.view(np.int8), [0]]).astype(np.int8)))
        for begin, end in zip(edges[::2], edges[1::2], strict=True):
            if end - begin >= RUN and end < len(full):
                self._tell(self.count + begin - self.run, rate)
        carried = int(edges[-1] - edges[-2]) if len(edges) and edges[-1] == len(full) else 0
        self.run, self.count = min(carried, RUN), self.count + len(peaks)

    def _tell(self, sample: int, rate: int) -> None:
        self.found.clipped += 1
        if len(self.found.clipped_at) < 20:
            self.found.clipped_at.append(round(float(self.found.start + max(0, sample) / rate), 3))


def _floats(frame: Any) -> np.ndarray:
    """Samples of a frame as float32 [channels, samples] in [-1, 1]."""
    values = frame.to_ndarray()
    if not frame.format.is_planar:
        values = values.reshape(-1, frame.layout.nb_channels).T
    if values.dtype.kind == "f":
        return np.asarray(values, np.float32)
    if values.dtype == np.uint8:
        return (values.astype(np.float32) - 128) / 128
    return values.astype(np.float32) / np.float32(np.iinfo(values.dtype).max)
