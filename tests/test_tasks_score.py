"""Scoring files: real clips, frame rates, time stamps, gaps, and all that cannot be scored, which never passes."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from infra.errors import MediaError
from infra.media import VideoWriter, iter_frames, read_audio, write_wav
from models.types import SyncScore
from tasks.gate import decide, load_thresholds
from tasks.score import follow, mouth_place, on_clock, score_frames, score_tracks, score_video, sound_delay, spoken_frames
from tasks.scored import draw, scored_tracks, seconds_of

RATE = 16_000


@pytest.fixture(scope="module")
def clip() -> tuple[list[np.ndarray], np.ndarray]:
    """Frames and sound of a real clip of a person the scorer never saw."""
    from conftest import shared_data

    torch.set_num_threads(1)
    path = shared_data() / "grid" / "s4" / "lwbsza.mpg"
    return list(iter_frames(path)), read_audio(path)


def write(path: Path, frames: list[np.ndarray], wave: np.ndarray | None, fps: Fraction = Fraction(25)) -> Path:
    sound = None
    if wave is not None:
        sound = path.with_suffix(".wav")
        write_wav(sound, wave, RATE)
    height, width = frames[0].shape[:2]
    with VideoWriter(path, width, height, fps, sound, crf=20) as out:
        for frame in frames:
            out.write(frame)
    return path


def verdict(score: SyncScore) -> str:
    return decide(score, load_thresholds()).verdict


def test_a_real_clip_is_in_sync_and_moved_sound_is_found(clip: tuple[list[np.ndarray], np.ndarray], tmp_path: Path) -> None:
    frames, wave = clip
    score = score_video(write(tmp_path / "real.mp4", frames, wave))
    assert score.scorable and abs(score.offset) <= 1 and verdict(score) == "pass"
    assert len(score.seconds) == 3 and score.extra["in_sync"] > 0.3
    later = score_video(write(tmp_path / "later.mp4", frames, np.pad(wave, (8 * 640, 0))[: len(wave)]))
    assert abs(later.offset + 8) <= 1 and verdict(later) == "fail"
    assert "the lips lead the sound" in decide(later, load_thresholds()).reasons[0]


def test_frame_rates_other_than_25_are_put_on_our_clock(clip: tuple[list[np.ndarray], np.ndarray], tmp_path: Path) -> None:
    frames, wave = clip
    ntsc = Fraction(30000, 1001)
    shown = [frames[min(int(i / ntsc * 25 + Fraction(1, 2)), len(frames) - 1)] for i in range(int(len(frames) / 25 * ntsc))]
    score = score_video(write(tmp_path / "ntsc.mp4", shown, wave, ntsc))
    assert abs(score.offset) <= 1 and score.confidence > 0.15
    assert abs(len(score.window_confidence) - 71) <= 2


def test_another_corpus_at_another_rate_is_found_in_place(clip: object) -> None:
    """CREMA-D: 29.97 fps Flash video, whose MP3 sound lags by the encoder's delay, a frame or so that no time stamp tells of."""
    from conftest import shared_data

    offsets = []
    for path in sorted((shared_data() / "cremad").glob("*.flv")):
        score = score_video(path)
        assert score.scorable, path.name
        offsets.append(score.offset)
    assert len(offsets) == 3 and all(-2 <= offset <= 1 for offset in offsets) and max(offsets) - min(offsets) <= 1


def test_time_stamps_count(clip: tuple[list[np.ndarray], np.ndarray], tmp_path: Path) -> None:
    """A file whose sound starts 0.2 s late by its time stamps is scored as a player plays it."""
    import av

    frames, wave = clip
    path = tmp_path / "late.mkv"
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=25, options={"crf": "20"})
        video.width, video.height, video.pix_fmt = 360, 288, "yuv420p"
        audio = out.add_stream("flac", rate=RATE, layout="mono")
        for number, frame in enumerate(frames):
            shown = av.VideoFrame.from_ndarray(frame)
            shown.pts, shown.time_base = number, Fraction(1, 25)
            out.mux(video.encode(shown))
        for start in range(0, len(wave) - 640, 640):
            heard = av.AudioFrame.from_ndarray(
                (wave[None, start : start + 640] * 32767).astype(np.int16), format="s16", layout="mono"
            )
            heard.pts, heard.time_base, heard.sample_rate = start + RATE // 5, Fraction(1, RATE), RATE
            out.mux(audio.encode(heard))
        out.mux(video.encode())
        out.mux(audio.encode())
    assert sound_delay(path) == pytest.approx(0.2, abs=0.03)
    assert abs(score_video(path).offset + 5) <= 1


