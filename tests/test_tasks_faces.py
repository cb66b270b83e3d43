"""Portraits at preflight: what works passes whatever its file is like, what cannot work is refused with a reason and a picture."""

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy.spatial import Delaunay

from infra.errors import InputError
from models.faces.cover import EYES, LIPS
from models.types import Portrait
from tasks.faces import read_picture, read_portrait

PORTRAITS = Path(__file__).resolve().parent.parent / "demo" / "portraits"
JAW = (234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361, 323, 454, 346, 5, 117)


@pytest.fixture(scope="module", params=["astronaut_collins.png", "grace_hopper.jpg"])
def portrait(request: pytest.FixtureRequest) -> Portrait:
    return read_portrait(PORTRAITS / request.param)


@pytest.fixture(scope="module")
def hopper() -> Portrait:
    return read_portrait(PORTRAITS / "grace_hopper.jpg")


def saved(folder: Path, picture: np.ndarray, name: str = "given.png") -> Path:
    Image.fromarray(picture).save(folder / name)
    return folder / name


def refused(path: Path, code: str) -> InputError:
    with pytest.raises(InputError) as caught:
        read_portrait(path)
    error = caught.value
    assert error.code == f"input.{code}", error.message
    assert error.next_step and path.name in error.message
    if code == "bad_picture":
        assert error.picture is None
    else:
        assert error.picture is not None
        seen = Image.open(io.BytesIO(error.picture))
        assert seen.format == "PNG" and 32 <= max(seen.size) <= 720
    return error


def test_every_shared_portrait_passes(shared_data: Path) -> None:
    for path in sorted(p for p in (shared_data / "portraits").iterdir() if p.suffix in (".png", ".jpg")):
        found = read_portrait(path)
        assert found.landmarks.shape == (478, 3) and found.landmarks.dtype == np.float32
        height, width = found.picture.shape[:2]
        assert (found.landmarks[:, :2] > 0).all() and (found.landmarks[:, :2] < [width, height]).all()


# files of every kind


def test_exif_rotation_is_applied(tmp_path: Path, hopper: Portrait) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    Image.fromarray(np.rot90(hopper.picture).copy()).save(tmp_path / "phone.png", exif=exif)
    assert np.array_equal(read_picture(tmp_path / "phone.png"), hopper.picture)


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "RGBA", "LA", "1"])
def test_other_colour_modes_become_rgb(tmp_path: Path, hopper: Portrait, mode: str) -> None:
    name = "given.tif" if mode == "CMYK" else "given.png"
    Image.fromarray(hopper.picture).convert(mode).save(tmp_path / name)
    got = read_picture(tmp_path / name)
    assert got.shape == hopper.picture.shape and got.dtype == np.uint8
    assert abs(float(got.mean()) - float(hopper.picture.mean())) < 12


def test_a_cmyk_jpeg_passes(tmp_path: Path, hopper: Portrait) -> None:
    Image.fromarray(hopper.picture).convert("CMYK").save(tmp_path / "print.jpg", quality=92)
    found = read_portrait(tmp_path / "print.jpg")
    assert np.abs(found.landmarks[:, :2] - hopper.landmarks[:, :2]).mean() < 2


def test_sixteen_bits_a_channel_become_eight(tmp_path: Path, hopper: Portrait) -> None:
    wide = hopper.picture.astype(np.uint16) * 257
    cv2.imwrite(str(tmp_path / "colour.png"), wide[..., ::-1])
    cv2.imwrite(str(tmp_path / "grey.png"), wide[..., 1])
    assert np.abs(read_picture(tmp_path / "colour.png").astype(int) - hopper.picture).max() <= 1
    grey = read_picture(tmp_path / "grey.png").astype(int)
    assert np.abs(grey - hopper.picture[..., 1:2]).max() <= 1
    assert read_portrait(tmp_path / "grey.png").landmarks.shape == (478, 3)


def test_floating_point_pictures_are_scaled_and_not_finite_ones_refused(tmp_path: Path, hopper: Portrait) -> None:
    values = hopper.picture[..., 1].astype(np.float32) / 255
    Image.fromarray(values).save(tmp_path / "unit.tif")
    assert np.abs(read_picture(tmp_path / "unit.tif")[..., 0].astype(int) - hopper.picture[..., 1]).max() <= 1
    values[5, 5] = np.nan
    Image.fromarray(values).save(tmp_path / "nan.tif")
    refused(tmp_path / "nan.tif", "bad_picture")


