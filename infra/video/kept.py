"""What a dub keeps of its source beside the picture: other sound streams, subtitles, chapters and titles.

Sound is copied packet by packet where MP4 holds its codec, so its bytes stay the same; the rest is converted and said.
Streams are read along with the picture: memory does not grow with length.
"""

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from infra.errors import MediaError
from infra.media import open_media, packets_of

COPIED_SOUND = {"aac", "mp3", "mp3float", "mp2", "mp2float", "ac3", "eac3", "alac", "flac", "opus", "libopus", "dca"}
TEXT = {"subrip", "srt", "ass", "ssa", "webvtt", "text"}
OF_THE_FILE = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration", "creation_time_utc"}
LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 8: "7.1"}
SOUND_RATE, SOUND_BITS, CHANNEL_BITS = 48_000, 160_000, 64_000  # bits a second of mono and stereo, and of each channel of more
MILLISECOND = Fraction(1, 1000)
# ISO 639-1 to ISO 639-2/T, the codes that MP4 stores (ISO/IEC 14496-12, 8.4.2): languages that espeak-ng speaks and those of large catalogues
LANGUAGES = {
    "af": "afr", "am": "amh", "ar": "ara", "as": "asm", "az": "aze", "be": "bel", "bg": "bul", "bn": "ben", "bs": "bos", "ca": "cat", "cs": "ces",
    "cy": "cym", "da": "dan", "de": "deu", "el": "ell", "en": "eng", "eo": "epo", "es": "spa", "et": "est", "eu": "eus", "fa": "fas", "fi": "fin",
    "fo": "fao", "fr": "fra", "ga": "gle", "gd": "gla", "gl": "glg", "gn": "grn", "gu": "guj", "he": "heb", "iw": "heb", "hi": "hin", "hr": "hrv",
    "ht": "hat", "hu": "hun", "hy": "hye", "ia": "ina", "id": "ind", "in": "ind", "io": "ido", "is": "isl", "it": "ita", "ja": "jpn", "ka": "kat",
    "kk": "kaz", "kl": "kal", "km": "khm", "kn": "kan", "ko": "kor", "ku": "kur", "ky": "kir", "la": "lat", "lb": "ltz", "lo": "lao", "lt": "lit",
    "lv": "lav", "mi": "mri", "mk": "mkd", "ml": "mal", "mn": "mon", "mr": "mar", "ms": "msa", "mt": "mlt", "my": "mya", "nb": "nob", "ne": "nep",
    "nl": "nld", "nn": "nno", "no": "nor", "om": "orm", "or": "ori", "pa": "pan", "pl": "pol", "ps": "pus", "pt": "por", "qu": "que", "ro": "ron",
    "ru": "rus", "sd": "snd", "si": "sin", "sk": "slk", "sl": "slv", "so": "som", "sq": "sqi", "sr": "srp", "sv": "swe", "sw": "swa", "ta": "tam",
    "te": "tel", "tg": "tgk", "th": "tha", "tk": "tuk", "tl": "tgl", "tn": "tsn", "tr": "tur", "tt": "tat", "ug": "uig", "uk": "ukr", "ur": "urd",
    "uz": "uzb", "vi": "vie", "xh": "xho", "yi": "yid", "yo": "yor", "zh": "zho", "zu": "zul",
}  # fmt: skip


def language_code(tag: str) -> str:
    """A BCP 47 tag such as `es-ES` as the three letters that MP4 stores (`spa`); `und` where there are none."""
    first = tag.replace("_", "-").split("-")[0].lower()
    if len(first) == 3 and first.isascii() and first.isalpha():
        return first
    return LANGUAGES.get(first, "und")


def encoded_sound(out: Any, channels: int) -> Any:
    """A new AAC stream at 48 kHz in an MP4 that is being written, with as many channels where AAC has a layout for them."""
    stream = out.add_stream("aac", rate=SOUND_RATE, layout=LAYOUTS.get(channels, "stereo"))
    stream.codec_context.bit_rate = max(SOUND_BITS, CHANNEL_BITS * channels) if channels in LAYOUTS else SOUND_BITS
    stream.codec_context.time_base = Fraction(1, SOUND_RATE)
    return stream


