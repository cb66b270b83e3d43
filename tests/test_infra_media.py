"""Video out and in: frames out are frames in (P6), sound stays with the picture (P7), faults have names (P5)."""

import resource
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from infra import media
from infra.errors import MediaError, SetupError
from infra.media import VideoWriter, iter_frames, probe, read_audio, resampled, write_wav

FLASHES = (25, 60, 110)  # frames


def click_and_flash(path: Path, width: int, height: int, fps: Fraction, frames: int = 125) -> None:
    """White frames with clicks that begin with them."""
    sound = np.zeros(int(np.ceil(frames / fps * 48_000)), np.float32)
    for frame in (f for f in FLASHES if f < frames - 5):
        at = round(frame / fps * 48_000)
        sound[at : at + 960] = 0.9 * np.sin(np.arange(960) * 0.4)
    write_wav(path.with_suffix(".wav"), sound, 48_000)
    with VideoWriter(path, width, height, fps, path.with_suffix(".wav")) as out:
        for number in range(frames):
            out.write(np.full((height, width, 3), 235 if number in FLASHES else 20, np.uint8))


@pytest.mark.parametrize("fps", [Fraction(25), Fraction(24_000, 1001), Fraction(30_000, 1001), Fraction(50)])
def test_sound_stays_with_the_picture(tmp_path: Path, fps: Fraction) -> None:
    path = tmp_path / "film.mp4"
    click_and_flash(path, 160, 120, fps)
    seen = [i for i, frame in enumerate(iter_frames(path)) if frame.mean() > 128]
    sound = read_audio(path, 48_000)
    assert seen == list(FLASHES)
    for frame in FLASHES:
        due = float(frame / fps)
        window = np.abs(sound[int((due - 0.1) * 48_000) : int((due + 0.1) * 48_000)])
        late = float(np.flatnonzero(window > 0.2)[0] / 48_000 - 0.1)
        assert -0.005 <= late <= 0.015, f"click {late * 1000:+.1f} ms from its flash"


@pytest.mark.parametrize(("width", "height"), [(64, 48), (65, 49), (33, 50), (1, 1)])
def test_every_frame_comes_back(tmp_path: Path, width: int, height: int) -> None:
    path = tmp_path / "film.mp4"
    with VideoWriter(path, width, height, Fraction(25), None) as out:
        for number in range(37):
            out.write(np.full((height, width, 3), number * 6, np.uint8))
    frames = list(iter_frames(path))
    assert len(frames) == 37 and frames[0].shape == (height + height % 2, width + width % 2, 3)
    assert all(abs(frame.mean() - number * 6) < 4 for number, frame in enumerate(frames))


def test_colours_survive(tmp_path: Path) -> None:
    path, colours = tmp_path / "film.mp4", [(200, 40, 40), (40, 200, 40), (40, 40, 200), (250, 220, 190)]
    with VideoWriter(path, 64, 64, Fraction(25), None) as out:
        for colour in colours:
            out.write(np.full((64, 64, 3), colour, np.uint8))
    for frame, colour in zip(iter_frames(path), colours, strict=True):
        assert np.abs(frame.mean((0, 1)) - colour).max() < 6


def test_index_lies_before_the_data(tmp_path: Path) -> None:
    click_and_flash(tmp_path / "film.mp4", 64, 48, Fraction(25))
    data = (tmp_path / "film.mp4").read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")
    assert probe(tmp_path / "film.mp4").audio_streams == 1


def test_other_rates_come_onto_the_clock(tmp_path: Path) -> None:
    click_and_flash(tmp_path / "film.mp4", 64, 48, Fraction(50), 100)
    assert abs(len(list(iter_frames(tmp_path / "film.mp4", Fraction(25)))) - 50) <= 1


@pytest.mark.parametrize("content", [b"", b"not media at all" * 50, b"\x00" * 4_096, b"RIFF\xff\xff\xff\xffWAVEfmt "])
def test_what_is_no_media_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(MediaError):
        read_audio(tmp_path / "a.wav")


