"""The face detector of the landmarker file: anchors, boxes and weighted non-maximum suppression.

MediaPipe's short-range BlazeFace: 128 x 128 pixels, 896 anchors on grids of 16 and 8 cells, for
each a score, a box and six points (eye, eye, nose, mouth, ear, ear).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..dnn import opencv

Array = NDArray[np.float32]
Image = NDArray[np.uint8]

SIZE = 128
POINTS = 6
#: Cells along a side and anchors in each cell.
_GRIDS = ((16, 2), (8, 6))
_LOGIT_LIMIT = 100.0
#: Intersection over union above which two candidates are the same face.
_SAME_FACE = 0.3


@dataclass(frozen=True)
class Letterbox:
    """Place of an image in the detector's square: detector = image · scale + (left, top)."""

    scale: float
    left: float
    top: float

    def to_image(self, rows: Array) -> Array:
        """Convert rows [N, 17] from pixels of the detector to pixels of the image."""
        places = rows[:, 1:].reshape(len(rows), 2 + POINTS, 2)
        places = (places - np.array([self.left, self.top], np.float32)) / self.scale
        return np.concatenate([rows[:, :1], places.reshape(len(rows), 2 * (2 + POINTS))], axis=1)


def letterbox(pixels: Image) -> tuple[Image, Letterbox]:
    """Fit an image [H, W, 3] into the detector's input [128, 128, 3], black around it.

    Raises:
        FacePackError: OpenCV is not installed.
    """
    cv2 = opencv()
    height, width = pixels.shape[:2]
    scale = SIZE / max(height, width)
    wide, high = max(1, round(width * scale)), max(1, round(height * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = cv2.resize(pixels, (wide, high), interpolation=method)
    left, top = (SIZE - wide) // 2, (SIZE - high) // 2
    square = np.zeros((SIZE, SIZE, 3), np.uint8)
    square[top : top + high, left : left + wide] = small
    return square, Letterbox(scale, float(left), float(top))


def anchors() -> Array:
    """Centres of the anchors in 0..1, [896, 2], in the order of the network's outputs."""
    grids = []
    for cells, each in _GRIDS:
        y, x = np.mgrid[:cells, :cells]
        centres = (np.stack([x, y], -1).reshape(-1, 2) + 0.5) / cells
        grids.append(np.repeat(centres, each, axis=0))
    return np.concatenate(grids).astype(np.float32)


def decode(regressors: Array, logits: Array, centres: Array, threshold: float) -> Array:
    """Candidates above the threshold as rows: score, left, top, right, bottom, six points x, y.

    Args:
        regressors: [896, 16] in pixels of the detector, relative to the anchor: centre, size,
            points.
        logits: [896].
        centres: [896, 2], centres of the anchors.
        threshold: Lowest score.

    Returns:
        [N, 17] in pixels of the detector.
    """
    limited = np.clip(logits.astype(np.float64), -_LOGIT_LIMIT, _LOGIT_LIMIT)
    scores = 1 / (1 + np.exp(-limited))
    chosen = scores >= threshold
    raw, base = regressors[chosen], centres[chosen] * SIZE
    centre, half = raw[:, :2] + base, raw[:, 2:4] / 2
    points = (raw[:, 4:].reshape(-1, POINTS, 2) + base[:, None]).reshape(-1, 2 * POINTS)
    rows = [scores[chosen][:, None], centre - half, centre + half, points]
    return np.concatenate(rows, axis=1).astype(np.float32)


def mirrored(candidates: Array) -> Array:
    """Convert candidates [N, 17] of the mirrored square to the square itself, or back."""
    places = candidates[:, 1:].reshape(len(candidates), 2 + POINTS, 2).copy()
    places[..., 0] = SIZE - places[..., 0]
    places[:, [0, 1], 0] = places[:, [1, 0], 0]  # a box has its left side first
    places = places[:, [0, 1, 3, 2, 4, 5, 7, 6]]
    return np.concatenate(
        [candidates[:, :1], places.reshape(len(candidates), 2 * (2 + POINTS))], axis=1
    )


def intersection_over_union(box: Array, others: Array) -> Array:
    """Intersection over union of a box [4] with others [N, 4]; 0 where a box is empty."""
    low = np.maximum(box[:2], others[:, :2])
    high = np.minimum(box[2:], others[:, 2:])
    common = np.clip(high - low, 0, None).prod(1)
    area = np.clip(box[2:] - box[:2], 0, None).prod()
    areas = np.clip(others[:, 2:] - others[:, :2], 0, None).prod(1)
    union = area + areas - common
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0)


def weighted_nms(candidates: Array) -> Array:
    """Merge overlapping candidates to their mean, weighted by the scores.

    Args:
        candidates: [N, 1 + 4 + ...]: score, box, further coordinates.

    Returns:
        [M, ...] in descending order of scores; the score of a group is its highest.
    """
    left = candidates[np.argsort(-candidates[:, 0], kind="stable")]
    found = []
    while len(left):
        best = left[0]
        same = intersection_over_union(best[1:5], left[:, 1:5]) > _SAME_FACE
        same[0] = True  # even if its own box is empty
        group = left[same]
        mean = (group[:, :1] * group[:, 1:]).sum(0) / max(float(group[:, 0].sum()), 1e-9)
        found.append(np.concatenate([best[:1], mean]))
        left = left[~same]
    return np.stack(found) if found else candidates[:0]
