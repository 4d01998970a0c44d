"""Searching an image for faces that one look at the whole does not find: turned or small ones.

The detector knows upright faces of about a twelfth of the frame and more. An upside-down face it
misses, or, worse, takes for an upright one, with little conviction.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .blazeface import weighted_nms

Rows = NDArray[np.float32]
Image = NDArray[np.uint8]
Detect = Callable[[Image], Rows]
"""RGB [H, W, 3] -> rows [N, 17] with falling scores: score, box, six points (``short_range``)."""

#: A first look as sure as this needs no other.
_SURE = 0.85
#: By how much a turned image has to be surer to be believed.
_MARGIN = 0.1
#: Sides of the tiles, as shares of the longer side, and the smallest tile in pixels: where nothing
#: is found, and beside what was found (fainter faces there are too small to be of use).
_TILES = (0.5, 0.25)
_SMALLEST, _SMALLEST_BESIDE = 192, 384


def search(detect: Detect, pixels: Image, detect_once: Detect | None = None) -> Rows:
    """What ``detect`` finds in an image; where it is unsure also in the image turned by right
    angles; in large images, and where nothing is found, also in overlapping tiles.

    Args:
        detect: One look at a whole image.
        pixels: [H, W, 3].
        detect_once: A cheaper look, for the many tiles; ``detect`` when left out.

    Returns:
        [N, 17] in pixels of the image, falling scores. A turned face's points are turned too.
    """
    best = detect(pixels)
    if _surest(best) < _SURE:
        for quarters in (2, 1, 3):
            turned = detect(np.ascontiguousarray(np.rot90(pixels, quarters)))
            if _surest(turned) > _surest(best) + _MARGIN:
                best = rotate_back(turned, quarters, (pixels.shape[1], pixels.shape[0]))
    for share in _TILES:
        side = round(share * max(pixels.shape[:2]))
        if side >= (_SMALLEST_BESIDE if len(best) else _SMALLEST):
            best = _with_others(best, _in_tiles(detect_once or detect, pixels, side))
    return best


def rotate_back(rows: Rows, quarters: int, size: tuple[int, int]) -> Rows:
    """Rows of an image turned by ``np.rot90`` in pixels of the image itself.

    Args:
        rows: [N, 17].
        quarters: How often it was turned, counter-clockwise.
        size: Width and height of the image itself.
    """
    width, height = size
    places = rows[:, 1:].reshape(len(rows), -1, 2)
    x, y = places[..., 0], places[..., 1]
    back = {1: (width - y, x), 2: (width - x, height - y), 3: (y, height - x)}
    places = np.stack(back[quarters], -1)
    corners = np.concatenate([places[:, :2].min(1), places[:, :2].max(1)], 1)
    points = places[:, 2:].reshape(len(rows), -1)
    return np.concatenate([rows[:, :1], corners, points], 1)


def _with_others(found: Rows, more: Rows) -> Rows:
    """Both, but one of two that lie within each other: the same face once more, or a part of it.

    What was found first gives way only to what is clearly surer: a small face that the whole
    image showed too coarsely is often taken for a larger one there.
    """
    rows = np.concatenate([found, more])
    claim = rows[:, 0] + _MARGIN * (np.arange(len(rows)) < len(found))
    kept: list[int] = []
    for i in np.argsort(-claim, kind="stable").tolist():
        if not any(_within(rows[i], rows[k]) or _within(rows[k], rows[i]) for k in kept):
            kept.append(i)
    return rows[sorted(kept, key=lambda i: -rows[i, 0])]


def _within(row: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    """Whether the middle of one box lies in another."""
    middle = (row[1:3] + row[3:5]) / 2
    return bool(((middle > other[1:3]) & (middle < other[3:5])).all())


def _in_tiles(detect: Detect, pixels: Image, side: int) -> Rows:
    """Tiles overlap by half, so that every face of up to that size is whole in one of them."""
    height, width = pixels.shape[:2]
    found = []
    for top in _starts(height, side):
        for left in _starts(width, side):
            tile = np.ascontiguousarray(pixels[top : top + side, left : left + side])
            rows = detect(tile)
            low, high = rows[:, 1:3], rows[:, 3:5]
            # What a tile's edge cuts is whole in its neighbour.
            inner_low = np.array([left > 0, top > 0])
            inner_high = np.array([left + side < width, top + side < height])
            limit = np.array(tile.shape[1::-1])
            cut = ((low < 0) & inner_low) | ((high > limit) & inner_high)
            rows = rows[~cut.any(1)]
            offset = np.tile(np.array([left, top], np.float32), (rows.shape[1] - 1) // 2)
            found.append(np.concatenate([rows[:, :1], rows[:, 1:] + offset], 1))
    return weighted_nms(np.concatenate(found))


def _starts(length: int, side: int) -> list[int]:
    last = max(0, length - side)
    count = -(-last // max(1, side // 2)) + 1
    return sorted({round(i * last / max(1, count - 1)) for i in range(count)})


def _surest(rows: Rows) -> float:
    return float(rows[0, 0]) if len(rows) else 0.0