def test_frames_without_a_face_are_left_out(clip: tuple[list[np.ndarray], np.ndarray]) -> None:
    frames, wave = clip
    blank = np.zeros_like(frames[0])
    score = score_frames([blank if 30 <= i < 36 else f for i, f in enumerate(frames)], wave)
    assert score.scorable and abs(score.offset) <= 1
    assert np.isnan(score.window_confidence[28:34]).all() and np.isfinite(score.window_confidence[4:24]).all()
    assert score.extra["seconds"] < 2.8


def test_big_pictures_are_followed_on_small_ones(clip: tuple[list[np.ndarray], np.ndarray]) -> None:
    import cv2

    class Recorder:
        """The mesh, with the sizes that it is shown written down."""

        def __init__(self, mesh: object) -> None:
            self.mesh, self.sizes = mesh, set()

        def __call__(self, picture: np.ndarray) -> list[np.ndarray]:
            self.sizes.add(picture.shape[:2])
            return self.mesh(picture)  # type: ignore[operator]

    from models.faces.mesh import FaceMesh

    frames = clip[0][:14]
    big = [cv2.resize(f, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC) for f in frames]
    present: list[bool] = []
    with FaceMesh(video=True) as mesh:
        recorder = Recorder(mesh)
        small = list(follow(((frame, mouth_place(frame, mesh)) for frame in frames), []))
        large = list(follow(((frame, mouth_place(frame, recorder)) for frame in big), present))  # type: ignore[arg-type]
    assert all(present) and len(large) == len(small) == 14 and max(max(size) for size in recorder.sizes) <= 480
    assert np.abs(np.stack(large).astype(float) - np.stack(small)).mean() < 6


def test_what_cannot_be_scored_says_why_and_never_passes(clip: tuple[list[np.ndarray], np.ndarray], tmp_path: Path) -> None:
    frames, wave = clip
    random = np.random.default_rng(0)
    room = [random.integers(0, 255, frames[0].shape, np.uint8) for _ in range(4)] * 10
    times = np.arange(len(wave)) / RATE
    tone = (0.3 * np.sin(2 * np.pi * 220 * times)).astype(np.float32)
    cases = {
        "no face": score_frames(room, wave),
        "there is no sound": score_video(write(tmp_path / "mute.mp4", frames[:30], None)),
        "the sound is silent": score_frames(frames, np.zeros_like(wave)),
        "no speech": score_frames(frames, tone),
        "shorter than a second": score_frames(frames[20:40], wave[20 * 640 : 40 * 640]),
        "no face is seen": score_frames([], wave),
        "less than a second": score_frames([*room[:40], *frames[40:56]], wave),
    }
    for reason, score in cases.items():
        assert not score.scorable and reason in score.reason, (reason, score.reason)
        assert verdict(score) == "unscorable"


def test_files_that_are_no_video_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("not a video")
    with pytest.raises(MediaError, match=r"text\.mp4"):
        score_video(tmp_path / "text.mp4")


def test_memory_holds_few_pictures(clip: tuple[list[np.ndarray], np.ndarray]) -> None:
    import weakref

    alive: weakref.WeakValueDictionary[int, np.ndarray] = weakref.WeakValueDictionary()
    most = 0

    def stream() -> Iterator[np.ndarray]:
        nonlocal most
        for number in range(40):
            frame = clip[0][number].copy()
            alive[number] = frame
            most = max(most, len(alive))
            yield frame
            del frame

    assert len(list(follow(((frame, None) for frame in stream()), []))) == 40
    assert most <= 3


def test_voice_rows_become_frames() -> None:
    voice = np.zeros(100, np.float32)
    voice[10:13] = 1
    spoken = spoken_frames(voice, 30)
    assert spoken.shape == (30,) and spoken[2] and spoken[3] and spoken.sum() == 2


