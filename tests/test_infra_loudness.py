"""Loudness: the target within 0.5 LU with no peak over the limit as it is delivered; length and time kept to the sample; a bed that gives way."""

import re
import subprocess
from pathlib import Path

import av
import numpy as np
import pytest

from infra.errors import InputError, MediaError
from infra.loudness import Graph, level, write
from infra.media import ffmpeg, write_wav
from infra.video.film import encode_sound
from tasks.scripts import from_text
from tasks.sound import DUCKING, layout_of, mixed
from tasks.speech import SpeechTrack, synthesise

RATE = 48_000


@pytest.fixture(scope="module")
def track() -> SpeechTrack:
    return synthesise(from_text("Good evening, my friends. This takes a little longer than a picture does."), "en-US")


def plain(path: Path, sound: np.ndarray, rate: int) -> Graph:
    write_wav(path, sound, rate)
    return Graph((path,), f"[0:a]aresample={RATE}", -(-len(sound) * RATE // rate))


def metered(path: Path) -> tuple[float, float]:
    """Integrated loudness and true peak by ffmpeg's other meter, ebur128."""
    said = subprocess.run([ffmpeg(), "-hide_banner", "-nostats", "-i", str(path), "-af", "ebur128=peak=true:framelog=quiet", "-f", "null", "-"], capture_output=True, text=True, check=True).stderr
    return tuple(float(re.findall(rf"{name}:\s+(-?[\d.]+|-inf)", said)[-1]) for name in ("I", "Peak"))  # type: ignore[return-value]


def samples(path: Path) -> np.ndarray:
    """A file's sound, float [channels, samples]."""
    with av.open(str(path)) as media:
        layout = media.streams.audio[0].layout.name
        resampler = av.AudioResampler(format="fltp", layout=layout, rate=RATE)
        frames = [part.to_ndarray() for frame in [*media.decode(audio=0), None] for part in resampler.resample(frame)]
    return np.concatenate(frames, axis=1)


@pytest.mark.parametrize(
    ("target", "limit", "gain", "seconds", "how"),
    [(-23.0, -1.0, 1.0, 9.0, "linear"), (-23.0, -1.0, 0.0005, 9.0, "linear"), (-16.0, -1.0, 1.0, 9.0, "limited"), (-14.0, -2.0, 0.02, 9.0, "limited"), (-16.0, -1.0, 1.0, 0.9, "limited"), (None, -1.0, 0.3, 9.0, "off")],
)  # fmt: skip
def test_the_target_is_met_as_it_is_delivered(track: SpeechTrack, tmp_path: Path, target: float | None, limit: float, gain: float, seconds: float, how: str) -> None:
    sound = (np.asarray(track.sound).astype(np.float32) / 32768 * gain)[int(0.4 * track.rate) :][: int(seconds * track.rate)]
    graph = plain(tmp_path / "in.wav", sound, track.rate)
    made = level(graph, target, limit, tmp_path)
    write(graph.then(made.filters), tmp_path / "out.flac")
    assert made.how == how and samples(tmp_path / "out.flac").shape == (1, graph.samples)
    encode_sound(tmp_path / "out.flac", tmp_path / "out.mp4")
    integrated, peak = metered(tmp_path / "out.mp4")
    assert abs(integrated - (made.after.integrated or 0)) <= 0.15  # what is told is what another meter finds
    if target is not None:
        assert abs(integrated - target) <= 0.5 and peak <= limit


def test_what_cannot_reach_the_target_says_so(track: SpeechTrack, tmp_path: Path) -> None:
    clicks = np.random.default_rng(0).normal(0, 0.0005, 3 * RATE)
    clicks[::9600] = 0.9
    made = level(plain(tmp_path / "clicks.wav", clicks, RATE), -14.0, -1.0, tmp_path)
    assert made.after.peak is not None and made.after.peak <= -1 and any("LUFS and not -14" in note for note in made.notes)
    for name, sound, words in (("short", np.asarray(track.sound)[9000:13000], "too short"), ("silent", np.zeros(RATE), "nothing is heard")):
        made = level(plain(tmp_path / f"{name}.wav", sound, track.rate), -23.0, -1.0, tmp_path)
        assert (made.how, made.gain) == ("silent", 0.0) and words in made.notes[0]
    with pytest.raises(MediaError):
        level(Graph((tmp_path / "none.wav",), "[0:a]anull", RATE), -23.0, -1.0, tmp_path)


@pytest.mark.parametrize("target", [-40.0, -9.0])
def test_nothing_moves_in_time(tmp_path: Path, target: float) -> None:
    """P7: linear gain and limiter keep every sample's time."""
    sound = 0.02 * np.sin(np.arange(4 * RATE) * 0.2)
    places = np.arange(RATE // 2, 4 * RATE, RATE)
    sound[places] = 0.95
    graph = plain(tmp_path / "in.wav", sound, RATE)
    made = level(graph, target, -1.0, tmp_path)
    write(graph.then(made.filters), tmp_path / "out.flac")
    out = samples(tmp_path / "out.flac")[0]
    assert made.how == ("linear" if target == -40 else "limited") and len(out) == len(sound)
    assert [int(np.abs(out[at - 500 : at + 500]).argmax()) - 500 for at in places] == [0] * 4


@pytest.mark.parametrize(("layout", "seconds"), [("mono", 9.0), ("stereo", 3.0), ("5.1", 9.0)])
def test_a_bed_gives_way_keeps_its_channels_and_ends_with_the_picture(tmp_path: Path, track: SpeechTrack, layout: str, seconds: float) -> None:
    count = {"mono": 1, "stereo": 2, "5.1": 6}[layout]
    tone = [f"sine=frequency={300 + 100 * n}:sample_rate=44100:duration={seconds}[s{n}]" for n in range(count)]
    bed, length = tmp_path / "bed.wav", 8 * RATE
    join = "".join(f"[s{n}]" for n in range(count)) + (f"amerge=inputs={count}" if count > 1 else "anull")
    subprocess.run([ffmpeg(), "-v", "error", "-filter_complex", f"{';'.join(tone)};{join},volume=0.5[o]", "-map", "[o]", str(bed)], check=True)
    said = np.zeros(8 * track.rate, np.float32)
    burst = np.random.default_rng(0).normal(0, 1, 2 * track.rate)
    said[3 * track.rate : 5 * track.rate] = 0.1 * burst / burst.std()  # two seconds as loud as words are
    graph = mixed(plain(tmp_path / "said.wav", said, track.rate), bed, length, 0.0, 0.0, DUCKING)
    write(graph, tmp_path / "out.flac")
    out = samples(tmp_path / "out.flac")
    assert layout_of(bed) == layout and out.shape == (count, length)

    def tone_level(channel: int, first: float, last: float) -> float:
        part = out[channel][int(first * RATE) : int(last * RATE)]
        wave = np.exp(-2j * np.pi * (300 + 100 * channel) * np.arange(len(part)) / RATE)
        return 20 * np.log10(2 * np.abs((part * wave).mean()) + 1e-9)

    for channel in range(count):
        before = tone_level(channel, 1.0, 2.8)
        if seconds > 8:
            assert 6 < before - tone_level(channel, 3.3, 4.9) < 12  # nine, about
            assert abs(before - tone_level(channel, 7.0, 7.9)) < 1 and abs(out[channel][-1]) < 0.01
    speaks = [np.abs(out[channel][int(3.5 * RATE) : int(4.9 * RATE)]).std() > 0.035 for channel in range(count)]
    assert speaks == {"mono": [True], "stereo": [True, True], "5.1": [False, False, True, False, False, False]}[layout]
    if seconds < 8:
        assert np.abs(out[:, 6 * RATE :]).max() == 0


def test_beds_that_hold_no_sound_or_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "list.wav").write_text("ffconcat version 1.0\nfile /etc/passwd\n")
    with pytest.raises(MediaError):
        layout_of(tmp_path / "list.wav")
    subprocess.run([ffmpeg(), "-v", "error", "-f", "lavfi", "-i", "color=s=32x32:d=1", str(tmp_path / "picture.mp4")], check=True)
    with pytest.raises(InputError):
        layout_of(tmp_path / "picture.mp4")
