"""The rotated square of an image that the mesh network gets, and the way back."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..dnn import opencv

Array = NDArray[np.float32]
Image = NDArray[np.uint8]

SIZE = 256
#: Side of the square as a multiple of the box of the face.
_MARGIN = 1.5
#: Outer corners of the eyes, the one at the image's left first.
_EYES = (33, 263)


@dataclass(frozen=True)
class Region:
    """A rotated square: centre and side in pixels, angle in radians (clockwise)."""

    x: float
    y: float
    side: float
    angle: float

    def matrix(self) -> Array:
        """Affine matrix [2, 3] from pixels of the network's input to pixels of the image."""
        scale = self.side / SIZE
        c, s = scale * math.cos(self.angle), scale * math.sin(self.angle)
        half = SIZE / 2
        rows = [[c, -s, self.x - (c - s) * half], [s, c, self.y - (s + c) * half]]
        return np.array(rows, dtype=np.float32)

    def crop(self, pixels: Image) -> Image:
        """Crop an RGB image [H, W, 3] to [256, 256, 3]; edge pixels are replicated."""
        cv2 = opencv()
        matrix = self.matrix()
        # OpenCV has the centre of the first pixel at 0, the pack at 0.5.
        matrix[:, 2] += matrix[:, :2].sum(1) / 2 - 0.5
        return cv2.warpAffine(
            pixels,
            matrix,
            (SIZE, SIZE),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )

    def to_image(self, points: Array) -> Array:
        """Convert points [N, 3] from pixels of the network's input to pixels of the image."""
        matrix = self.matrix()
        places = points[:, :2] @ matrix[:, :2].T + matrix[:, 2]
        depth = points[:, 2:] * (self.side / SIZE)
        return np.concatenate([places, depth], axis=1).astype(np.float32)


def region_of_detection(row: Array) -> Region:
    """The square around a detection [17] (``blazeface``), eyes level."""
    left, top, right, bottom, x0, y0, x1, y1 = (float(v) for v in row[1:9])
    side = _MARGIN * max(right - left, bottom - top)
    return Region((left + right) / 2, (top + bottom) / 2, side, math.atan2(y1 - y0, x1 - x0))


def region_of_mesh(points: Array) -> Region:
    """The square around a mesh [478, 3] in pixels of the image, eyes level."""
    across = points[_EYES[1], :2] - points[_EYES[0], :2]
    angle = math.atan2(float(across[1]), float(across[0]))
    c, s = math.cos(angle), math.sin(angle)
    upright = points[:, :2] @ np.array([[c, -s], [s, c]], dtype=np.float32)
    low, high = upright.min(0), upright.max(0)
    x, y = (float(v) for v in (low + high) / 2)
    return Region(c * x - s * y, s * x + c * y, _MARGIN * float((high - low).max()), angle)
