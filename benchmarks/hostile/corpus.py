"""What somebody made to do harm, or broke: files by their bytes, names, places, manifests, scripts, addresses, weights (P5, P17, P18)."""

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.hostile import voices
from benchmarks.hostile.samples import PICTURES, PORTRAIT, SOUND, made
from benchmarks.hostile.weights import HARMS

NAMES = ("; touch x", "$(id)", "-i", "%d", "concat:a|b", "‮gnp.a", "a\nb", "`id`", "|id", "*", "~root", "a'b\"c", "file:a", " ")
AUDIO_NAN = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + 64_000, b"WAVE", b"fmt ", 16, 3, 1, 16_000, 64_000, 4, 32, b"data", 64_000)


@dataclass(frozen=True)
class Case:
    """One thing that is taken in: what it is called here, the request to the taker, and the codes it may end with (any where none is named)."""

    name: str
    do: str
    what: dict[str, Any]
    ends: tuple[str, ...] = ()


def cases(folder: Path, canary: Path, port: int) -> Iterator[Case]:
    """Every case; files are written to a folder, which knows a folder of secrets and a server that must not be reached."""
    folder.mkdir()
    yield from _broken(folder)
    yield from _named(folder)
    yield from _placed(folder, canary, port)
    yield from _other_roles(folder, canary)
    yield from _voices(folder, canary)
    yield from _leading(folder, canary, port)
    yield from _greedy(folder)
    yield from _manifests(folder, canary, port)
    yield from _scripts(folder, canary, port)
    yield from _addresses(port)
    yield from (Case(f"weights: {harm}", "weights", {"harm": harm}, ("weights.hash", "weights.format", "weights.unreadable")) for harm in HARMS)


def _media(name: str, role: str, path: Path, *ends: str) -> Case:
    return Case(f"{role}: {name}", "media", {"role": role, "place": str(path), "base": str(path.parent)}, ends)