def test_truncated_video_is_told_or_read_as_far_as_it_goes(tmp_path: Path) -> None:
    click_and_flash(tmp_path / "film.mp4", 64, 48, Fraction(25))
    data = (tmp_path / "film.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) // 3])
    try:
        assert len(list(iter_frames(tmp_path / "cut.mp4"))) < 125
    except MediaError as error:
        assert "cut.mp4" in error.message


def test_picture_without_sound_and_sound_without_picture(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "film.mp4", 64, 48, Fraction(25), None) as out:
        out.write(np.zeros((48, 64, 3), np.uint8))
    with pytest.raises(MediaError) as told:
        read_audio(tmp_path / "film.mp4")
    assert told.value.code == "media.no_audio"
    write_wav(tmp_path / "a.wav", np.zeros(1_000, np.float32), 16_000)
    with pytest.raises(MediaError) as told:
        list(iter_frames(tmp_path / "a.wav"))
    assert told.value.code == "media.no_video"


def test_samples_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    samples = np.zeros(16_000, "<f4")
    samples[500] = np.nan
    header = b"RIFF" + (36 + samples.nbytes).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little")
    header += (3).to_bytes(2, "little") + (1).to_bytes(2, "little") + (16_000).to_bytes(4, "little") + (64_000).to_bytes(4, "little")
    header += (4).to_bytes(2, "little") + (32).to_bytes(2, "little") + b"data" + samples.nbytes.to_bytes(4, "little")
    (tmp_path / "nan.wav").write_bytes(header + samples.tobytes())
    with pytest.raises(MediaError) as told:
        read_audio(tmp_path / "nan.wav")
    assert told.value.code == "media.not_finite"


def test_a_writer_that_fails_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_bytes(b"nothing")
    with pytest.raises(MediaError), VideoWriter(tmp_path / "film.mp4", 64, 48, Fraction(25), tmp_path / "bad.wav") as out:
        for _ in range(500):
            out.write(np.zeros((48, 64, 3), np.uint8))
    with pytest.raises(RuntimeError), VideoWriter(tmp_path / "film.mp4", 64, 48, Fraction(25), None) as out:
        raise RuntimeError("the engine failed")
    assert not list(tmp_path.glob("*.mp4")) and not list(tmp_path.glob(".incoming*"))


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    code = (
        "import resource, sys, numpy as np; from fractions import Fraction; from pathlib import Path\n"
        "from infra.media import VideoWriter; from infra.errors import DubwrightError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000)); import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "try:\n"
        f"    with VideoWriter(Path({str(tmp_path)!r}) / 'film.mp4', 256, 256, Fraction(25), None) as out:\n"
        "        for _ in range(400): out.write(np.random.default_rng(_).integers(0, 255, (256, 256, 3)).astype(np.uint8))\n"
        "except DubwrightError as error: print(error.code)\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert found.stdout.strip() == "disk.full", found.stdout + found.stderr
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 40_000


def test_absent_ffmpeg_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "none"))
    monkeypatch.setenv("PATH", str(tmp_path))
    media.ffmpeg.cache_clear()
    try:
        with pytest.raises(SetupError) as told:
            VideoWriter(tmp_path / "film.mp4", 64, 48, Fraction(25), None)
        assert told.value.code == "setup.ffmpeg" and told.value.next_step
    finally:
        media.ffmpeg.cache_clear()


@pytest.mark.parametrize("rate", [22_050, 48_000, 16_000])
def test_resampling_keeps_time_length_and_level(rate: int) -> None:
    def tone(count: int, at: int) -> np.ndarray:
        return 0.4 * np.sin(2 * np.pi * 300 * np.arange(count) / at) + 0.2 * np.sin(2 * np.pi * 3000 * np.arange(count) / at)

    made = resampled((tone(rate * 3 + 77, rate) * 32767).astype(np.int16), rate, 16_000)
    assert len(made) == -(-(rate * 3 + 77) * 16_000 // rate) and made.dtype == np.float32
    assert np.abs(made - tone(len(made), 16_000))[200:-200].max() < 2e-3


def test_whole_numbers_are_the_same_sound(tmp_path: Path) -> None:
    sound = 0.5 * np.sin(np.arange(48_000) * 0.03)
    write_wav(tmp_path / "a.wav", sound, 16_000)
    whole, real = read_audio(tmp_path / "a.wav", whole=True), read_audio(tmp_path / "a.wav")
    assert whole.dtype == np.int16 and np.abs(whole / 32767 - real).max() < 1e-4
    write_wav(tmp_path / "b.wav", whole, 16_000)
    assert np.abs(read_audio(tmp_path / "b.wav") - real).max() < 1e-4