class Kept:
    """The kept streams of one source: `up_to(time)` muxes what begins before that time, `rest()` what is left."""

    def __init__(self, out: Any, source: Path, origin: Fraction, *, original: bool, notes: list[str]) -> None:
        self._out, self._origin, self._name = out, origin, source.name
        self._media = open_media(source)
        sounds = list(self._media.streams.audio)
        dubbed, others = sounds[:1], sounds[1:]
        self._streams: dict[int, Callable[[Any], None]] = {}
        for stream in [*others, *(dubbed if original else [])]:
            self._keep_sound(stream, notes)
        for stream in self._media.streams.subtitles:
            self._keep_subtitles(stream, notes)
        if len(self._media.streams.video) > 1:
            notes.append("other pictures of the source are left out: an MP4 of a dub holds one")
        if any(stream.type in ("data", "attachment") for stream in self._media.streams):
            notes.append("data streams (timecode, fonts) are left out")
        out.metadata.update({key: value for key, value in self._media.metadata.items() if key.lower() not in OF_THE_FILE})
        out.set_chapters([_moved(chapter, origin) for chapter in self._media.chapters()])
        if not self._streams:  # its index alone takes some 20 MiB an hour
            self._media.close()
        self._packets = self._read()
        self._held: tuple[Fraction, Any] | None = None

    def _read(self) -> Iterator[tuple[Fraction, Any]]:
        if self._streams:
            for packet in packets_of(self._media, [self._media.streams[index] for index in self._streams]):
                if packet.size and packet.time_base and (packet.dts is not None or packet.pts is not None):
                    at = packet.dts if packet.dts is not None else packet.pts
                    yield at * packet.time_base - self._origin, packet

    def up_to(self, time: Fraction) -> None:
        """Mux the packets that begin before `time`, in seconds. Raises MediaError where the source is damaged."""
        import av

        while True:
            try:
                self._held = self._held or next(self._packets, None)
                if self._held is None or self._held[0] >= time:
                    return
                packet = self._held[1]
                self._streams[packet.stream_index](packet)
                self._held = None
            except (av.InvalidDataError, ValueError) as error:
                at = 0.0 if self._held is None else float(self._held[0])
                raise MediaError(f"sound or subtitles of {self._name} are damaged after {at:.2f} s ({error})", code="media.damaged") from error

    def rest(self) -> None:
        """Mux what is left, and close the source."""
        self.up_to(Fraction(10**9))
        for keep in self._streams.values():
            if isinstance(keep, _Encoded):
                keep(None)
        self._media.close()

    def close(self) -> None:
        """Close the source."""
        self._media.close()

    def _keep_sound(self, stream: Any, notes: list[str]) -> None:
        context = stream.codec_context
        if context is None:
            notes.append(f"sound stream {stream.index} is left out: no decoder reads it")
        elif context.name in COPIED_SOUND:
            made = self._out.add_stream_from_template(stream)
            self._streams[stream.index] = _Copied(self._out, made, self._origin, stream)
            _described(made, stream)
        else:
            made = encoded_sound(self._out, context.channels)
            self._streams[stream.index] = _Encoded(self._out, made, self._origin)
            _described(made, stream)
            notes.append(f"sound stream {stream.index} is encoded anew as AAC: MP4 players do not play {context.name}")

    def _keep_subtitles(self, stream: Any, notes: list[str]) -> None:
        name = stream.codec_context.name if stream.codec_context else "their codec"
        if name == "mov_text":
            made = self._out.add_stream_from_template(stream)
            self._streams[stream.index] = _Copied(self._out, made, self._origin, stream)
        elif name in TEXT:
            stream.codec_context.open(strict=False)
            made = self._out.add_stream("mov_text")
            made.codec_context.subtitle_header = stream.codec_context.subtitle_header
            made.codec_context.time_base = MILLISECOND
            self._streams[stream.index] = _Lines(self._out, made, self._origin, stream)
            notes.append(f"subtitles {stream.index} are converted from {name} to MP4's timed text: fonts and places are lost")
        else:
            notes.append(f"subtitles {stream.index} are left out: MP4 does not hold {name}")
            return
        _described(made, stream)


