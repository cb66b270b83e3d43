"""An existing video read for a dub: every picture once at its time (P6), its colours, and no pixel changed outside an edit (P8)."""

import re
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from infra.errors import MediaError
from infra.media import write_wav
from infra.video import inspect, pictures
from infra.video.picture import Colour, Picture
from infra.video.source import rising
from video_cases import dubbed, film, planes, run, shown


def flat(picture: Picture) -> np.ndarray:
    return np.concatenate([picture.y.ravel(), picture.u.ravel(), picture.v.ravel()])


@pytest.mark.parametrize(("option", "turned"), [("-display_rotation:v 90", 270), ("-display_rotation:v 180", 180), ("-display_rotation:v 270", 90), ("-display_hflip:v", 0)])
def test_pictures_stand_upright(tmp_path: Path, option: str, turned: int) -> None:
    film(tmp_path / "a.mp4")
    run(*option.split(), "-i", tmp_path / "a.mp4", "-c", "copy", tmp_path / "b.mp4")
    facts, seen = inspect(tmp_path / "b.mp4"), list(pictures(tmp_path / "b.mp4"))
    assert facts.rotation == turned and seen[0].y.shape == (facts.height, facts.width) == ((66, 50) if turned in (90, 270) else (50, 66))
    assert np.array_equal([flat(picture) for picture in seen], planes(tmp_path / "b.mp4"))