def test_alpha_is_flattened_on_white(tmp_path: Path, hopper: Portrait) -> None:
    alpha = np.full(hopper.picture.shape[:2], 255, np.uint8)
    alpha[:40] = 0
    got = read_picture(saved(tmp_path, np.dstack([hopper.picture, alpha])))
    assert (got[:40] == 255).all() and np.array_equal(got[40:], hopper.picture[40:])


def test_a_colour_profile_is_honoured(tmp_path: Path, hopper: Portrait) -> None:
    from PIL import ImageCms

    lab = ImageCms.profileToProfile(
        Image.fromarray(hopper.picture), ImageCms.createProfile("sRGB"), ImageCms.createProfile("sRGB")
    )
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    lab.save(tmp_path / "tagged.png", icc_profile=profile)
    assert np.abs(read_picture(tmp_path / "tagged.png").astype(int) - hopper.picture).max() <= 2
    lab.save(tmp_path / "broken.png", icc_profile=b"no profile")
    assert np.array_equal(read_picture(tmp_path / "broken.png"), np.asarray(lab))


# pictures that cannot be read


def huge_header(width: int, height: int) -> bytes:
    """A PNG whose header claims a size that its few bytes do not hold."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


BAD = {
    "empty.png": b"",
    "text.png": b"this is no picture",
    "drawing.svg": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
    "page.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n",
    "huge.png": huge_header(60_000, 60_000),
    "short.png": huge_header(800, 800),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_picture_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(BAD[name])
    refused(tmp_path / name, "bad_picture")


def test_a_copy_named_by_its_hash_is_not_called_by_it(tmp_path: Path) -> None:
    path = tmp_path / f"{'ab' * 32}.png"
    path.write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"^the picture is not an image file"):
        read_portrait(path)


def test_missing_truncated_and_tiny_files_are_refused(tmp_path: Path, hopper: Portrait) -> None:
    refused(tmp_path / "absent.png", "bad_picture")
    refused(tmp_path, "bad_picture")
    whole = (PORTRAITS / "astronaut_collins.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    refused(tmp_path / "cut.png", "bad_picture")
    refused(saved(tmp_path, hopper.picture[:20, :20], "tiny.png"), "bad_picture")


def test_flipped_bytes_are_a_portrait_or_a_refusal(tmp_path: Path) -> None:
    whole = (PORTRAITS / "grace_hopper.jpg").read_bytes()
    rng = np.random.default_rng(11)
    for index in range(25):
        data = bytearray(whole)
        for place in rng.integers(2, len(data), 12):
            data[place] = int(rng.integers(256))
        path = tmp_path / f"flipped-{index}.jpg"
        path.write_bytes(data)
        try:
            assert read_portrait(path).picture.ndim == 3
        except InputError as error:
            assert error.code.startswith("input.")


# faces that cannot work


def test_pictures_without_a_face_are_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    pictures = {
        "flat": np.full((400, 300, 3), 128, np.uint8),
        "noise": rng.integers(0, 256, (400, 400, 3), np.uint8),
        "suit": read_picture(PORTRAITS / "astronaut_collins.png")[200:, :],
    }
    for name, picture in pictures.items():
        refused(saved(tmp_path, picture, f"{name}.png"), "no_face")


def test_two_faces_of_like_size_are_refused_and_a_small_one_behind_is_not(tmp_path: Path, hopper: Portrait) -> None:
    error = refused(saved(tmp_path, np.concatenate([hopper.picture, hopper.picture[:, ::-1]], axis=1)), "several_faces")
    assert "2 faces" in error.message
    crowd = np.full((600, 800, 3), 90, np.uint8)
    crowd[:, :512] = hopper.picture
    small = cv2.resize(hopper.picture, None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA)
    crowd[:240, 540 : 540 + small.shape[1]] = small
    found = read_portrait(saved(tmp_path, crowd, "crowd.png"))
    assert np.abs(found.landmarks[:, :2] - hopper.landmarks[:, :2]).mean() < 4


def test_a_face_under_64_pixels_is_refused_and_a_larger_one_is_not(tmp_path: Path, hopper: Portrait) -> None:
    size = np.ptp(hopper.landmarks[:, :2], axis=0).max()
    for wanted, fits in ((50, False), (80, True)):
        zoom = wanted / size
        picture = np.full((500, 500, 3), 90, np.uint8)
        small = cv2.resize(hopper.picture, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)
        picture[100 : 100 + len(small), 100 : 100 + small.shape[1]] = small
        path = saved(tmp_path, picture, f"{wanted}.png")
        if fits:
            assert np.ptp(read_portrait(path).landmarks[:, :2], axis=0).max() == pytest.approx(wanted, rel=0.1)
        else:
            assert "64" in refused(path, "face_too_small").message


def test_a_small_face_in_a_huge_picture_keeps_its_pixels(tmp_path: Path, hopper: Portrait) -> None:
    huge = np.full((4000, 6000, 3), (96, 120, 150), np.uint8)
    huge[2000:2600, 4000:4512] = hopper.picture
    found = read_portrait(saved(tmp_path, huge))
    size = np.ptp(found.landmarks[:, :2], axis=0).max()
    assert max(found.picture.shape) <= 4096 and size > 120
    assert np.array_equal(read_picture(tmp_path / "given.png"), found.picture), "landmarks and picture stay together"
    zoom = found.picture.shape[1] / 6000
    assert np.abs(found.landmarks[:, :2] / zoom - (hopper.landmarks[:, :2] + [4000, 2000])).mean() < 3


def test_a_photograph_of_a_phone_is_reduced_to_a_size_that_renders(tmp_path: Path, hopper: Portrait) -> None:
    large = cv2.resize(hopper.picture, (3413, 4000), interpolation=cv2.INTER_CUBIC)
    found = read_portrait(saved(tmp_path, large, "phone.jpg"))
    assert found.picture.shape == (1920, 1638, 3)
    assert np.abs(found.landmarks[:, :2] / 3.2 - hopper.landmarks[:, :2]).mean() < 3


def turned(portrait: Portrait, degrees: float) -> np.ndarray:
    """The face's own surface turned about the vertical and painted, triangle by triangle from back to front, before a dark head."""
    points = portrait.landmarks[:468].astype(np.float64)
    centre, angle, tall = points[:, :2].mean(0), np.radians(degrees), np.ptp(points[:, 1])
    across, depth = points[:, 0] - centre[0], points[:, 2] - points[:, 2].mean()
    target = np.column_stack([centre[0] + across * np.cos(angle) - depth * np.sin(angle), points[:, 1]])
    far = across * np.sin(angle) + depth * np.cos(angle)
    painted = np.full_like(portrait.picture, 150)
    cv2.ellipse(
        painted,
        tuple(int(v) for v in centre - [0, tall * 0.1]),
        (int(0.52 * tall), int(0.68 * tall)),
        0,
        0,
        360,
        (70, 50, 40),
        -1,
    )
    triangles = Delaunay(points[:, :2]).simplices
    for corners in triangles[np.argsort(-far[triangles].mean(1))]:
        source, goal = points[corners, :2].astype(np.float32), target[corners].astype(np.float32)
        edges = [np.stack([p[1] - p[0], p[2] - p[0]]) for p in (source, goal)]
        if np.linalg.det(edges[0]) * np.linalg.det(edges[1]) <= 0:
            continue  # the back of the surface
        low, high = np.floor(goal.min(0)).astype(int) - 1, np.ceil(goal.max(0)).astype(int) + 2
        matrix = cv2.getAffineTransform(source - 0.5, (goal - low - 0.5).astype(np.float32))
        patch = cv2.warpAffine(portrait.picture, matrix, tuple(int(v) for v in high - low), borderMode=cv2.BORDER_REPLICATE)
        mask = np.zeros(patch.shape[:2], np.uint8)
        cv2.fillConvexPoly(mask, np.round((goal - low - 0.5) * 16).astype(np.int32), 1, cv2.LINE_8, 4)
        painted[low[1] : high[1], low[0] : high[0]][mask > 0] = patch[mask > 0]
    return painted


