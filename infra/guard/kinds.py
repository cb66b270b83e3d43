"""What a media file may be: containers by what they begin with, and the decoders that may read them. Never by a file's name.

A container that names other files (playlists, lists of files, image sequences) is none of them, so that no demuxer for it is ever chosen.
"""

from collections.abc import Callable

Read = Callable[[int, int], bytes]  # (offset, bytes wanted)

HEAD = 1 << 16  # bytes in which a container shows what it is
STARTS: tuple[tuple[bytes, str], ...] = (
    (b"\x1a\x45\xdf\xa3", "matroska"), (b"FLV\x01", "flv"), (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf"), (b"OggS", "ogg"), (b"fLaC", "flac"), (b".snd", "au"), (b"caff", "caf"),
    (b"#!AMR", "amr"), (b"wvpk", "wv"), (b"nut/multimedia container\0", "nut"), (b"YUV4MPEG2 ", "yuv4mpegpipe"), (b"DKIF", "ivf"), (b"GIF87a", "gif"), (b"GIF89a", "gif"),
    (b"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02", "mxf"), (b"riff\x2e\x91\xcf\x11", "w64"), (b"\x7f\xfe\x80\x01", "dts"), (b"\x00\x00\x01\xba", "mpeg"),
    (b"\x00\x00\x01\xb3", "mpegvideo"), (b"\x00\x00\x01\xb0", "m4v"),
)  # fmt: skip
IN_CHUNKS = {(b"RIFF", b"AVI "): "avi", (b"RIFF", b"WAVE"): "wav", (b"RF64", b"WAVE"): "wav", (b"BW64", b"WAVE"): "wav", (b"FORM", b"AIFF"): "aiff", (b"FORM", b"AIFC"): "aiff"}
MOV = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")  # what a QuickTime or MP4 file's first box may be
FORMATS = tuple(sorted({name for _, name in STARTS} | set(IN_CHUNKS.values()) | {"mov", "mpegts", "apng", "aac", "mp3", "ac3", "eac3", "h264", "hevc"}))
TELL_LENGTH = ("mov", "matroska", "flv", "avi", "asf", "wav", "w64", "flac", "aiff", "caf", "mxf")  # formats that store how long they are

PICTURE_CODECS = (
    "h264", "hevc", "av1", "libdav1d", "vp6", "vp6a", "vp6f", "vp8", "vp9", "libvpx", "libvpx-vp9", "mpeg1video", "mpeg2video", "mpegvideo", "mpeg4", "msmpeg4v2", "msmpeg4", "h263", "flv", "mjpeg", "prores", "dnxhd",
    "cfhd", "dvvideo", "ffv1", "huffyuv", "ffvhuff", "utvideo", "qtrle", "png", "apng", "gif", "rawvideo", "v210", "wmv1", "wmv2", "wmv3", "vc1", "theora",
)  # fmt: skip
SOUND_CODECS = (
    "aac", "mp3", "mp3float", "mp2", "mp2float", "mp1", "mp1float", "ac3", "eac3", "dca", "flac", "alac", "opus", "libopus", "vorbis", "libvorbis", "wavpack", "amrnb", "amrwb", "wmav1", "wmav2",
    "wmapro", "adpcm_ms", "adpcm_ima_wav", "adpcm_ima_qt", "adpcm_swf", "pcm_alaw", "pcm_mulaw", "pcm_s8", "pcm_u8", "pcm_s16le", "pcm_s16be", "pcm_u16le", "pcm_u16be", "pcm_s24le", "pcm_s24be",
    "pcm_s32le", "pcm_s32be", "pcm_s64le", "pcm_f32le", "pcm_f32be", "pcm_f64le", "pcm_f64be", "pcm_s16le_planar", "pcm_bluray", "pcm_dvd",
)  # fmt: skip
LINE_CODECS = ("subrip", "srt", "ass", "ssa", "webvtt", "text", "mov_text")  # subtitles that are read; others are never decoded
CODECS = {"video": frozenset(PICTURE_CODECS), "audio": frozenset(SOUND_CODECS), "subtitle": frozenset(LINE_CODECS)}


def format_of(read: Read) -> str:
    """The demuxer for a file by its first bytes; "" for what is none that is opened."""
    head = _after_tags(read)
    if head[4:8] in MOV:
        return "mov"
    if found := next((name for start, name in STARTS if head.startswith(start)), IN_CHUNKS.get((head[:4], head[8:12]), "")):
        return found
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "apng" if b"acTL" in head[:HEAD] else ""
    return _raw(head) or ("mpegts" if _in_packets(head) else "")


def _after_tags(read: Read) -> bytes:
    """The file's first bytes behind ID3 tags (id3.org, ID3v2.4 3.1), which stand before sounds of several kinds."""
    at = 0
    for _ in range(4):
        head = read(at, HEAD)
        if head[:3] != b"ID3" or len(head) < 10:
            return head
        at += 10 + sum((byte & 127) << 7 * place for place, byte in enumerate(reversed(head[6:10])))
    return b""


def _raw(head: bytes) -> str:
    """Streams without a container, by their first frame's own header."""
    if len(head) < 8:
        return ""
    if head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
        return "aac" if head[1] & 0xF6 == 0xF0 else "mp3" if head[1] & 6 else ""
    if head.startswith(b"\x0b\x77"):
        return "ac3" if head[5] >> 3 <= 10 else "eac3"
    if head.startswith((b"\0\0\0\1", b"\0\0\1")):
        unit = head[head.index(b"\1") + 1]
        return "hevc" if unit in (0x40, 0x42, 0x44, 0x46) else "h264" if unit & 0x80 == 0 and unit & 31 in (6, 7, 9) else ""
    return ""


def _in_packets(head: bytes) -> bool:
    """Whether sync bytes stand where an MPEG transport stream's packets begin (ISO/IEC 13818-1, 2.4.3.2), of 188, 192 or 204 bytes."""
    return any(all(head[at + size * n : at + size * n + 1] == b"G" for n in range(5)) for size in (188, 192, 204) for at in range(size))


def options(form: str) -> dict[str, str]:
    """How a demuxer is told to open a file: that format alone, local files alone, no references to other files, known decoders alone."""
    known = {"protocol_whitelist": "file", "format_whitelist": form, "codec_whitelist": ",".join(sorted(frozenset().union(*CODECS.values())))}
    return known | ({"enable_drefs": "0", "use_absolute_path": "0"} if form == "mov" else {})


def strange(media: object) -> str:
    """The first decoder of an opened container's streams that is not in the list; "" where all are, or where none would read the stream."""
    for stream in media.streams:  # type: ignore[attr-defined]
        context = stream.codec_context if stream.type in CODECS else None
        if context is not None and stream.type != "subtitle" and context.name not in CODECS[stream.type]:
            return str(context.name)
    return ""
