"""A dub as other programs read it: frames out are frames in (P6), sound with the picture (P7), all else of the source kept."""

import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from infra.errors import MediaError
from infra.media import ffmpeg
from infra.video import DubWriter, inspect, pictures
from infra.video.kept import language_code
from video_cases import clicks, dubbed, film, heard, late, packets, planes, run, shown

FLASHES = (10, 37, 61)
VARIABLE = "settb=1/90000,setpts='N*3000+1200*mod(N,3)'"  # steps of 47, 47 and 7 ms


def flashing(path: Path, rate: str, options: tuple[str, ...] = (), filters: str = "") -> list[Fraction]:
    """A source with white pictures at FLASHES, B-frames and a sound of its own; the flashes' times."""
    flash = "+".join(f"eq(n,{number})" for number in FLASHES)
    chain = f"lutyuv=y=235:u=128:v=128:enable='{flash}'" + (f",{filters}" if filters else "")
    run("-f", "lavfi", "-i", f"color=c=gray:s=64x48:r={rate}", "-f", "lavfi", "-i", "sine=f=300:d=3", "-vf", chain, "-frames:v", "75", "-c:v", "libx264", "-bf", "3", "-c:a", "aac",
        "-fps_mode", "passthrough", "-pix_fmt", "yuv420p", *options, path)  # fmt: skip
    seen = list(pictures(path))
    assert len(seen) == 75
    return [seen[number].time for number in FLASHES]


@pytest.mark.parametrize(
    ("rate", "filters", "name"),
    [("24000/1001", "", "a.mp4"), ("24", "", "a.mp4"), ("25", "", "a.mp4"), ("30000/1001", "", "a.mp4"), ("30", "", "a.mkv"), ("50", "", "a.mp4"), ("60000/1001", "", "a.mp4"),
     ("30", VARIABLE, "a.mp4"), ("30", VARIABLE, "a.mkv"), ("30000/1001", "", "a.flv"), ("25", "setpts=PTS+0.7/TB", "a.mp4"), ("30000/1001", "", "a.ts")],
)  # fmt: skip
def test_sound_stays_with_the_picture(tmp_path: Path, rate: str, filters: str, name: str) -> None:
    flashes = flashing(tmp_path / name, rate, filters=filters)
    sound = clicks(tmp_path / "dub.wav", flashes, float(flashes[-1]) + 1)
    writer = dubbed(tmp_path / name, tmp_path / "out.mp4", sound)
    told, got = list(pictures(tmp_path / name)), shown(tmp_path / "out.mp4")
    assert writer.frames == len(told) == len(got) == 75
    assert np.abs(np.subtract([float(picture.time) for picture in told], [time for time, _ in got])).max() < 2e-6
    white = [time for time, luma in got if luma > 180]
    assert len(white) == len(FLASHES)
    track = heard(tmp_path / "out.mp4")
    assert all(-0.005 <= late(track, time) <= 0.015 for time in white), [late(track, time) for time in white]
    assert abs(len(track) / 48_000 - (float(flashes[-1]) + 1)) < 0.03, "the sound is neither cut nor padded"


def test_a_dub_without_sound_keeps_only_the_picture(tmp_path: Path) -> None:
    flashing(tmp_path / "a.mp4", "25")
    dubbed(tmp_path / "a.mp4", tmp_path / "out.mp4", None)
    assert not inspect(tmp_path / "out.mp4").audio and len(shown(tmp_path / "out.mp4")) == 75


def catalogue_item(path: Path) -> Path:
    """Five sound streams, subtitles, chapters and titles."""
    lines = path.with_suffix(".srt")
    lines.write_text("1\n00:00:00,200 --> 00:00:00,900\nGood <i>morning</i>\n\n2\n00:00:01,000 --> 00:00:01,500\nNāmasté, 你好\n")
    about = path.with_suffix(".meta")
    about.write_text(";FFMETADATA1\ntitle=An Evening\nartist=Somebody\ncreation_time=2020-01-02T03:04:05.000000Z\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=1000\ntitle=One\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=1000\nEND=2000\ntitle=Two\n")
    codecs = ["aac", "aac", "ac3", "pcm_s16le", "flac"]
    run("-f", "lavfi", "-i", "testsrc=s=64x48:r=25:d=2", "-f", "lavfi", "-i", "sine=f=300:d=2", "-f", "lavfi", "-i", "sine=f=900:d=2", "-i", lines, "-i", about, "-map_metadata", "4",
        "-map", "0", "-map", "1", *["-map", "2"] * 4, "-map", "3", "-pix_fmt", "yuv420p", "-c:v", "libx264", "-c:s", "srt" if path.suffix == ".mkv" else "mov_text",
        *[word for number, codec in enumerate(codecs) for word in (f"-c:a:{number}", codec)], "-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=fra",
        "-metadata:s:a:1", "title=Commentaire", "-metadata:s:a:2", "language=ger", "-metadata:s:s:0", "language=eng", path)  # fmt: skip
    return path


