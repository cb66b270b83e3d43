"""Media files are opened by a process that can do no harm, within limits; what follows opens them in the same way (P5, P17)."""

import ast
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.hostile import voices
from infra.errors import InputError, MediaError
from infra.guard import door, kinds, network
from infra.media import open_media, read_audio, write_wav
from infra.settings import get_settings
from video_cases import film, run

ROOT = Path(__file__).parent.parent

SHUT_IN = """
import os, socket, subprocess, sys, threading
from infra.guard import sandbox
kept = os.open(sys.argv[1], os.O_RDONLY)
held = open(os.devnull, "wb")
import resource, time
sandbox.limit(1 << 28, 30, 1 << 20)
shut = sandbox.shut()
def tried(call):
    try:
        call()
    except (OSError, MemoryError) as error:
        return type(error).__name__
    return "done"
ran = []
thread = threading.Thread(target=lambda: ran.append(os.pread(kept, 4, 0)))
thread.start()
thread.join()
print(shut, *(tried(call) for call in (
    lambda: open("/etc/hostname"), lambda: os.listdir("/"), lambda: socket.socket(), lambda: os.fork(), lambda: os.execv("/bin/true", ["true"]),
    lambda: os.kill(os.getppid(), 0), lambda: os.unlink(sys.argv[1]), lambda: bytearray(1 << 30))), ran == [b"held"])
sys.stdout.flush()
os._exit(0)
"""

STRIKES = """
import os, sys, time
print("ready", flush=True)
end = time.time() + 30
while time.time() < end:
    for child in open(f"/proc/{sys.argv[1]}/task/{sys.argv[1]}/children").read().split():
        os.kill(int(child), int(sys.argv[2]))
        sys.exit()
sys.exit(1)
"""


def admitted(path: Path, whole: bool = False) -> str:
    try:
        door.admit(path, whole=whole)
    except MediaError as error:
        assert path.name in error.message and error.next_step
        return error.code
    return "admitted"


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    def limited(**values: object) -> None:
        for name, value in values.items():
            monkeypatch.setenv(f"DUBWRIGHT_{name.upper()}", str(value))
        get_settings.cache_clear()

    yield limited
    monkeypatch.undo()
    get_settings.cache_clear()


