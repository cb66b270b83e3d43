"""Whether eyes and mouth can be seen. The face mesh draws both over masks, hands and sunglasses alike, so the pixels are asked.

The face is turned upright and brought to one size; then each region is measured against the face's own skin (forehead, bridge of
the nose, cheeks): how much edge it holds, in which direction, how rough it is, how far its lightness and colour lie from skin's, and
how like its mirror image it is. A region outside the bands below is covered. The bands were set around 103 pictures of 13 people
(clean, grey, darkened, softened) and against painted boxes, masks, sunglasses and blobs of nine textures on the same pictures; a
cover that has a face's own colours and structure (a hand, a printed mouth) can still pass.
"""

from dataclasses import dataclass

import numpy as np

from models.faces.points import Face

SIZE = 160  # pixels of the upright view; the face fills nine tenths of it
EYES = (
    (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),
    (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466),
)
LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
INSIDE = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)
SKIN = (
    (108, 69, 104, 68, 9, 151),
    (337, 299, 333, 298, 9, 151),
    (6, 197, 195, 5, 198, 420),
    (117, 118, 101, 50, 36),
    (346, 347, 330, 280, 266),
)


@dataclass(frozen=True)
class Bands:
    """What an uncovered region measures, as (lowest, highest)."""

    edges: tuple[float, float]  # log of mean gradient over skin lightness
    upright: tuple[float, float]  # share of the gradient that runs up and down
    roughness: tuple[float, float]  # log of fine detail over the skin's
    lightness: tuple[float, float]  # distance from skin, over skin lightness
    colour: tuple[float, float]  # distance from skin in CIELAB's a and b
    mirror: tuple[float, float]  # likeness to the mirror image, -1 to 1


EYE_BANDS = Bands((-4.0, 0.0), (0.40, 0.82), (-9.0, 2.0), (-0.82, 0.0), (0.0, 48.0), (0.50, 2.0))
LIP_BANDS = Bands((-4.0, 0.0), (0.50, 0.92), (-9.0, 1.6), (-0.58, 0.10), (0.0, 42.0), (0.45, 2.0))
TURNED = 0.015  # likeness to the mirror image that a face loses per degree of yaw
WORDS = {
    "edges": "it holds no structure",
    "upright": "its edges do not run as they do there",
    "roughness": "it is rougher than the skin",
    "lightness": "its lightness is not the face's",
    "colour": "its colour is not the face's",
    "mirror": "left and right do not match",
}


@dataclass(frozen=True)
class View:
    """The upright view: CIELAB float32 [160, 160, 3] and the mesh in it [478, 2]."""

    lab: np.ndarray
    points: np.ndarray


def covered(picture: np.ndarray, face: Face, yaw: float = 0.0) -> dict[str, str]:
    """The covered ones of "left eye", "right eye" (as the picture shows them) and "mouth", each with why it seems so.

    yaw: degrees that the face is turned aside; its sides then differ by that much more.
    """
    view = upright(picture, face.mesh)
    turned = TURNED * abs(yaw)
    twins = _likeness(_patch(view, EYES[0]), _patch(view, EYES[1])[:, ::-1]) + turned
    mouth = _patch(view, LIPS)
    measured = {
        "left eye": (_measure(view, _eye(view, EYES[0]), twins), EYE_BANDS),
        "right eye": (_measure(view, _eye(view, EYES[1]), twins), EYE_BANDS),
        "mouth": (_measure(view, _lips(view), _likeness(mouth, mouth[:, ::-1]) + turned), LIP_BANDS),
    }
    reasons = {name: _outside(values, bands) for name, (values, bands) in measured.items()}
    return {name: reason for name, reason in reasons.items() if reason}