def _film(path: Path, *how: str) -> Path:
    made(*PICTURES, *SOUND, *(how or ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac")), path)
    return path


def _broken(folder: Path) -> Iterator[Case]:
    """P5's list."""
    film, sound = _film(folder / "whole.mp4"), folder / "whole.wav"
    made(*SOUND, sound)
    wave = sound.read_bytes()
    files = {
        "truncated": (film.read_bytes()[:9000], wave[:20_000], PORTRAIT.read_bytes()[:9000]), "zero bytes": (b"", b"", b""),
        "of another kind": (PORTRAIT.read_bytes(), PORTRAIT.read_bytes(), wave), "of zeros": (bytes(5000),) * 3, "text": (b"no media at all " * 300,) * 3,
    }  # fmt: skip
    for name, parts in files.items():
        for role, data, suffix in zip(("video", "audio", "portrait"), parts, (".mp4", ".wav", ".jpg"), strict=True):
            path = folder / f"{name} {role}{suffix}"
            path.write_bytes(data)
            yield _media(name, role, path)
    (folder / "nan.wav").write_bytes(AUDIO_NAN + np.full(16_000, np.nan, "<f4").tobytes())
    yield _media("NaN samples", "audio", folder / "nan.wav", "media.not_finite")
    long, at = bytearray(wave), wave.index(b"data") + 4
    long[at : at + 4] = long[4:8] = b"\xf0\xff\xff\x7f"
    (folder / "long.wav").write_bytes(long)
    yield _media("header claiming 10 hours", "audio", folder / "long.wav", "accepted", "media.too_long")
    yield _media("header claiming 10 hours", "video", _film(folder / "long.mkv", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac", "-bsf:v", "setts=ts=TS*40000"), "media.too_long")
    (folder / "film.wav").write_bytes(film.read_bytes())
    yield _media("wrong extension", "audio", folder / "film.wav", "accepted")
    yield _media("no sound", "audio", _film(folder / "mute.mp4", "-an", "-c:v", "libx264", "-pix_fmt", "yuv420p"), "media.no_audio")
    yield _media("no picture", "video", sound, "media.no_video")
    shapes = {
        "one frame": ("-frames:v", "1"), "rotated": ("-metadata:s:v", "rotate=90"), "variable frame rate": ("-vf", "setpts='N*3000+1200*mod(N,3)',settb=1/90000", "-fps_mode", "passthrough"),
        "odd size": ("-vf", "scale=65:49", "-pix_fmt", "yuv444p"), "4:2:2": ("-pix_fmt", "yuv422p"), "ten bits": ("-pix_fmt", "yuv420p10le"),
    }  # fmt: skip
    for name, how in shapes.items():
        form = () if "-pix_fmt" in how else ("-pix_fmt", "yuv420p")
        yield _media(name, "video", _film(folder / f"{name}.mp4".replace(":", ""), "-c:v", "libx264", *form, "-c:a", "aac", *how))
    yield _media("alpha", "video", _film(folder / "alpha.mov", "-c:v", "png", "-pix_fmt", "rgba", "-c:a", "aac"), "accepted")


def _named(folder: Path) -> Iterator[Case]:
    """Names that mean something to a shell, an option parser or FFmpeg: they are only names."""
    film, sound = (folder / "whole.mp4").read_bytes(), (folder / "whole.wav").read_bytes()
    for name in NAMES:
        for role, data, suffix in (("video", film, ".mp4"), ("audio", sound, ".wav"), ("portrait", PORTRAIT.read_bytes(), ".jpg")):
            path = folder / f"{name}{suffix}"
            path.write_bytes(data)
            yield Case(f"{role}: named {name!r}", "media", {"role": role, "place": path.name, "base": str(folder)}, ("accepted",) if not name.startswith("~") else ())
    for role in ("video", "audio", "portrait"):
        for name in ("a\0b.mp4", "x" * 4096, "x" * 255, "../" * 40 + "etc/passwd", "\ud800.mp4", ".", "/", "..", ""):
            yield Case(f"{role}: named {name[:20]!r}", "media", {"role": role, "place": name, "base": str(folder)})


def _placed(folder: Path, canary: Path, port: int) -> Iterator[Case]:
    """Places that are no file of the work: URLs, other protocols of FFmpeg, devices, pipes, what the kernel makes up."""
    os.mkfifo(folder / "pipe.wav")
    places = [
        "http://169.254.169.254/latest/meta-data/", f"http://127.0.0.1:{port}/a.mp4", f"https://127.0.0.1:{port}/a.mp4", f"ftp://127.0.0.1:{port}/a.mp4", f"rtmp://127.0.0.1:{port}/a",
        f"tcp://127.0.0.1:{port}", f"concat:{canary}/secret.mp4|{canary}/secret.wav", f"subfile,,start,0,end,0,,:{canary}/secret.mp4", "pipe:0", "data:video/mp4;base64,AAAA", f"cache:http://127.0.0.1:{port}/",
        f"crypto:{canary}/secret.mp4", "s3://169.254.169.254/latest", f"s3://127.0.0.1:{port}/a.mp4", f"s3://user@127.0.0.1:{port}/a.mp4", f"s3://[::1]:{port}/a.mp4", "s3://2130706433/a", "s3://../a.mp4",
        "s3://arn:aws:s3:us-east-1:123456789012:accesspoint/a/b", "s3:///a", f"s3://a?x=http://127.0.0.1:{port}/b", "gs://bucket/a.mp4", "/dev/zero", "/dev/random", "/proc/self/environ", "/proc/kmsg",
        "/dev/stdin", str(folder / "pipe.wav"), str(folder), "file:///dev/zero", "s3://bucket/../../a", "S3://bucket/a",
    ]  # fmt: skip
    for place in places:
        for role in ("video", "audio", "portrait"):
            yield Case(f"{role}: {place.replace(str(folder), '').replace(str(canary), '')}", "media", {"role": role, "place": place, "base": str(folder)})


def _other_roles(folder: Path, canary: Path) -> Iterator[Case]:
    """Inputs that go the way of a recording or a portrait under another name: beds, further recordings, pictures of whose face is meant."""
    lists = {"m3u8": f"#EXTM3U\n#EXTINF:1,\n{canary}/secret.wav\n", "ffconcat": f"ffconcat version 1.0\nfile '{canary}/secret.wav'\n", "svg": f"<svg xmlns='http://www.w3.org/2000/svg'><image href='{canary}/secret.png'/></svg>"}
    for role in ("bed", "audio2", "face", "face.1"):
        picture = role.startswith("face")
        yield _media("whole", role, PORTRAIT if picture else folder / "whole.wav", "accepted")
        yield _media("of another kind", role, folder / "whole.wav" if picture else PORTRAIT, "input.bad_picture" if picture else "media.unreadable")
        yield Case(f"{role}: /proc/self/environ", "media", {"role": role, "place": "/proc/self/environ", "base": str(folder)})
        for kind, text in lists.items():
            path = folder / f"{kind} {role}.wav"
            path.write_text(text)
            yield _media(f"{kind} to a secret", role, path, "input.bad_picture" if picture else "media.unreadable")
    for role in ("bed", "audio2"):
        yield _media("NaN samples", role, folder / "nan.wav")
        yield _media("no sound", role, folder / "mute.mp4", "media.no_audio")
        yield _media("header claiming 10 hours", role, folder / "long.wav", "accepted", "media.too_long")
        path = folder / f"{role} inside.mp4"
        path.write_bytes(_referring((folder / "whole.mp4").read_bytes(), _box(b"url ", bytes(4) + f"file://{canary}/secret.wav".encode() + b"\0")))
        yield _media("reference to a secret", role, path)


def _voices(folder: Path, canary: Path) -> Iterator[Case]:
    """Voices in Piper's format: what is no network of a voice is told as such, and none reads what it was not given."""
    good, told = voices.whole()
    for number, (name, data) in enumerate([("whole", good), *voices.networks(canary)]):
        path = folder / f"voice {number}.onnx"
        path.write_bytes(data)
        yield _media(name, "voice.1", path, "accepted" if name == "whole" else "voice.broken")
    for number, (name, data) in enumerate([("whole", told), *voices.descriptions()]):
        path = folder / f"voice {number}.onnx.json"
        path.write_bytes(data)
        yield _media(name, "voice_config.1", path, *(("accepted",) if name == "whole" else ("voice.config", "input.locale")))


def _leading(folder: Path, canary: Path, port: int) -> Iterator[Case]:
    """Files that lead to other files or to a server: playlists, lists, references inside a container, drawings."""
    film = (folder / "whole.mp4").read_bytes()
    for target in (f"{canary}/secret.mp4", f"file://{canary}/secret.mp4", f"http://127.0.0.1:{port}/a.ts", "../canary/secret.mp4"):
        lists = {
            "m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:1,\n{target}\n#EXT-X-ENDLIST\n", "ffconcat": f"ffconcat version 1.0\nfile '{target}'\n",
            "key": f"#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI=\"{target}\"\n#EXTINF:1,\n{target}\n", "sdp": f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {port} RTP/AVP 96\n",
            "mpd": f"<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011'><Period><AdaptationSet><BaseURL>{target}</BaseURL></AdaptationSet></Period></MPD>",
            "svg": f"<svg xmlns='http://www.w3.org/2000/svg' xmlns:xlink='http://www.w3.org/1999/xlink'><image xlink:href='{target}' width='9' height='9'/></svg>",
            "mvg": f"push graphic-context\nviewbox 0 0 640 480\nimage over 0,0 0,0 '{target}'\npop graphic-context\n", "eps": f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n({target}) (r) file\n",
            "lavfi": f"movie={target}", "avs": f'DirectShowSource("{target}")', "xspf": f"<playlist><track><location>{target}</location></track></playlist>",
        }  # fmt: skip
        for kind, text in lists.items():
            for role, suffix in (("video", ".mp4"), ("audio", f".{kind}"), ("portrait", ".png")):
                path = folder / f"{kind} {abs(hash(target)) % 997} {role}{suffix}"
                path.write_text(text)
                yield _media(f"{kind} to {target.replace(str(canary), '')}", role, path, "media.unreadable", "input.bad_picture")
        path = folder / f"inside {abs(hash(target)) % 997}.mp4"
        path.write_bytes(film + _box(b"mdat", lists["m3u8"].encode()) + _box(b"free", lists["ffconcat"].encode()))
        yield _media(f"playlist inside an mp4, to {target.replace(str(canary), '')}", "video", path)
        for by, data in (("url ", target.encode() + b"\0"), ("alis", _alias(target))):
            path = folder / f"{by} {abs(hash(target)) % 997}.mov"
            path.write_bytes(_referring(film, _box(by.encode(), bytes(4) + data)))
            yield _media(f"reference by {by} to {target.replace(str(canary), '')}", "video", path)
            yield _media(f"reference by {by} to {target.replace(str(canary), '')}", "audio", path)


def _box(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(data), kind) + data


def _alias(target: str) -> bytes:
    """QuickTime's alias record with a path, as FFmpeg's mov demuxer reads it."""
    name = target.encode()[:63]
    path = target.encode()
    return (
        bytes(10) + bytes([3]) + b"vol".ljust(27, b"\0") + bytes(12) + bytes([len(name)]) + name.ljust(63, b"\0") + bytes(16) + struct.pack(">hh", 0, 0) + bytes(16)
        + struct.pack(">hh", 2, len(path)) + path + bytes(len(path) & 1) + struct.pack(">hh", 18, len(path)) + path + bytes(len(path) & 1) + struct.pack(">hh", -1, 0)
    )  # fmt: skip


def _referring(film: bytes, reference: bytes) -> bytes:
    """A film whose tracks refer to another file: every data reference is replaced, the boxes around it grown."""
    own = _box(b"dref", bytes(4) + struct.pack(">I", 1) + _box(b"url ", b"\0\0\0\1"))
    new = _box(b"dref", bytes(4) + struct.pack(">I", 1) + reference)
    out = bytearray(film)
    at = 0
    while (at := out.find(own, at)) >= 0:
        for kind in (b"dinf", b"minf", b"mdia", b"trak", b"moov"):
            box = out.rfind(kind, 0, at) - 4
            size = struct.unpack_from(">I", out, box)[0]
            struct.pack_into(">I", out, box, size + len(new) - len(own))
        out[at : at + len(own)] = new
        at += len(new)
    return bytes(out)


def _greedy(folder: Path) -> Iterator[Case]:
    """Files that ask for much: pixels, streams, channels, text, memory."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    def png(width: int, height: int, *more: bytes) -> bytes:
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) + b"".join(more) + chunk(b"IEND", b"")

    bombs = {
        "60000 x 60000.png": png(60_000, 60_000, chunk(b"IDAT", zlib.compress(bytes(1000)))), "2^31.png": png(2**31 - 1, 2**31 - 1), "text.png": png(64, 64, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**28)))),
        "profile.png": png(64, 64, chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(2**27))), chunk(b"IDAT", zlib.compress(bytes(64 * 193)))),
        "rows.png": png(9_999, 9_999, chunk(b"IDAT", zlib.compress(bytes(9_999 * (3 * 9_999 + 1)), 9))), "a.gif": b"GIF89a\xff\xff\xff\xff\x80\0\0" + bytes(6) + b",\0\0\0\0\xff\xff\xff\xff\0\x08\0;",
        "a.tif": b"II*\0\x08\0\0\0\x02\0\0\1\4\0\1\0\0\0\xff\xff\0\0\1\1\4\0\1\0\0\0\xff\xff\0\0\x08\0\0\0", "a.ppm": b"P6 99999 99999 255\n", "a.webp": b"RIFF\x20\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff",
    }  # fmt: skip
    for name, data in bombs.items():
        (folder / name).write_bytes(data)
        yield _media(f"bomb {name}", "portrait", folder / name, "input.bad_picture", *(["input.no_face"] if name == "rows.png" else []))  # 100 megapixels are allowed
    wave = bytearray((folder / "whole.wav").read_bytes())
    for name, at, value in (("65535 channels", 22, b"\xff\xff"), ("no channels", 22, b"\0\0"), ("4 GHz", 24, b"\xff\xff\xff\xff"), ("rate 0", 24, bytes(4)), ("block 0", 32, b"\0\0"), ("rare codec", 20, b"\x50\0")):
        (folder / f"{name}.wav").write_bytes(wave[:at] + value + wave[at + len(value) :])
        yield _media(name, "audio", folder / f"{name}.wav")
    made(*SOUND, *(word for _ in range(100) for word in ("-map", "0:a")), "-c:a", "aac", "-t", "0.1", folder / "streams.mka")
    yield _media("100 streams", "audio", folder / "streams.mka", "media.streams")
    made("-f", "lavfi", "-i", "color=s=16000x64:r=25:d=0.2", "-c:v", "mjpeg", "-pix_fmt", "yuvj420p", folder / "wide.avi")
    yield _media("16000 pixels wide", "video", folder / "wide.avi", "media.too_large")
    made(*PICTURES, "-c:v", "flashsv", folder / "rare.flv")
    yield _media("a codec that is not listed", "video", folder / "rare.flv", "media.codec")


def _manifests(folder: Path, canary: Path, port: int) -> Iterator[Case]:
    job = "jobs: [{title: a, locale: en-US, text: hello, portrait: a.png}]"
    bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + "\n".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12))
    texts = {
        "bomb.yaml": f"batch: a\noutput: out\n{bomb}\n{job}", "self.yaml": "batch: a\noutput: out\njobs: &a [*a]", "deep.yaml": "a: " + "[" * 50_000, "deep.json": "[" * 200_000, "open.yaml": "{" * 3000,
        "python.yaml": "batch: !!python/object/apply:os.system ['touch x']\noutput: out\n" + job, "module.yaml": "batch: !!python/module:os\noutput: out\n" + job, "numbers.json": '{"batch": 1e999, "output": NaN, "jobs": 5}',
        "digits.json": '{"batch": ' + "9" * 10_000 + "}", "up.yaml": f"batch: a\noutput: {'../' * 30}etc/cron.d\n{job}", "web.yaml": f"batch: a\noutput: http://127.0.0.1:{port}/\n{job}", "nul.yaml": "batch: a\0b\noutput: o\n" + job,
        "long.yaml": f"batch: {'x' * 100_000}\noutput: out\n{job}", "rtl.yaml": f"batch: \u202ea\noutput: out\n{job}", "keys.yaml": "? [a, b]\n: c\n? {a: b}\n: d\n", "merge.yaml": "batch: a\n<<: [{x: 1}, 5]\n",
        "date.yaml": "batch: 9999-99-99\noutput: 2020-02-31\njobs: []", "bytes.yaml": "batch: !!binary '%%%'\noutput: out\n" + job, "set.yaml": "batch: !!set {a, b}\noutput: out\n" + job, "tag.yaml": "batch: !<tag:x> a\n",
        "columns.csv": "title,locale\n" + ",".join("x" * 9 for _ in range(5000)), "quote.csv": 'title,locale\n"' + "x" * 200_000, "nul.csv": "title,locale\na\0,b\n", "include.yaml": f"batch: !include {canary}/secret.mp4\n",
        "int.yaml": "batch: 0x" + "f" * 10_000 + "\noutput: 1:99:99:99:99:99:99\njobs: -.inf\n",
    }  # fmt: skip
    for title in (*NAMES, "../../etc/passwd", "a/b", "a\0b", "x" * 4096, "CON", "."):
        yield from _titled(folder, title)
    for name, text in texts.items():
        (folder / name).write_text(text)
        yield Case(f"manifest: {name}", "manifest", {"path": str(folder / name)})
    for name, data in (("utf16.yaml", "batch: a".encode("utf-16")), ("bytes.json", bytes(range(256))), ("large.yaml", b"a" * (33 * 2**20)), ("empty.csv", b"")):
        (folder / name).write_bytes(data)
        yield Case(f"manifest: {name}", "manifest", {"path": str(folder / name)})
    yield Case("manifest: http", "manifest", {"path": f"http://127.0.0.1:{port}/a.yaml"})
    yield Case("manifest: s3 at an address", "manifest", {"path": f"s3://127.0.0.1:{port}/a.yaml"}, ("store.name",))
    yield Case("manifest: /dev/zero", "manifest", {"path": "/dev/zero"}, ("manifest.too_large",))


def _titled(folder: Path, title: str) -> Iterator[Case]:
    import json

    path = folder / f"title {abs(hash(title)) % 99_991}.json"
    path.write_text(json.dumps({"batch": "a", "output": "out", "jobs": [{"title": title, "locale": "en-US", "text": "hello", "portrait": "a.png"}]}))
    yield Case(f"manifest: title {title[:20]!r}", "manifest", {"path": str(path)})


def _scripts(folder: Path, canary: Path, port: int) -> Iterator[Case]:
    laughs = "<!DOCTYPE tt [<!ENTITY a0 'ha'>" + "".join(f"<!ENTITY a{n} '{f'&a{n - 1};' * 10}'>" for n in range(1, 10)) + "]>"
    body = "<tt xmlns='http://www.w3.org/ns/ttml'><body><div><p begin='1s' end='2s'>{}</p></div></body></tt>"
    texts = {
        "laughs.ttml": laughs + body.format("&a9;"), "entity.ttml": f"<!DOCTYPE tt [<!ENTITY x SYSTEM 'file://{canary}/secret.mp4'>]>" + body.format("&x;"),
        "request.ttml": f"<!DOCTYPE tt SYSTEM 'http://127.0.0.1:{port}/a.dtd'>" + body.format("a"), "parameter.ttml": f"<!DOCTYPE tt [<!ENTITY % x SYSTEM 'http://127.0.0.1:{port}/b'> %x;]>" + body.format("a"),
        "include.ttml": body.format(f"<xi:include xmlns:xi='http://www.w3.org/2001/XInclude' href='file://{canary}/secret.mp4' parse='text'/>"), "deep.ttml": "<a>" * 100_000,
        "hours.srt": "1\n99999999:00:00,000 --> 999999999:00:00,000\na\n", "back.vtt": "WEBVTT\n\n00:05.000 --> 00:01.000\na\n", "style.ass": "[Events]\nDialogue: 0,0:00:01.00,0:00:02.00,,,,,,,{\\fscx99999\\p9999}a\n",
    }  # fmt: skip
    for name, text in texts.items():
        (folder / name).write_text(text)
        yield Case(f"script: {name}", "script", {"path": str(folder / name)})
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("xl/workbook.xml", bytes(2**28))
        out.writestr("../../../tmp/escaped", "a")
        out.writestr("[Content_Types].xml", "<Types/>")
    (folder / "bomb.xlsx").write_bytes(held.getvalue())
    yield Case("script: bomb.xlsx", "script", {"path": str(folder / "bomb.xlsx")})


def _addresses(port: int) -> Iterator[Case]:
    """Where webhooks must not call (infra/outbound.py); a host that an operator lists may be called, and where it redirects to is not."""
    hosts = (
        "127.0.0.1", "localhost", "[::1]", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "[::ffff:127.0.0.1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "0.0.0.0", "[::]", "169.254.169.254",  # noqa: S104 (called, not bound)
        "[::ffff:a9fe:a9fe]", "2852039166", "10.0.0.1", "100.64.0.1", "[fe80::1%25lo]", "[fd00::1]", "user@127.0.0.1", "127.0.0.1.", "１２７.0.0.1", "127.0.0.1#@example.com", "example.com@127.0.0.1",
    )  # fmt: skip
    for host in hosts:
        for scheme in ("http", "https"):
            yield Case(f"webhook: {scheme}://{host}", "url", {"url": f"{scheme}://{host}:{port}/"}, ("outbound.refused", "outbound.lookup"))
    for url in (f"file:///etc/passwd?{port}", f"gopher://127.0.0.1:{port}/", f"http:127.0.0.1:{port}", "http://", "https://[", "https://a:99999/", "https://a\r\nHost: b/", "//127.0.0.1/", ""):
        yield Case(f"webhook: {url!r}", "url", {"url": url}, ("outbound.refused", "outbound.lookup"))
    yield Case("webhook: a redirect", "url", {"url": f"http://127.0.0.1:{port}/", "allowed": "127.0.0.1"}, ("redirect.not_followed",))