@pytest.mark.skipif(sys.platform != "linux", reason="the filter of system calls is Linux's")
def test_a_process_that_is_shut_in_reaches_nothing(tmp_path: Path) -> None:
    (tmp_path / "held").write_bytes(b"held")
    done = subprocess.run([sys.executable, "-c", SHUT_IN, str(tmp_path / "held")], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    refused = ["PermissionError"] * 7
    assert done.stdout.split() == ["True", *refused, "MemoryError", "True"], done.stdout + done.stderr
    assert (tmp_path / "held").exists()


def test_helpers_run_shut_in_and_remember_what_they_admitted(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", "64x48", "25", 4)
    head = door.admit(path)
    assert head["shut"] is (sys.platform == "linux") and head["format"] == "mov" and 40 < head["pictures"] < 100
    assert door.admit(path) == {}, "a file that has not changed is not looked at again"
    assert door.admit(path, whole=True)["pictures"] == 100 and door.admit(path) == {}
    os.utime(path, ns=(1, 1))
    assert door.admit(path)["pictures"] == head["pictures"]
    assert door.shut_in() is (sys.platform == "linux")


@pytest.mark.parametrize(
    ("values", "code"),
    [({"input_side": 64}, "media.too_large"), ({"input_hours": 0.0005}, "media.too_long"), ({"input_streams": 1}, "media.streams")],
    ids=["side", "hours", "streams"],
)  # fmt: skip
def test_limits_are_settings(tmp_path: Path, limit, values: dict[str, object], code: str) -> None:  # type: ignore[no-untyped-def]
    write_wav(tmp_path / "a.wav", np.zeros(48_000), 16_000)
    source = film(tmp_path / "a.mkv", "96x64", "25", 3, "-i", str(tmp_path / "a.wav"), "-c:v", "mjpeg", "-pix_fmt", "yuvj444p")
    assert admitted(source) == "admitted"
    limit(**values)
    os.utime(source, ns=(1, 1))
    assert admitted(source) == code


def test_memory_and_pixels_of_a_picture_are_settings(tmp_path: Path, limit) -> None:  # type: ignore[no-untyped-def]
    Image.new("1", (9000, 9000)).save(tmp_path / "a.png")
    limit(guard_memory_mib=256)
    with pytest.raises(InputError, match="needs more than 256 MiB"):
        door.picture(tmp_path / "a.png")
    limit(input_megapixels=80)
    with pytest.raises(InputError, match="at most 80 megapixels"):
        door.picture(tmp_path / "a.png")


@pytest.mark.skipif(sys.platform != "linux", reason="a helper's forks are found in /proc")
def test_a_decoder_that_hangs_or_dies_is_the_files_fault_and_the_next_file_passes(tmp_path: Path, limit) -> None:  # type: ignore[no-untyped-def]
    """Stopped and killed from outside, as no file is known that does it to this FFmpeg."""
    source = film(tmp_path / "a.mp4", "640x480", "25", 20)
    for signal_, code, patience in ((signal.SIGSTOP, "media.slow", 2.0), (signal.SIGSEGV, "media.crash", 60.0)):
        limit(guard_seconds=patience)
        os.utime(source, ns=(1, 1))
        with door._helper() as helper:
            number = helper.process.pid
        words = [sys.executable, "-c", STRIKES, str(number), str(int(signal_))]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as striker:
            assert striker.stdout is not None and striker.stdout.readline() == "ready\n"
            assert admitted(source, whole=True) == code
            assert striker.wait(30) == 0
    limit(guard_seconds=60.0)
    assert admitted(source, whole=True) == "admitted"


def test_a_helper_that_is_gone_is_replaced(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4", "64x48", "25", 1)
    with door._helper() as helper:
        helper.process.kill()
        helper.process.wait()
    assert admitted(source) == "admitted"


@pytest.mark.parametrize(
    ("head", "form"),
    [(b"\0\0\0\x18ftypisom", "mov"), (b"RIFF\0\0\0\0WAVEfmt ", "wav"), (b"ID3\4\0\0\0\0\1\0" + bytes(128) + b"\xff\xfb\x90\x64" + bytes(20), "mp3"), (b"ID3\4\0\0\0\0\1\0" + bytes(128) + b"fLaC", "flac"),
     (b"xG" + (b"G" + bytes(187)) * 6, "mpegts"), (b"#EXTM3U\n", ""), (b"ffconcat version 1.0", ""), (b"<MPD>", ""), (b"v=0\r\no=", ""), (b"", ""), (b"ID3", ""), (b"ID3\4\0\0\x7f\x7f\x7f\x7f", ""), (b"\x89PNG\r\n\x1a\n", "")],
)  # fmt: skip
def test_a_format_is_what_a_file_begins_with(head: bytes, form: str) -> None:
    if form == "mpegts":
        head = head[1:]
    assert kinds.format_of(lambda at, size: head[at : at + size]) == form
    assert not {"hls", "concat", "dash", "sdp", "image2"} & set(kinds.FORMATS)


def test_a_picture_is_decoded_outside_and_its_codecs_work_shut_in(tmp_path: Path) -> None:
    chance = np.random.default_rng(0).integers(0, 255, (40, 60, 3)).astype(np.uint8)
    for name in ("a.png", "a.jpg", "a.webp", "a.tif", "a.bmp", "a.gif", "a.avif", "a.jp2", "a.ppm"):
        Image.fromarray(chance).save(tmp_path / name)
        got = door.picture(tmp_path / name)
        assert got.shape == (40, 60, 3) and np.abs(got.astype(int) - chance).mean() < 60, name
    with pytest.raises(InputError, match="no file"):
        door.picture(Path("/dev/zero"))


def test_nothing_else_opens_media() -> None:
    """Only infra/media.py and the guard open containers to read or have ffmpeg open them, and only the guard opens pictures."""
    found = []
    for room in ("infra", "db", "models", "tasks", "flows", "api", "review"):
        for path in (ROOT / room).rglob("*.py"):
            name = path.relative_to(ROOT).as_posix()
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant) and node.value == "-i":
                    found.append((name, "-i"))
                if isinstance(node, ast.Call):
                    call = ast.unparse(node.func)
                    writes = call == "av.open" and len(node.args) > 1 and ast.unparse(node.args[1]) == "'w'"
                    if call in ("av.open", "Image.open", "cv2.imread", "cv2.VideoCapture", "soundfile.read", "librosa.load", "torchaudio.load") and not writes:
                        found.append((name, call))
    assert sorted(set(found)) == [("infra/guard/checks.py", "av.open"), ("infra/guard/stills.py", "Image.open"), ("infra/media.py", "-i"), ("infra/media.py", "av.open")]


def test_a_file_that_changed_its_kind_after_it_was_looked_at_is_not_opened_as_before(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4", "64x48", "25", 1)
    with open_media(source):
        pass
    source.write_text("#EXTM3U\n#EXTINF:1,\nother.ts\n")
    with pytest.raises(MediaError) as told:
        open_media(source)
    assert told.value.code == "media.unreadable"


def test_a_file_of_data_alone_is_no_crash(tmp_path: Path) -> None:
    """Found by benchmarks.fuzz: a file without sound or pictures, whose streams cannot be decoded."""
    write_wav(tmp_path / "a.wav", np.zeros(16_000), 16_000)
    run("-i", tmp_path / "a.wav", "-c:a", "aac", tmp_path / "a.m4a")
    (tmp_path / "b.m4a").write_bytes((tmp_path / "a.m4a").read_bytes().replace(b"mp4a", b"tmcd").replace(b"soun", b"data"))
    with pytest.raises(MediaError) as told:
        read_audio(tmp_path / "b.m4a")
    assert told.value.code == "media.no_audio"


def test_a_strangers_network_runs_shut_in(tmp_path: Path) -> None:
    """It reads no other file, takes no more memory, time and room for its answer than it is given, and takes nobody with it."""
    feed = {"input": np.array([[1, 2]], np.int64), "input_lengths": np.array([2], np.int64), "scales": np.ones(3, np.float32)}

    def told(model: bytes, feeds: int = 1, most: int = 10_000, memory: int = 512) -> list[np.ndarray] | str:
        (tmp_path / "a.onnx").write_bytes(model)
        try:
            return network.run(tmp_path / "a.onnx", [feed] * feeds, 1, most, memory, seconds=2)
        except network.NetworkFault as fault:
            return str(fault)

    good, _ = voices.whole()
    first, second = told(good, feeds=2, most=20_000)
    assert len(first) == len(second) > 8000 and first.dtype == np.float32 and np.array_equal(told(good)[0], first)  # type: ignore[arg-type]
    assert "no end of sound" in told(good, most=8000)
    (tmp_path / "beside.bin").write_bytes(np.ones(16, "<f4").tobytes())
    for place in ("beside.bin", str(tmp_path / "beside.bin"), "/proc/self/environ"):  # a file that it may name by onnxruntime's own rules too
        assert isinstance(told(voices.outside(place)), str)
    assert "ConstantOfShape" in told(voices.large(20_000)) and "takes more than 2 s" in told(voices.large(2_000))
    assert isinstance(told(b""), str) and isinstance(told(b"\x08\x08" * 500), str)
    with pytest.raises(network.NetworkFault, match="ends its process"):
        network._answer(b"W" + network.SIZE.pack(2**63), 1, -11, 1)
