"""Where faces are in a picture of any size: BlazeFace (its wheel carries it) over the picture, then over ever smaller tiles.

`FaceFinder` looks for the one face of a portrait, `SceneFinder` for every face of a scene.
"""

import warnings

import numpy as np

from models.faces.mesh import _quiet_stderr

TILE_STEP = 3  # each level's tiles have this part of the last level's side
SMALLEST_TILE = 400  # pixels: a face of 64 fills a sixth of such a tile
NEAR_SIDE = 420  # pixels: the near network alone finds faces of 48 and more in pictures up to this
SCENE_TILE = 640  # pixels: in tiles of this side the far network finds nine in ten faces of 64, all of 80, for half the price of smaller ones
SCENE_LAP = 112  # pixels that neighbouring tiles share: a face that both would cut lies whole in neither, and is found by its size in the whole
SAME = 0.35  # boxes that overlap this much are one face


class FaceFinder:
    """Boxes of faces. Not safe to share between threads."""

    def __init__(self, confidence: float = 0.4) -> None:
        warnings.filterwarnings("ignore", message="SymbolDatabase.GetPrototype")  # protobuf, at every picture
        with warnings.catch_warnings(), _quiet_stderr():
            warnings.simplefilter("ignore")
            from mediapipe.python.solutions import face_detection

            # near faces, far faces
            self._nets = [face_detection.FaceDetection(model_selection=i, min_detection_confidence=confidence) for i in (0, 1)]
            for net in self._nets:
                net.process(np.zeros((64, 64, 3), np.uint8))  # they speak at their first picture

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """Boxes [N, 5] (left, top, right, bottom in pixels, score), best first, in an RGB uint8 picture [H, W, 3].

        Tiles are searched only while nothing is found: a face beside a much larger one is none of ours.
        """
        height, width = picture.shape[:2]
        side = float(max(height, width))
        found = self._look(picture, 0, 0)
        while len(found) == 0 and side > SMALLEST_TILE:
            side = max(side / TILE_STEP, SMALLEST_TILE)
            parts = [self._look(picture[y : y + int(side), x : x + int(side)], x, y) for y, x in _tiles(height, width, int(side))]
            found = np.concatenate(parts)
        return _distinct(found)

    def _look(self, picture: np.ndarray, x: int, y: int, chosen: tuple[int, ...] = (0, 1)) -> np.ndarray:
        height, width = picture.shape[:2]
        rows = []
        for net in (self._nets[i] for i in chosen):
            for hit in net.process(np.ascontiguousarray(picture)).detections or []:
                box = hit.location_data.relative_bounding_box
                left, top = box.xmin * width + x, box.ymin * height + y
                rows.append((left, top, left + box.width * width, top + box.height * height, hit.score[0]))
        return np.array(rows, np.float64).reshape(-1, 5)

    def close(self) -> None:
        """Free the graphs."""
        for net in self._nets:
            net.close()


class SceneFinder(FaceFinder):
    """Boxes of all faces of at least some 64 pixels, small ones beside large ones too."""

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """Boxes [N, 5] as FaceFinder's. One look at pictures up to 420 pixels; larger ones are searched whole and in tiles."""
        height, width = picture.shape[:2]
        if max(height, width) <= NEAR_SIDE:
            return _distinct(self._look(picture, 0, 0, (0,)))
        places = _tiles(height, width, SCENE_TILE, SCENE_TILE - SCENE_LAP) if max(height, width) > SCENE_TILE else []
        parts = [self._look(picture[y : y + SCENE_TILE, x : x + SCENE_TILE], x, y, (1,)) for y, x in places]
        return _distinct(np.concatenate([self._look(picture, 0, 0, (1,)), *parts]))


def _tiles(height: int, width: int, side: int, step: int = 0) -> list[tuple[int, int]]:
    """Corners of tiles that cover a picture, at most `step` apart (half a side where it is left out)."""

    def starts(length: int) -> list[int]:
        last = max(0, length - side)
        count = -(-last // max(1, step or side // 2)) + 1
        return [int(s) for s in np.linspace(0, last, count)]

    return [(y, x) for y in starts(height) for x in starts(width)]


def _distinct(boxes: np.ndarray) -> np.ndarray:
    """The best box of each face: overlapping ones dropped."""
    kept: list[np.ndarray] = []
    for box in boxes[np.argsort(-boxes[:, 4])]:
        if all(_overlap(box, other) < SAME for other in kept):
            kept.append(box)
    return np.array(kept).reshape(-1, 5)


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Shared area over the smaller box's: near and far nets draw the same face at different sizes."""
    wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if wide <= 0 or high <= 0:
        return 0.0
    return float(wide * high / min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1])))