def upright(picture: np.ndarray, mesh: np.ndarray) -> View:
    """The face of a picture [H, W, 3] turned upright and brought to `SIZE`."""
    import cv2

    points = mesh[:, :2].astype(np.float64)
    low, high = points.min(0), points.max(0)
    zoom = 0.9 * SIZE / float((high - low).max())
    across = points[263] - points[33]
    across /= np.linalg.norm(across)
    turn = zoom * np.array([[across[0], across[1]], [-across[1], across[0]]])
    matrix = np.column_stack([turn, SIZE / 2 - turn @ ((low + high) / 2)])
    reach = float((high - low).max())  # only the surroundings are touched: a huge picture costs no more
    left, top = (int(max(0, v - reach)) for v in (low + high) / 2)
    near = picture[top : top + int(2 * reach), left : left + int(2 * reach)]
    if zoom < 0.7:
        near = cv2.GaussianBlur(near, (0, 0), 0.5 / zoom)
    shifted = matrix.copy()
    shifted[:, 2] += turn @ np.array([left, top])
    view = cv2.warpAffine(
        np.ascontiguousarray(near), shifted, (SIZE, SIZE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return View(cv2.cvtColor(view.astype(np.float32) / 255, cv2.COLOR_RGB2LAB), points @ turn.T + matrix[:, 2])


def _filled(points: np.ndarray) -> np.ndarray:
    import cv2

    mask = np.zeros((SIZE, SIZE), np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(np.round(points).astype(np.int32)), 1)
    return mask > 0


def _eye(view: View, ids: tuple[int, ...]) -> np.ndarray:
    """An ellipse around an eye, lids included."""
    points = view.points[list(ids)]
    (x, y), half = points.mean(0), np.ptp(points[:, 0]) / 2
    rows, columns = np.mgrid[:SIZE, :SIZE]
    return ((columns - x) / (1.25 * half)) ** 2 + ((rows - y) / (0.95 * half)) ** 2 < 1


def _lips(view: View) -> np.ndarray:
    """The lips without what is between them."""
    whole, inside = _filled(view.points[list(LIPS)]), _filled(view.points[list(INSIDE)])
    lips = whole & ~inside
    return lips if lips.sum() > 60 else whole


def _measure(view: View, region: np.ndarray, mirror: float) -> dict[str, float]:
    import cv2

    light = view.lab[..., 0]
    across, down = (np.abs(g) for g in _gradient(light))
    fine = np.abs(light - cv2.GaussianBlur(light, (0, 0), 1.2))
    patches = [found for ids in SKIN if (found := _filled(view.points[list(ids)])).any()]
    skin = np.median([np.median(view.lab[patch], axis=0) for patch in patches], axis=0)
    skin_fine = float(np.median([fine[patch].mean() for patch in patches]))
    away = np.median(view.lab[region], axis=0) - skin
    bright = max(float(skin[0]), 10.0)
    total = across[region].sum() + down[region].sum()
    return {
        "edges": float(np.log(np.hypot(across, down)[region].mean() / bright + 1e-4)),
        "upright": float(down[region].sum() / max(total, 1e-6)),
        "roughness": float(np.log((fine[region].mean() + 0.3) / (skin_fine + 0.3))),
        "lightness": float(away[0] / bright),
        "colour": float(np.hypot(away[1], away[2]) / np.sqrt(bright / 60)),
        "mirror": mirror,
    }


def _outside(values: dict[str, float], bands: Bands) -> str:
    for name, words in WORDS.items():
        low, high = getattr(bands, name)
        if not low <= values[name] <= high:
            return words
    return ""


def _gradient(light: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    import cv2

    soft = cv2.GaussianBlur(light, (0, 0), 1.0)
    return cv2.Sobel(soft, cv2.CV_32F, 1, 0) / 8, cv2.Sobel(soft, cv2.CV_32F, 0, 1) / 8


def _patch(view: View, ids: tuple[int, ...]) -> np.ndarray:
    """Lightness [48, 48] around an eye or the mouth."""
    import cv2

    points = view.points[list(ids)]
    x, y = (points.min(0) + points.max(0)) / 2
    reach = 0.78 * max(float(np.ptp(points[:, 0])), 8.0)
    zoom = 48 / (2 * reach)
    matrix = np.array([[zoom, 0, 24 - 0.5 - zoom * x], [0, zoom, 24 - 0.5 - zoom * y]])
    return cv2.warpAffine(view.lab[..., 0], matrix, (48, 48), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _likeness(one: np.ndarray, other: np.ndarray) -> float:
    """Correlation of two patches' gradients, by direction: eight maps of edge strength each, compared coarsely."""
    return float(_directions(one) @ _directions(np.ascontiguousarray(other)))


def _directions(patch: np.ndarray) -> np.ndarray:
    import cv2

    across, down = _gradient(patch)
    strength, turn = np.hypot(across, down), np.arctan2(down, across) / (2 * np.pi) * 8
    maps = [strength * np.clip(1 - np.abs((turn - i + 4) % 8 - 4), 0, 1) for i in range(8)]
    coarse = np.stack([cv2.GaussianBlur(m.astype(np.float32), (0, 0), 2.5)[2::4, 2::4] for m in maps])
    vector = np.sqrt(coarse / (np.linalg.norm(coarse) + 0.5)).ravel()
    vector -= vector.mean()
    return vector / max(float(np.linalg.norm(vector)), 1e-6)
