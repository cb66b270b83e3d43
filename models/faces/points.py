"""One face as every check sees it: 68 points in the iBUG order, and the 478 of the face mesh.

Both landmark models give the 68: FAN by itself, the face mesh through `MESH_68`. Networks and the crop rule read the mesh.
"""

from dataclasses import dataclass

import numpy as np

MESH_68 = (
    *(162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389),  # jaw, from the left of the picture
    *(71, 63, 105, 66, 107),  # brows
    *(336, 296, 334, 293, 301),
    *(168, 197, 5, 4),  # bridge of the nose
    *(98, 97, 2, 326, 327),  # its base
    *(33, 160, 158, 133, 153, 144),  # eyes
    *(362, 385, 387, 263, 373, 380),
    *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181),  # outer lips
    *(78, 82, 13, 312, 308, 317, 14, 87),  # inner lips
)
EYES = (slice(36, 42), slice(42, 48))
MOUTH = slice(48, 60)


@dataclass(frozen=True)
class Face:
    """One face found: points float32 [68, 2] and mesh float32 [478, 3], in pixels of the picture; source names the model."""

    points: np.ndarray
    mesh: np.ndarray
    source: str = "mesh"

    @classmethod
    def of_mesh(cls, mesh: np.ndarray) -> "Face":
        """The face of mesh landmarks [478, 3]."""
        return cls(mesh[list(MESH_68), :2], mesh)

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom of the mesh in pixels."""
        low, high = self.mesh[:, :2].min(0), self.mesh[:, :2].max(0)
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])

    @property
    def size(self) -> float:
        """The longer side of the box in pixels."""
        left, top, right, bottom = self.box
        return max(right - left, bottom - top)