def test_a_face_turned_away_is_refused_and_one_turned_a_little_is_not(tmp_path: Path, hopper: Portrait) -> None:
    for degrees in (-15, 0, 15):
        read_portrait(saved(tmp_path, turned(hopper, degrees), f"turned{degrees}.png"))
    error = refused(saved(tmp_path, turned(hopper, 60), "profile.png"), "profile")
    assert "degrees" in error.message


# eyes or mouth covered

COLOURS = {
    "black": (0, 0, 0),
    "white": (240, 240, 240),
    "grey": (128, 128, 128),
    "medical": (110, 160, 205),
    "beige": (205, 165, 140),
}


def box_around(portrait: Portrait, ids: tuple[int, ...], margin: float = 0.07) -> np.ndarray:
    points = portrait.landmarks[list(ids), :2]
    reach = margin * np.ptp(portrait.landmarks[:, :2], axis=0).max()
    low, high = points.min(0) - reach, points.max(0) + reach
    return np.array([low, (high[0], low[1]), high, (low[0], high[1])])


def painted(portrait: Portrait, shapes: list[np.ndarray], colour: tuple[int, int, int], strength: float = 1.0) -> np.ndarray:
    mask = np.zeros(portrait.picture.shape[:2], np.float32)
    for shape in shapes:
        cv2.fillPoly(mask, [np.round(shape).astype(np.int32)], 1.0)
    mask = cv2.GaussianBlur(mask, (0, 0), 1.0)[..., None] * strength
    return np.round(portrait.picture * (1 - mask) + np.array(colour) * mask).astype(np.uint8)