@pytest.mark.parametrize(
    ("form", "codec", "name"),
    [("yuv422p", "libx264", "a.mp4"), ("yuv444p", "libx264", "a.mp4"), ("yuvj420p", "mjpeg", "a.avi"), ("yuvj422p", "mjpeg", "a.avi"), ("yuva420p", "rawvideo", "a.nut"),
     ("rgb24", "png", "a.mkv"), ("bgra", "png", "a.mov"), ("gbrp", "libx264rgb", "a.mkv"), ("yuv411p", "rawvideo", "a.nut"), ("gray", "rawvideo", "a.nut")],
)  # fmt: skip
def test_any_eight_bit_form_has_its_colours(tmp_path: Path, form: str, codec: str, name: str) -> None:
    colours = [(200, 40, 40), (40, 200, 40), (40, 40, 200), (250, 220, 190)]
    raw = b"".join(np.full((48, 64, 3), colour, np.uint8).tobytes() for colour in colours)
    (tmp_path / "raw").write_bytes(raw)
    run("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "64x48", "-r", "25", "-i", tmp_path / "raw", "-pix_fmt", form, "-c:v", codec, tmp_path / name)
    told = run("-i", tmp_path / name, "-f", "rawvideo", "-pix_fmt", "rgb24", "-")
    wanted = np.frombuffer(told, np.uint8).reshape(-1, 48, 64, 3).astype(int)
    seen = list(pictures(tmp_path / name))
    assert len(seen) == 4
    for picture, want, colour in zip(seen, wanted, colours, strict=True):
        assert np.abs(picture.rgb().astype(int) - want).max() <= 3, "as another decoder shows it"
        assert form == "gray" or np.abs(picture.rgb().mean((0, 1)) - colour).max() < 6, "as it was made"


@pytest.mark.parametrize(("matrix", "tag", "range_"), [("bt709", 1, "tv"), ("smpte170m", 6, "tv"), ("bt709", 1, "pc"), ("bt470bg", 5, "pc")])
def test_a_told_matrix_and_range_are_used(tmp_path: Path, matrix: str, tag: int, range_: str) -> None:
    scale = f"scale=out_color_matrix={matrix}:out_range={range_},format=yuv420p"
    run("-f", "lavfi", "-i", "color=c=0xC83C14:s=64x48:d=0.2", "-vf", scale, "-colorspace", matrix, "-color_range", range_, "-c:v", "libx264", "-crf", "1", tmp_path / "a.mp4")
    facts, seen = inspect(tmp_path / "a.mp4"), next(pictures(tmp_path / "a.mp4"))
    assert facts.colour.matrix == tag and facts.colour.full == (range_ == "pc")
    assert np.abs(seen.rgb().mean((0, 1)) - (0xC8, 0x3C, 0x14)).max() < 3


@pytest.mark.parametrize(
    ("options", "code"),
    [("-pix_fmt yuv420p10le", "media.ten_bit"), ("-vf setparams=color_trc=smpte2084 -pix_fmt yuv420p10le", "media.hdr"),
     ("-vf setparams=color_trc=arib-std-b67 -pix_fmt yuv420p10le", "media.hdr"), ("-vf setparams=color_primaries=bt2020:colorspace=bt2020nc -pix_fmt yuv420p", "media.hdr"),
     ("-pix_fmt yuv420p -s 4098x16", "media.too_large"), ("-pix_fmt yuv420p -bsf:v setts=ts=TS*20000", "media.too_long")],
)  # fmt: skip
def test_what_cannot_be_dubbed_is_refused(tmp_path: Path, options: str, code: str) -> None:
    film(tmp_path / "a.mkv", "64x48", "25", 1, "-c:v", "libx264", "-preset", "ultrafast", *options.split())
    for refused in (lambda: inspect(tmp_path / "a.mkv"), lambda: list(pictures(tmp_path / "a.mkv"))):
        with pytest.raises(MediaError) as told:
            refused()
        assert told.value.code == code and told.value.next_step != MediaError.default_step and "a.mkv" in told.value.message


def test_a_cover_and_a_sound_are_no_video(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", np.zeros(16_000), 16_000)
    film(tmp_path / "a.png", "64x48", "1", 1, "-frames:v", "1")
    run("-i", tmp_path / "a.wav", "-i", tmp_path / "a.png", "-map", "0", "-map", "1", "-c:v", "copy", "-disposition:v", "attached_pic", tmp_path / "a.m4a")
    for name in ("a.wav", "a.m4a"):
        with pytest.raises(MediaError) as told:
            inspect(tmp_path / name)
        assert told.value.code == "media.no_video"


def test_facts(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", np.zeros(48_000), 48_000)
    more = "-map 0:v -map 1 -map 1 -c:a aac -metadata:s:a:0 language=eng -metadata:s:a:1 language=fra -metadata:s:a:1 title=Commentary -vf setsar=4/3,setfield=tff,format=yuv420p"
    run("-f", "lavfi", "-i", "testsrc=s=64x48:r=30000/1001:d=1", "-itsoffset", "0.25", "-i", tmp_path / "a.wav", *more.split(), "-c:v", "mpeg2video", "-flags", "+ilme+ildct", tmp_path / "a.mkv")
    facts = inspect(tmp_path / "a.mkv")
    assert (facts.width, facts.height, facts.sample_aspect, facts.interlaced) == (64, 48, Fraction(4, 3), True)
    assert abs(facts.fps - Fraction(30_000, 1001)) < 0.01 and abs(facts.seconds - 1.25) < 0.1
    first, second = facts.audio
    assert (first.language, second.language, second.title, first.codec, first.channels, first.rate) == ("eng", "fra", "Commentary", "aac", 1, 48_000)
    assert 0.2 < first.start < 0.3 and any("interlaced" in note for note in facts.notes)


def test_times_are_the_containers(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", "64x48", "30000/1001", 2)
    seen = list(pictures(tmp_path / "a.mp4"))
    assert [picture.time for picture in seen] == [Fraction(1001 * number, 30_000) for number in range(60)]
    assert [picture.number for picture in pictures(tmp_path / "a.mp4", 7, 11)] == [7, 8, 9, 10]
    assert next(pictures(tmp_path / "a.mp4", 7)).time == seen[7].time and not list(pictures(tmp_path / "a.mp4", 60))
    run("-itsoffset", "1.5", "-i", tmp_path / "a.mp4", "-f", "lavfi", "-i", "sine=d=4", "-c:v", "copy", "-map", "0:v", "-map", "1:a", tmp_path / "late.ts")
    told, got = [time for time, _ in shown(tmp_path / "late.ts")], [float(picture.time) for picture in pictures(tmp_path / "late.ts")]
    assert len(got) == 60 and abs(got[0] - 1.5) < 0.03 and np.allclose(np.diff(told), np.diff(got), atol=1e-5)


@pytest.mark.parametrize(
    "told",
    [[0, 1, 2, 3], [None] * 4, [None, 1, 2], [0, 0, 0, 0], [0, 1, 1, 2], [0, 5, 2, 3], [3, 2, 1, 0], [0, 1, None, 1, 2], [0, 1, -8, -7, -6], [9, 1, 2], [0, 1000, 2, 3, 3.1, 3.05, 4]],
)  # fmt: skip
def test_times_always_rise(told: list[float | None]) -> None:
    times = [None if time is None else Fraction(time).limit_denominator(100) for time in told]
    made = list(rising(((number, time) for number, time in enumerate(times)), Fraction(1)))
    assert [number for number, _ in made] == list(range(len(told)))
    assert made[0][1] >= 0 and all(b[1] > a[1] for a, b in pairwise(made))
    if told == [0, 1000, 2, 3, 3.1, 3.05, 4]:
        assert [float(time) for _, time in made] == [0, 1, 2, 3, 3.025, 3.05, 4], "one wrong time leaves the others as they are"


def test_repeated_and_absent_times_lose_no_picture(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", "64x48", "25", 1, "-pix_fmt", "yuv420p", "-c:v", "libx264", "-bf", "0", "-bsf:v", "setts=ts=floor(N/3)*1024", "-preset", "ultrafast")
    film(tmp_path / "raw.h264", "64x48", "25", 1)
    for name in ("a.mp4", "raw.h264"):
        times = [picture.time for picture in pictures(tmp_path / name)]
        assert len(times) == 25 and all(b > a for a, b in pairwise(times))


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.flv", "a.avi"])
def test_a_file_that_ends_early_says_when(tmp_path: Path, name: str) -> None:
    film(tmp_path / name, "320x240", "25", 8, "-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "ultrafast", *(["-movflags", "faststart"] if name == "a.mp4" else []))
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) // 2])
    seen = 0
    with pytest.raises(MediaError) as told:
        for _ in pictures(tmp_path / name):
            seen += 1
    assert told.value.code in ("media.truncated", "media.damaged") and name in told.value.message
    second = re.search(r"after (\S+) s", told.value.message)
    assert second and seen > 80 and abs(float(second[1]) - seen / 25) < 0.2, "what decodes comes first, and the message says how far it went"


def test_a_video_trimmed_by_its_edit_list_is_whole(tmp_path: Path) -> None:
    run("-i", film(tmp_path / "a.mp4", "64x48", "25", 4, "-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "50"), "-f", "lavfi", "-i", "sine=d=4", "-c:v", "copy", tmp_path / "b.mp4")
    run("-ss", "1.1", "-i", tmp_path / "b.mp4", "-t", "2", "-c", "copy", tmp_path / "c.mp4")
    seen, wanted = list(pictures(tmp_path / "c.mp4")), planes(tmp_path / "c.mp4")
    assert 40 < len(seen) == len(wanted) and np.array_equal([flat(picture) for picture in seen], wanted)
    assert np.allclose([float(picture.time) for picture in seen], np.array([time for time, _ in shown(tmp_path / "c.mp4")]) - float(inspect(tmp_path / "c.mp4").origin), atol=1e-5)


def test_a_file_damaged_in_the_middle_says_when(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", "320x240", "25", 8, "-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "ultrafast", "-g", "25")
    data = bytearray((tmp_path / "a.mp4").read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4_000] = np.random.default_rng(0).integers(0, 256, 4_000).astype(np.uint8).tobytes()
    (tmp_path / "a.mp4").write_bytes(data)
    with pytest.raises(MediaError) as told:
        list(pictures(tmp_path / "a.mp4"))
    assert told.value.code == "media.damaged" and "after" in told.value.message and " s" in told.value.message


@pytest.mark.parametrize("content", [b"", b"not media at all" * 50, b"\x00" * 4_096, b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"])
def test_what_is_no_video_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(MediaError):
        inspect(tmp_path / "a.mp4")


@pytest.mark.parametrize("text", ["#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:1,\n{0}\n#EXT-X-ENDLIST\n", "ffconcat version 1.0\nfile a.ts\n"])
@pytest.mark.parametrize("name", ["list.mp4", "list.m3u8", "list.ts"])
def test_a_list_of_other_files_opens_none_of_them(tmp_path: Path, text: str, name: str) -> None:
    film(tmp_path / "a.ts")
    (tmp_path / name).write_text(text.format(tmp_path / "a.ts"))
    with pytest.raises(MediaError) as told:
        inspect(tmp_path / name)
    assert told.value.code == "media.unreadable"


@pytest.mark.parametrize("name", ["; touch x .mp4", "$(id).mp4", "-i.mp4", "%d.mp4", "concat:a|b.mp4", "\u202egp.mp4", "a\nb.mp4"])
def test_any_name_is_only_a_name(tmp_path: Path, name: str) -> None:
    film(tmp_path / "a.mp4", "64x48", "25", 0.2)
    (tmp_path / "a.mp4").rename(tmp_path / name)
    writer = dubbed(tmp_path / name, tmp_path / f"out{name}", None)
    assert writer.frames == 5 == len(list(pictures(tmp_path / f"out{name}")))
    assert {path.name for path in tmp_path.iterdir()} == {name, f"out{name}"}


def some_picture(high: int, wide: int, full: bool, space: int) -> Picture:
    chance = np.random.default_rng(high * wide)
    half = ((high + 1) // 2, (wide + 1) // 2)
    y, u, v = (chance.integers(0, 256, size).astype(np.uint8) for size in ((high, wide), half, half))
    return Picture(0, Fraction(0), y, u, v, Colour(space, 2, 2, 2 if full else 1, space))


@pytest.mark.parametrize(("high", "wide", "top", "left", "h", "w"), [
    (48, 64, 10, 12, 20, 24), (48, 64, 11, 13, 21, 23), (49, 65, 30, 40, 19, 25), (49, 65, -5, -7, 20, 20), (33, 31, 20, 20, 40, 40), (48, 64, 7, 9, 1, 1), (5, 5, 0, 0, 5, 5),
])  # fmt: skip
@pytest.mark.parametrize(("full", "space"), [(False, 1), (True, 6)])
def test_no_pixel_changes_outside_of_the_mask(high: int, wide: int, top: int, left: int, h: int, w: int, full: bool, space: int) -> None:
    before, chance = some_picture(high, wide, full, space), np.random.default_rng(1)
    mask = (chance.random((h, w)) * (chance.random((h, w)) > 0.6)).astype(np.float32)
    kept = [plane.copy() for plane in (before.y, before.u, before.v)]
    after = before.with_region(chance.integers(0, 256, (h, w, 3)).astype(np.uint8), mask, top, left)
    whole = np.zeros((high + 100, wide + 100), np.float32)
    whole[50 + top : 50 + top + h, 50 + left : 50 + left + w] = mask
    whole = whole[50 : 50 + high, 50 : 50 + wide]
    blocks = np.pad(whole, ((0, high % 2), (0, wide % 2))).reshape((high + 1) // 2, 2, (wide + 1) // 2, 2).max((1, 3))
    assert np.array_equal(after.y[whole == 0], before.y[whole == 0])
    for new, old in ((after.u, before.u), (after.v, before.v)):
        assert np.array_equal(new[blocks == 0], old[blocks == 0])
    assert (after.y != before.y).any() or not whole.any() or h == 1
    assert all(np.array_equal(a, b) for a, b in zip(kept, (before.y, before.u, before.v), strict=True)), "the picture itself is left as it was"


@pytest.mark.parametrize(("full", "space"), [(False, 1), (True, 6), (False, 5), (False, 7)])
def test_a_region_has_the_colours_it_was_given(full: bool, space: int) -> None:
    picture = some_picture(48, 64, full, space)
    colour = np.array([180, 90, 60], np.uint8)
    made = np.broadcast_to(colour, (20, 24, 3))
    shown_ = picture.with_region(made, np.ones((20, 24), np.float32), 10, 12).rgb()[14:26, 16:32]
    assert np.abs(shown_.astype(int) - colour).max() <= 3
    assert np.abs(picture.with_region(made, np.full((20, 24), 0.5, np.float32), 10, 12).y[10:30, 12:36] - (picture.y[10:30, 12:36] / 2 + picture.colour.planes(colour)[0] / 2)).max() <= 0.51


@pytest.mark.parametrize(("top", "left", "high", "wide"), [(0, 0, 49, 65), (7, 9, 11, 13), (20, 30, 29, 35), (48, 64, 1, 1), (8, 2, 16, 40)])
def test_a_crop_is_a_part_of_the_whole(top: int, left: int, high: int, wide: int) -> None:
    picture = some_picture(49, 65, False, 1)
    assert np.array_equal(picture.crop(top, left, high, wide), picture.rgb()[top : top + high, left : left + wide])
    with pytest.raises(ValueError, match="does not lie"):
        picture.crop(top, left, 50, wide)


def test_a_quick_look_shows_the_same_colours() -> None:
    chance = np.random.default_rng(3)
    luma, small = chance.integers(60, 180, (48, 64)).astype(np.uint8), np.full((24, 32), 110, np.uint8)
    for full in (False, True):
        picture = Picture(0, Fraction(0), luma, small, small + 30, Colour(1, 2, 2, 2 if full else 1, 1))
        assert np.abs(picture.rgb().astype(int) - picture.rgb(quick=True)).max() <= 4


@pytest.mark.parametrize("across", [False, True])
def test_what_was_seen_goes_back_unmoved(across: bool) -> None:
    wave = np.broadcast_to((128 + 20 * np.sin(np.arange(160) * 2 * np.pi / 12)).astype(np.uint8), (160, 160))
    chroma = wave.T if across else wave  # half a pixel of shift would change it by 5
    picture = Picture(0, Fraction(0), np.full((320, 320), 120, np.uint8), chroma, 255 - chroma, Colour(6, 2, 2, 1, 6))
    back = picture.with_region(picture.rgb(), np.ones((320, 320), np.float32), 0, 0)
    for new, old in ((back.y, picture.y), (back.u, picture.u), (back.v, picture.v)):
        assert np.abs(new.astype(int) - old).max() <= 1


@pytest.mark.parametrize("clip", ["1001_DFA_ANG_XX", "1001_DFA_HAP_XX", "1001_DFA_NEU_XX"])
def test_cremad_is_read_as_another_decoder_reads_it(shared_data: Path, clip: str) -> None:
    path = shared_data / "cremad" / f"{clip}.flv"
    facts, seen = inspect(path), list(pictures(path))
    assert (facts.width, facts.height, facts.codec, facts.frames) == (480, 360, "vp6f", len(seen))
    assert abs(facts.fps - Fraction(30_000, 1001)) < 0.02 and abs(float(seen[-1].time + 1 / facts.fps) - facts.seconds) < 0.05
    assert np.array_equal([flat(picture) for picture in seen], planes(path))
    raw = run("-i", path, "-frames:v", "1", "-sws_flags", "bicubic+accurate_rnd+full_chroma_int", "-f", "rawvideo", "-pix_fmt", "rgb24", "-")
    assert np.abs(np.frombuffer(raw, np.uint8).reshape(360, 480, 3).astype(int) - seen[0].rgb()).max() <= 2