def _described(made: Any, stream: Any) -> None:
    from av.stream import Disposition

    said = stream.metadata
    made.metadata["language"] = language_code(said.get("language", ""))
    if title := said.get("title") or said.get("handler_name"):
        made.metadata["handler_name"] = title  # MP4's own place for a track's name
    made.disposition = stream.disposition & ~Disposition.default if stream.type == "audio" else stream.disposition


def _moved(chapter: dict[str, Any], origin: Fraction) -> dict[str, Any]:
    shift = round(origin / chapter["time_base"])
    return {**chapter, "start": max(chapter["start"] - shift, 0), "end": max(chapter["end"] - shift, 0)}


class _Copied:
    """Packets as they are, their times moved to the container's start.

    Times in milliseconds (FLV, Matroska) of sound with a fixed frame size are counted in samples again, as they were recorded.
    """

    def __init__(self, out: Any, made: Any, origin: Fraction, stream: Any) -> None:
        self._out, self._made, self._origin = out, made, origin
        context = stream.codec_context
        self._size = context.frame_size if stream.type == "audio" else 0
        self._unit = Fraction(1, context.sample_rate) if self._size and context.sample_rate else Fraction(stream.time_base)
        self._next: int | None = None

    def __call__(self, packet: Any) -> None:
        base = packet.time_base
        stored = packet.dts if packet.dts is not None else packet.pts
        shown = packet.pts if packet.pts is not None else stored
        dts = round((stored * base - self._origin) / self._unit)
        duration = round((packet.duration or 0) * base / self._unit)
        slack = round(base / self._unit) + 1
        if self._size and abs(duration - self._size) <= slack:
            duration = self._size
        if self._next is not None and (abs(dts - self._next) <= slack or dts < self._next):
            dts = self._next
        self._next = dts + max(duration, 1)
        packet.stream, packet.time_base = self._made, self._unit
        packet.dts, packet.pts, packet.duration = dts, dts + round((shown - stored) * base / self._unit), duration
        self._out.mux(packet)


class _Encoded:
    """Sound of a codec that MP4 does not hold, as AAC; None flushes."""

    def __init__(self, out: Any, made: Any, origin: Fraction) -> None:
        self._out, self._made, self._origin = out, made, origin
        self._context: Any = None

    def __call__(self, packet: Any) -> None:
        if packet is None:
            frames = self._context.decode(None) if self._context else []
        else:
            self._context = packet.stream.codec_context
            frames = packet.decode()
        for frame in frames:
            if frame.pts is not None:
                unit = Fraction(1, frame.sample_rate)
                frame.pts = round((frame.pts * frame.time_base - self._origin) / unit)
                frame.time_base = unit
            self._out.mux(self._made.encode(frame))
        if packet is None:
            self._out.mux(self._made.encode(None))


class _Lines:
    """Lines of text subtitles as MP4's timed text."""

    def __init__(self, out: Any, made: Any, origin: Fraction, stream: Any) -> None:
        self._out, self._made, self._origin, self._reader = out, made, origin, stream.codec_context
        self._last = -1

    def __call__(self, packet: Any) -> None:
        from av.subtitles.subtitle import SubtitleSet

        base, stamp, duration = packet.time_base, packet.pts if packet.pts is not None else packet.dts, packet.duration or 0
        found = self._reader.decode2(packet)
        lines = [line.ass for line in found if getattr(line, "ass", b"")] if found else []
        if not lines:
            return
        text = rb"\N".join([lines[0], *(line.split(b",", 8)[-1] for line in lines[1:])])
        at = max(round((stamp * base - self._origin) / MILLISECOND), self._last + 1)
        written = self._made.codec_context.encode_subtitle(SubtitleSet.create(text, 0, max(round(duration * base / MILLISECOND), 1), at))
        written.stream, written.time_base, self._last = self._made, MILLISECOND, at
        self._out.mux(written)