@pytest.mark.parametrize("colour", COLOURS)
def test_a_mask_over_the_mouth_is_seen(tmp_path: Path, portrait: Portrait, colour: str) -> None:
    for name, shape in (("mask", portrait.landmarks[list(JAW), :2]), ("box", box_around(portrait, LIPS))):
        error = refused(saved(tmp_path, painted(portrait, [shape], COLOURS[colour]), f"{name}.png"), "occluded")
        assert "mouth" in error.message and "eye" not in error.message


@pytest.mark.parametrize("colour", COLOURS)
def test_a_bar_over_the_eyes_or_a_patch_over_one_is_seen(tmp_path: Path, portrait: Portrait, colour: str) -> None:
    bar = box_around(portrait, EYES[0] + EYES[1])
    patch = box_around(portrait, EYES[1])
    for name, shape in (("bar", bar), ("patch", patch)):
        error = refused(saved(tmp_path, painted(portrait, [shape], COLOURS[colour]), f"{name}.png"), "occluded")
        assert "eye" in error.message and "mouth" not in error.message


def test_sunglasses_are_seen(tmp_path: Path, portrait: Portrait) -> None:
    tall = np.ptp(portrait.landmarks[:, :2], axis=0).max()
    lenses = []
    for ids in EYES:
        x, y = portrait.landmarks[list(ids), :2].mean(0)
        lenses.append(cv2.ellipse2Poly((int(x), int(y + 0.02 * tall)), (int(0.17 * tall), int(0.12 * tall)), 0, 0, 360, 8))
    error = refused(saved(tmp_path, painted(portrait, lenses, (15, 15, 20), 0.9), "glasses.png"), "occluded")
    assert "left eye" in error.message and "right eye" in error.message


def test_a_patterned_scarf_and_a_microphone_are_seen(tmp_path: Path, portrait: Portrait) -> None:
    rng = np.random.default_rng(4)
    jaw = portrait.landmarks[list(JAW), :2]
    mask = np.zeros(portrait.picture.shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.round(jaw).astype(np.int32)], 1)
    scarf = portrait.picture.copy()
    scarf[mask > 0] = np.where(rng.random((mask.sum(), 1)) > 0.5, 210, 60)
    assert "mouth" in refused(saved(tmp_path, scarf, "scarf.png"), "occluded").message
    tall = np.ptp(portrait.landmarks[:, :2], axis=0).max()
    x, y = portrait.landmarks[[13, 14], :2].mean(0)
    ball = cv2.ellipse2Poly((int(x), int(y + 0.05 * tall)), (int(0.17 * tall),) * 2, 0, 0, 360, 8)
    assert "mouth" in refused(saved(tmp_path, painted(portrait, [ball], (25, 25, 25)), "microphone.png"), "occluded").message


@pytest.mark.parametrize("change", ["grey", "dark", "bright", "soft", "rolled", "jpeg"])
def test_a_clear_face_passes_in_poorer_pictures(tmp_path: Path, portrait: Portrait, change: str) -> None:
    picture = portrait.picture
    path = tmp_path / "poorer.png"
    if change == "grey":
        picture = np.repeat(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    elif change in ("dark", "bright"):
        picture = (255 * (picture / 255.0) ** (1.8 if change == "dark" else 0.7)).astype(np.uint8)
    elif change == "soft":
        picture = cv2.resize(cv2.resize(picture, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA), picture.shape[1::-1])
    elif change == "rolled":
        turn = cv2.getRotationMatrix2D((256.0, 256.0), 14.0, 1.0)
        picture = cv2.warpAffine(picture, turn, picture.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
    if change == "jpeg":
        path = tmp_path / "poorer.jpg"
        Image.fromarray(picture).save(path, quality=35)
    else:
        Image.fromarray(picture).save(path)
    assert read_portrait(path).landmarks.shape == (478, 3)