def what_ffmpeg_says(path: Path) -> str:
    return subprocess.run([ffmpeg(), "-hide_banner", "-i", str(path)], capture_output=True, check=False).stderr.decode()


def test_everything_else_of_the_source_is_kept(tmp_path: Path) -> None:
    source, out = catalogue_item(tmp_path / "a.mkv"), tmp_path / "out.mp4"
    sound = clicks(tmp_path / "dub.wav", [Fraction(1)], 2)
    writer = dubbed(source, out, sound, keep_original=True)
    facts = inspect(out)
    assert [(track.language, track.codec) for track in facts.audio] == [("spa", "aac"), ("fra", "aac"), ("ger", "ac3"), ("und", "aac"), ("und", "flac"), ("eng", "aac")]
    assert [track.default for track in facts.audio] == [True] + [False] * 5
    assert [packets(out, f"a:{now}") == packets(source, f"a:{was}") for now, was in ((1, 1), (2, 2), (4, 4), (5, 0))] == [True] * 4
    assert any("pcm_s16le" in note for note in writer.notes) and any("subtitles" in note for note in writer.notes)
    again = heard(out, 3)
    assert abs(np.abs(np.fft.rfft(again)).argmax() * 48_000 / len(again) - 900) < 2, "what was encoded anew sounds the same"
    said = what_ffmpeg_says(out)
    for word in ("An Evening", "Somebody", "2020-01-02T03:04:05", "Chapter #0:1: start 1.000000, end 2.000000", "(fra)", "Commentaire", "Subtitle: mov_text", "es-ES"):
        assert word in said, word
    lines = run("-i", out, "-map", "0:s:0", "-f", "srt", "-").decode()
    assert "00:00:00,200 --> 00:00:00,900" in lines and "morning" in lines and "00:00:01,000 --> 00:00:01,500" in lines and "Nāmasté, 你好" in lines


def test_kept_sound_stays_where_it_was(tmp_path: Path) -> None:
    """Sound copied from MP4 (with AAC's priming) and from Matroska (times in milliseconds)."""
    times = [Fraction(1, 2), Fraction(3, 2)]
    sound = clicks(tmp_path / "a.wav", times, 2, 44_100)
    for name in ("a.mp4", "a.mkv", "a.ts"):
        run("-f", "lavfi", "-i", "testsrc=s=64x48:r=25:d=2", "-i", sound, "-map", "0", "-map", "1", "-map", "1", "-pix_fmt", "yuv420p", "-c:a", "aac", tmp_path / name)
        dubbed(tmp_path / name, tmp_path / "out.mp4", clicks(tmp_path / "b.wav", [], 2))
        assert inspect(tmp_path / "out.mp4").audio[1].codec == "aac"
        first = float(next(pictures(tmp_path / name)).time)
        track = heard(tmp_path / "out.mp4", 1)
        assert all(-0.005 <= late(track, first + float(time)) <= 0.03 for time in times), [late(track, float(time)) for time in times]
        assert packets(tmp_path / "out.mp4", "a:1") == packets(tmp_path / name, "a:1") or name == "a.ts"


def test_subtitles_of_an_mp4_are_copied(tmp_path: Path) -> None:
    run("-i", catalogue_item(tmp_path / "a.mkv"), "-map", "0:v", "-map", "0:a:0", "-map", "0:s", "-c", "copy", "-c:s", "mov_text", tmp_path / "a.mp4")
    writer = dubbed(tmp_path / "a.mp4", tmp_path / "out.mp4", None)
    assert not [note for note in writer.notes if "subtitles" in note]
    assert run("-i", tmp_path / "out.mp4", "-map", "0:s:0", "-f", "srt", "-") == run("-i", tmp_path / "a.mp4", "-map", "0:s:0", "-f", "srt", "-")
    assert len(inspect(tmp_path / "out.mp4").audio) == 0, "the first sound is the one that is dubbed"


