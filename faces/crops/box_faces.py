"""Landmarks and poses for faces of which only the boxes are known."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..analyzers import FaceAnalyzer, find_faces
from ..face import Face

#: Side of the square to search, in sides of the box: detectors need context around a face.
_CONTEXT = 2.0


def detect_in_boxes(analyzer: FaceAnalyzer, image: Tensor, boxes: Sequence[Face]) -> list[Face]:
    """Run an analyzer around each box.

    Args:
        image: [C, H, W] in 0..1.
        boxes: Faces of this image; only their boxes are used.

    Returns:
        For each box the face found in it, or the given face where nothing is found.

    Raises:
        InputError: The image is invalid, or the boxes belong to an image of another size.
    """
    return [_detect(analyzer, image, box) for box in boxes]


def _detect(analyzer: FaceAnalyzer, image: Tensor, box: Face) -> Face:
    height, width = image.shape[-2:]
    box.require_size(width, height)
    left, top, right, bottom = box.box
    half = max(right - left, bottom - top) * _CONTEXT / 2
    x, y = (left + right) / 2, (top + bottom) / 2
    x0, y0 = max(0, int(x - half)), max(0, int(y - half))
    x1, y1 = min(width, int(x + half) + 1), min(height, int(y + half) + 1)
    if x0 >= x1 or y0 >= y1:
        return box
    found = find_faces(analyzer, image[:, y0:y1, x0:x1], order="largest first")
    if not found:
        return box
    inside = [face.moved((width, height), x=x0, y=y0) for face in found]
    # A neighbour may be larger than the face in the box.
    return min(inside, key=lambda face: _distance(face, x, y))


def _distance(face: Face, x: float, y: float) -> float:
    left, top, right, bottom = face.box
    return abs((left + right) / 2 - x) + abs((top + bottom) / 2 - y)
