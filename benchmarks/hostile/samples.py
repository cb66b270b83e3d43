"""Small whole media files of each kind, made by ffmpeg and Pillow, and mutants of them."""

import io
import random
import subprocess
from pathlib import Path

from infra.media import ffmpeg

PORTRAIT = Path(__file__).parents[2] / "demo" / "portraits" / "grace_hopper.jpg"
PICTURES = ("-f", "lavfi", "-i", "testsrc=s=128x96:r=25:d=1.2")
SOUND = ("-f", "lavfi", "-i", "sine=f=300:d=1.2")
VIDEOS: dict[str, tuple[str, ...]] = {
    "h264.mp4": ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-bf", "2", "-c:a", "aac"),
    "fast.mp4": ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-movflags", "faststart", "-c:a", "libmp3lame"),
    "h264.mkv": ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "flac"),
    "vp9.webm": ("-c:v", "libvpx-vp9", "-cpu-used", "8", "-deadline", "realtime", "-c:a", "libopus"),
    "prores.mov": ("-c:v", "prores_ks", "-profile:v", "0", "-c:a", "pcm_s16le"),
    "mjpeg.avi": ("-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-c:a", "adpcm_ms"),
    "mpeg2.ts": ("-c:v", "mpeg2video", "-c:a", "mp2"),
    "mpeg1.mpg": ("-c:v", "mpeg1video", "-c:a", "mp2"),
    "flv.flv": ("-c:v", "flv", "-c:a", "libmp3lame", "-ar", "44100"),
}
SOUNDS: dict[str, tuple[str, ...]] = {
    "pcm.wav": ("-c:a", "pcm_s16le"), "float.wav": ("-c:a", "pcm_f32le"), "a.flac": ("-c:a", "flac"), "a.mp3": ("-c:a", "libmp3lame"), "a.m4a": ("-c:a", "aac"),
    "a.ogg": ("-c:a", "libvorbis"), "a.opus": ("-c:a", "libopus"), "a.aac": ("-c:a", "aac", "-f", "adts"), "a.ac3": ("-c:a", "ac3"), "a.aiff": (), "alac.m4a": ("-c:a", "alac"),
}  # fmt: skip
STILLS = {"a.png": "PNG", "a.jpg": "JPEG", "a.webp": "WEBP", "a.tif": "TIFF", "a.bmp": "BMP", "a.gif": "GIF", "a.avif": "AVIF", "a.jp2": "JPEG2000", "a.ppm": "PPM"}


def made(*arguments: str | Path) -> None:
    """Run ffmpeg to its end."""
    subprocess.run([ffmpeg(), "-hide_banner", "-v", "error", "-nostdin", "-y", *map(str, arguments)], check=True, capture_output=True)


def videos(folder: Path) -> dict[str, bytes]:
    """Name and bytes of a video of each container, 1.2 seconds."""
    for name, how in VIDEOS.items():
        made(*PICTURES, *SOUND, *how, folder / name)
    return {name: (folder / name).read_bytes() for name in VIDEOS}


def sounds(folder: Path) -> dict[str, bytes]:
    """Name and bytes of a recording of each kind."""
    for name, how in SOUNDS.items():
        made(*SOUND, *how, folder / name)
    return {name: (folder / name).read_bytes() for name in SOUNDS}


def stills() -> dict[str, bytes]:
    """Name and bytes of a portrait in each format that this Pillow writes, 256 pixels high."""
    from PIL import Image

    Image.init()
    small, found = Image.open(PORTRAIT).convert("RGB").resize((218, 256)), {}
    for name, kind in STILLS.items():
        held = io.BytesIO()
        if kind in Image.SAVE:
            small.save(held, kind)
            found[name] = held.getvalue()
    return found


def mutant(data: bytes, seed: str) -> bytes:
    """Bytes with some flipped, cut out, put in, doubled or lost at the end; half of the places lie in the first 4 KiB, where headers are."""
    chance, out = random.Random(seed), bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        at = chance.randrange(min(len(out), 4096) if chance.random() < 0.5 else len(out)) if out else 0
        size = chance.choice((1, 2, 4, 16, 256))
        match chance.randrange(8):
            case 0:
                del out[at:]
            case 1:
                out[at : at + size] = b""
            case 2:
                out[at:at] = chance.randbytes(size)
            case 3:
                out[at:at] = out[at : at + size]
            case 4:
                out[at : at + 4] = chance.choice((b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0"))
            case _:
                for place in range(at, min(at + chance.choice((1, 1, 2, 8)), len(out))):
                    out[place] ^= 1 << chance.randrange(8)
    return bytes(out)