@pytest.mark.parametrize("source", ["-vf scale=out_color_matrix=bt709:out_range=tv,setsar=16/11,setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709,format=yuv420p",
                                    "-vf scale=out_color_matrix=smpte170m:out_range=pc,format=yuv420p", "-vf format=yuv422p", "-vf format=yuv420p"])  # fmt: skip
def test_colours_and_aspect_are_the_sources(tmp_path: Path, source: str) -> None:
    run("-f", "lavfi", "-i", "color=c=0xC83C14:s=66x50:d=0.4", *source.split(), "-c:v", "libx264", tmp_path / "a.mp4")
    dubbed(tmp_path / "a.mp4", tmp_path / "out.mp4", None, crf=4)
    was, now = inspect(tmp_path / "a.mp4"), inspect(tmp_path / "out.mp4")
    assert (was.colour, was.sample_aspect, was.fps, was.width, was.height) == (now.colour, now.sample_aspect, now.fps, now.width, now.height)
    for path in ("a.mp4", "out.mp4"):
        seen = np.frombuffer(run("-i", tmp_path / path, "-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"), np.uint8).reshape(50, 66, 3)
        assert np.abs(seen.mean((0, 1)) - (0xC8, 0x3C, 0x14)).max() < 4, path


@pytest.mark.parametrize(("size", "options"), [("65x49", ("-c:v", "ffv1")), ("33x50", ("-c:v", "ffv1")), ("66x50", ())])
def test_every_pixel_of_odd_and_turned_pictures(tmp_path: Path, size: str, options: tuple[str, ...]) -> None:
    source = film(tmp_path / "b.mkv", size, "25", 0.5, *(("-pix_fmt", "yuv420p", *options) if options else ()))
    if not options:
        film(tmp_path / "b.mp4", size, "25", 0.5)
        source = tmp_path / "a.mp4"
        run("-display_rotation:v", "90", "-i", tmp_path / "b.mp4", "-c", "copy", source)
    dubbed(source, tmp_path / "out.mp4", None, crf=0)
    for was, now in zip(pictures(source), pictures(tmp_path / "out.mp4"), strict=True):
        high, wide = was.y.shape
        assert now.y.shape == (high + high % 2, wide + wide % 2) and np.array_equal(now.y[:high, :wide], was.y)
        assert np.array_equal(now.u, was.u) and np.array_equal(now.v, was.v)
    assert inspect(tmp_path / "out.mp4").rotation == 0 and len(planes(tmp_path / "out.mp4")) == (13 if "." in size else len(list(pictures(source))))