# by track


def test_a_track_scores_as_the_whole_does(clip: tuple[list[np.ndarray], np.ndarray], tmp_path: Path) -> None:
    frames, wave = clip
    path = write(tmp_path / "real.mp4", frames, wave)
    whole, (track,) = score_video(path), score_tracks(path).values()
    assert track.offset == whole.offset and len(track.seconds) == len(whole.seconds) == 3
    assert abs(track.confidence - whole.confidence) < 0.02 and verdict(track) == verdict(whole) == "pass"
    assert track.extra["start"] == 0.0


def test_tracks_at_other_rates_are_put_on_our_clock(clip: tuple[list[np.ndarray], np.ndarray], tmp_path: Path) -> None:
    frames, wave = clip
    fifty = [frame for frame in frames for _ in (0, 1)]
    (track,) = score_tracks(write(tmp_path / "fifty.mp4", fifty, wave, Fraction(50))).values()
    assert abs(track.offset) <= 1 and track.confidence > 0.2 and len(track.window_confidence) in (70, 71)


def test_a_track_that_begins_late_hears_what_is_said_then(clip: tuple[list[np.ndarray], np.ndarray], tmp_path: Path) -> None:
    frames, wave = clip
    wall = np.full_like(frames[0], 120)
    path = write(tmp_path / "late.mp4", [*[wall] * 30, *frames], np.concatenate([np.zeros(30 * 640, np.float32), wave]))
    (track,) = score_tracks(path).values()
    assert abs(track.offset) <= 1 and track.confidence > 0.2 and abs(track.extra["start"] - 1.2) < 0.05


def test_pictures_that_pass_through_are_not_scored(clip: tuple[list[np.ndarray], np.ndarray], tmp_path: Path) -> None:
    frames, wave = clip
    hidden = [frame.copy() for frame in frames]
    for frame in hidden[30:50]:
        frame[190:260, 130:250] = (30, 90, 40)
    (row,) = scored_tracks(write(tmp_path / "hidden.mp4", hidden, wave))
    assert 18 <= row["passing"]["covered"] <= 34 and row["usable"] == 75 - row["passing"]["covered"]
    told = row["window_confidence"]
    assert all(value is None for value in told[28:48]) and all(value is not None for value in told[3:18])


def test_what_has_no_sound_or_no_voice_is_told_of_each_track(clip: tuple[list[np.ndarray], np.ndarray], tmp_path: Path) -> None:
    frames, wave = clip
    cases = {"there is no sound": None, "the sound is silent": np.zeros_like(wave)}
    for reason, sound in cases.items():
        (track,) = score_tracks(write(tmp_path / "case.mp4", frames[:40], sound)).values()
        assert not track.scorable and track.reason == reason and verdict(track) == "unscorable"
    assert score_tracks(write(tmp_path / "wall.mp4", [np.full_like(frames[0], 90)] * 30, wave)) == {}


def test_curves_of_tracks_are_one_svg(clip: tuple[list[np.ndarray], np.ndarray], tmp_path: Path) -> None:
    from xml.dom import minidom

    frames, wave = clip
    doubled = [np.hstack([frame, frame[:, ::-1]]) for frame in frames]
    rows = scored_tracks(write(tmp_path / "two.mp4", doubled, wave))
    text = draw('two <&> "more".mp4', rows, load_thresholds())
    drawn = minidom.parseString(text)
    assert len(drawn.getElementsByTagName("polyline")) == len(rows) == 2
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    assert [row[0] for row in seconds_of(rows[0])] == [0.0, 1.0, 2.0]


def test_the_clock_is_that_of_whole_videos() -> None:
    times = [Fraction(i * 1001, 30000) for i in range(60)]
    shown = list(on_clock((time, number) for number, time in enumerate(times)))
    assert len(shown) == 50 and shown[0] == 0 and shown[-1] == 59
    assert all(abs(times[number] - Fraction(tick, 25)) <= Fraction(1, 25) for tick, number in enumerate(shown))
    assert list(on_clock([])) == []