def test_an_edit_is_written_and_nothing_else(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4", "128x96", "25", 1)
    mask = np.zeros((32, 40), np.float32)
    mask[4:-4, 4:-4] = 1
    with DubWriter(tmp_path / "out.mp4", source, None, language="en", crf=0, preset="ultrafast") as out:
        for picture in pictures(source):
            out.write(picture.with_region(np.full((32, 40, 3), (200, 60, 60), np.uint8), mask, 31, 41))
    was, now = planes(source)[:, : 96 * 128].reshape(-1, 96, 128), planes(tmp_path / "out.mp4")[:, : 96 * 128].reshape(-1, 96, 128)
    changed = (was != now).any(0)
    assert changed[35:59, 45:77].mean() > 0.9 and not changed[:35].any() and not changed[59:].any() and not changed[:, :45].any() and not changed[:, 77:].any()


def test_the_index_lies_before_the_data(tmp_path: Path) -> None:
    dubbed(film(tmp_path / "a.mp4"), tmp_path / "out.mp4", clicks(tmp_path / "b.wav", [], 1))
    data = (tmp_path / "out.mp4").read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")
    assert [path.name for path in tmp_path.glob("*out*")] == ["out.mp4"]


@pytest.mark.parametrize(("tag", "code"), [("es-ES", "spa"), ("zh-TW", "zho"), ("fil", "fil"), ("pt-BR", "por"), ("nb-NO", "nob"), ("de", "deu"), ("iw", "heb"), ("x-klingon", "und"), ("", "und"), ("EN_us", "eng")])
def test_languages(tag: str, code: str) -> None:
    assert language_code(tag) == code


def test_a_writer_that_fails_leaves_nothing(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4")
    (tmp_path / "bad.wav").write_bytes(b"nothing")
    with pytest.raises(MediaError):
        dubbed(source, tmp_path / "out.mp4", tmp_path / "bad.wav")
    with pytest.raises(MediaError) as told:
        dubbed(source, tmp_path / "out.mp4", source)
    assert told.value.code == "media.no_audio"
    with pytest.raises(RuntimeError), DubWriter(tmp_path / "out.mp4", source, None, language="en", crf=20, preset="ultrafast") as out:
        out.write(next(pictures(source)))
        raise RuntimeError("the engine failed")
    with pytest.raises(MediaError) as told, DubWriter(tmp_path / "out.mp4", source, None, language="en", crf=20, preset="ultrafast"):
        pass
    assert told.value.code == "media.unwritable"
    (tmp_path / "gone").mkdir()
    with pytest.raises(MediaError), DubWriter(tmp_path / "gone" / "none" / "out.mp4", source, None, language="en", crf=20, preset="ultrafast") as out:
        for picture in pictures(source):
            out.write(picture)
    assert not list(tmp_path.glob("**/*out*"))


@pytest.mark.parametrize("limit", [40_000, 3_000_000])
def test_a_full_disk_is_named(tmp_path: Path, limit: int) -> None:
    """The disk fills while pictures are written, and while the index is moved before them."""
    film(tmp_path / "a.mkv", "256x256", "25", 3, "-vf", "noise=alls=90:allf=t", "-c:v", "ffv1", "-pix_fmt", "yuv420p")
    code = (
        "import resource, sys; from pathlib import Path; sys.path.insert(0, 'tests')\n"
        "from video_cases import dubbed; from infra.errors import DubwrightError\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        "try:\n"
        f"    dubbed(Path({str(tmp_path / 'a.mkv')!r}), Path({str(tmp_path / 'out.mp4')!r}), None, crf=0)\n"
        "except DubwrightError as error: print(error.code)\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert found.stdout.strip() == "disk.full", found.stdout + found.stderr
    assert not list(tmp_path.glob("*out*"))


@pytest.mark.parametrize("clip", ["1001_DFA_ANG_XX", "1001_DFA_NEU_XX"])
def test_cremad_is_dubbed_in_time_and_colour(shared_data: Path, tmp_path: Path, clip: str) -> None:
    source, out = shared_data / "cremad" / f"{clip}.flv", tmp_path / "out.mp4"
    read = list(pictures(source))
    flashes = [read[number].time for number in (5, 30, 55)]
    writer = dubbed(source, out, clicks(tmp_path / "dub.wav", flashes, inspect(source).seconds), crf=12)
    got = shown(out)
    assert writer.frames == len(got) == len(read)
    assert np.abs(np.subtract([time for time, _ in got], [float(picture.time) for picture in read])).max() < 2e-6
    track = heard(out)
    assert all(-0.005 <= late(track, float(time)) <= 0.015 for time in flashes)
    duration = re.search(r"Duration: 00:00:(\S+),", what_ffmpeg_says(out))
    assert duration and abs(float(duration[1]) - inspect(source).seconds) < 0.05
    was, now = (np.frombuffer(run("-i", path, "-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"), np.uint8).astype(int) for path in (source, out))
    assert np.abs(was - now).mean() < 2 and abs((was - now).mean()) < 0.3


class Killed(Exception):
    """What ends a writer in the middle."""


@pytest.mark.parametrize("ranges", [(), ((20, 60), (80, 90))])
def test_a_film_goes_on_from_the_windows_that_were_kept(tmp_path: Path, ranges: tuple[tuple[int, int], ...]) -> None:
    """P2: whoever finishes it, wherever it was cut off, the same bytes come out; with copied groups across a window's end, too."""
    source = film(tmp_path / "a.mp4", "128x96", "30000/1001", 3.2, "-vf", "noise=alls=40:allf=t", "-pix_fmt", "yuv420p", "-c:v", "libx264", "-g", "10", "-bf", "2", "-x264-params", "scenecut=0")
    sound = clicks(tmp_path / "d.wav", [Fraction(1)], 4)
    read = list(pictures(source))
    assert len(read) > 90

    def made(name: str, kept: list[Path], until: int) -> bytes:
        def keep(number: int, path: Path) -> None:
            assert number == len(kept)
            kept.append(path.rename(tmp_path / f"{name}-{number}"))
            path.write_bytes(kept[-1].read_bytes())

        with DubWriter(tmp_path / f"{name}.mp4", source, sound, language="de", crf=20, preset="veryfast", window=25, keep=keep, copy=ranges) as out:
            for path in list(kept):
                out.join(path)
            for picture in read[out.frames :]:
                if picture.number == until:
                    raise Killed
                out.write(picture)
        return (tmp_path / f"{name}.mp4").read_bytes()

    whole: list[Path] = []
    wanted = made("whole", whole, -1)
    assert len(whole) == -(-len(read) // 25)  # the last one, too: another version of the film may end with it
    assert made("joined", whole, -1) == wanted
    for until in (74, 80):
        kept: list[Path] = []
        with pytest.raises(Killed):
            made("cut", kept, until)
        assert len(kept) == (until - 1) // 25 and not (tmp_path / "cut.mp4").exists()
        assert made("cut", kept, -1) == wanted
        (tmp_path / "cut.mp4").unlink()
    assert np.array_equal([picture.time for picture in pictures(tmp_path / "whole.mp4")], [picture.time for picture in read])


def lines_of(picture: np.ndarray) -> np.ndarray:
    return picture[: 96 * 128].reshape(96, 128).astype(int)


@pytest.mark.parametrize(("name", "how"), [("a.mp4", "-bf 3 -g 20"), ("a.mkv", "-bf 0 -g 20"), ("a.ts", "-bf 2 -g 20 -profile:v main"), ("a.mp4", "-bf 2 -g 20 -refs 4 -preset slow"), ("a.flv", "-bf 1 -g 20")])
@pytest.mark.parametrize(("ranges", "preset"), [
    (((0, 50), (70, 130)), "ultrafast"), (((15, 65),), "veryfast"), (((80, 130),), "medium"), (((0, 130),), "veryfast"), (((40, 80), (60, 101), (119, 130)), "veryfast"),
])  # fmt: skip
def test_groups_that_nobody_edits_are_copied(tmp_path: Path, name: str, how: str, ranges: tuple[tuple[int, int], ...], preset: str) -> None:
    source, out = tmp_path / name, tmp_path / "out.mp4"
    film(source, "128x96", "30000/1001", 130 * 1001 / 30_000, "-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "veryfast", *how.split(), "-x264-params", "scenecut=0")
    whole = [(first, min(first + 20, 130)) for first in range(0, 130, 20)]
    merged = [number for number in range(130) if any(a <= number < b for a, b in ranges)]
    untouched = [number for first, last in whole if all(n in merged for n in range(first, last)) for number in range(first, last)]
    with DubWriter(out, source, clicks(tmp_path / "d.wav", [Fraction(1)], 4), language="de", crf=10, preset=preset, copy=ranges) as writer:
        for picture in pictures(source):
            grey = np.full((96, 128, 3), 128, np.uint8)
            writer.write(picture if picture.number in merged else picture.with_region(grey, np.ones((96, 128), np.float32), 0, 0))
    assert writer.copied == len(untouched) and writer.frames == 130 and bool(writer.notes) == (not untouched or "matrix" in str(writer.notes))
    was, now = planes(source), planes(out)
    assert len(was) == len(now) == 130
    assert np.array_equal(was[untouched], now[untouched]), "what is copied decodes to the same pixels"
    for number in set(range(130)) - set(untouched):
        wanted = lines_of(was[number]) if number in merged else np.full((96, 128), 126)
        assert np.abs(lines_of(now[number]) - wanted).mean() < 4
    times = np.array([time for time, _ in shown(out)])
    assert np.abs(times - [float(picture.time) for picture in pictures(source)]).max() < 2e-6
    assert np.array_equal([picture.y for picture in pictures(out)], now[:, : 96 * 128].reshape(-1, 96, 128)), "read to the end without damage"
    if b"libopenh264" in run("-decoders"):  # a decoder that drops what it holds when its buffer's size changes
        strict = run("-c:v", "libopenh264", "-i", out, "-map", "0:v", "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "yuv420p", "-")
        assert np.array_equal(np.frombuffer(strict, np.uint8).reshape(now.shape), now)
    assert len(run("-ss", "3.5", "-i", out, "-map", "0:v", "-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "gray", "-")) == 96 * 128


@pytest.mark.parametrize(("form", "name", "why"), [("-c:v mpeg4", "a.mp4", "not H.264"), ("-c:v libx264 -pix_fmt yuv422p", "a.mp4", "yuv422p"), ("-c:v libx264 -pix_fmt yuv420p -g 250", "a.mp4", "no whole group")])
def test_what_cannot_be_copied_is_encoded_and_said(tmp_path: Path, form: str, name: str, why: str) -> None:
    source = film(tmp_path / name, "128x96", "25", 2, *form.split())
    writer = dubbed(source, tmp_path / "out.mp4", None, copy=((0, 40),))
    assert writer.copied == 0 and any(why in note for note in writer.notes) and len(planes(tmp_path / "out.mp4")) == 50
