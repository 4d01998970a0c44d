"""Searching an image for rotated, small and cut faces, which a single detection misses.

The detector finds upright faces of about a twelfth of the frame and more. An upside-down face it
misses or, worse, takes for an upright one with a low score. A face that the image's border cuts in
half scores low beside a whole one, but high in a tile where the border's pixels are repeated: in 60
photographs cut through one face, with another beside it, 37 of those halves are found instead of
17, and 15 more faces (all of them faces) in 364 that were not cut.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .blazeface import weighted_nms

Rows = NDArray[np.float32]
Image = NDArray[np.uint8]
Detect = Callable[[Image], Rows]
"""RGB [H, W, 3] -> rows [N, 17] in descending order: score, box, six points (``blazeface``)."""
DetectAll = Callable[[Image], tuple[Rows, Rows]]
"""As ``Detect``, and rows whose scores are too low for it."""

#: With this score, the image is not searched in other orientations.
_SURE = 0.85
#: By how much the score in another orientation must be higher.
_MARGIN = 0.1
#: Sides of the tiles as fractions of the longer side, and the smallest tile in pixels: if nothing
#: was found, and if something was (further faces in smaller tiles would be too small to be useful).
_TILES = (0.5, 0.25)
_SMALLEST, _SMALLEST_BESIDE = 192, 384
#: Side of the tile around a doubtful face, in longer sides of its box.
_AROUND = 1.5


def search(detect: DetectAll, pixels: Image, detect_once: Detect) -> Rows:
    """Detect faces in an image, and if necessary in rotated versions and tiles of it.

    At low scores the image is rotated by right angles too; large images, and those without any
    face, are also searched in overlapping tiles; doubtful faces that the border cuts are detected
    again where it continues.

    Args:
        pixels: [H, W, 3].
        detect_once: The detector for the tiles; may be a cheaper one.

    Returns:
        [N, 17] in pixels of the image, in descending order of scores. The points of a rotated face
        are rotated as well.
    """
    best, doubtful = detect(pixels)
    if _best_score(best) < _SURE:
        for quarters in (2, 1, 3):
            turned, _ = detect(np.ascontiguousarray(np.rot90(pixels, quarters)))
            if _best_score(turned) > _best_score(best) + _MARGIN:
                best = rotate_back(turned, quarters, (pixels.shape[1], pixels.shape[0]))
    for fraction in _TILES:
        side = round(fraction * max(pixels.shape[:2]))
        if side >= (_SMALLEST_BESIDE if len(best) else _SMALLEST):
            best = _merge(best, _in_tiles(detect_once, pixels, side))
    for row in doubtful:
        if _leaves(row, pixels) and not any(_within(row, found) for found in best):
            best = _merge(best, _continued(detect_once, pixels, row))
    return best


def rotate_back(rows: Rows, quarters: int, size: tuple[int, int]) -> Rows:
    """Convert rows of an image rotated by ``np.rot90`` to pixels of the original.

    Args:
        rows: [N, 17].
        quarters: Number of quarter turns, counter-clockwise.
        size: Width and height of the original.
    """
    width, height = size
    places = rows[:, 1:].reshape(len(rows), -1, 2)
    x, y = places[..., 0], places[..., 1]
    back = {1: (width - y, x), 2: (width - x, height - y), 3: (y, height - x)}
    places = np.stack(back[quarters], -1)
    corners = np.concatenate([places[:, :2].min(1), places[:, :2].max(1)], 1)
    points = places[:, 2:].reshape(len(rows), -1)
    return np.concatenate([rows[:, :1], corners, points], 1)


def _merge(found: Rows, more: Rows) -> Rows:
    """Merge two sets of rows; of boxes whose centres lie within each other, one is kept.

    The earlier one is kept unless the other's score is clearly higher: the detector often takes a
    small face, blurred in the whole image, for a larger one.
    """
    rows = np.concatenate([found, more])
    priority = rows[:, 0] + _MARGIN * (np.arange(len(rows)) < len(found))
    kept: list[int] = []
    for i in np.argsort(-priority, kind="stable").tolist():
        if not any(_within(rows[i], rows[k]) or _within(rows[k], rows[i]) for k in kept):
            kept.append(i)
    return rows[sorted(kept, key=lambda i: -rows[i, 0])]


def _within(row: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    """Whether the centre of one box lies in another."""
    centre = (row[1:3] + row[3:5]) / 2
    return bool(((centre > other[1:3]) & (centre < other[3:5])).all())


def _leaves(row: NDArray[np.float32], pixels: Image) -> bool:
    """Whether the box leaves the image."""
    return bool((row[1:3] < 0).any() or (row[3:5] > np.array(pixels.shape[1::-1])).any())


def _continued(detect: Detect, pixels: Image, row: NDArray[np.float32]) -> Rows:
    """Rows at the place of a box smaller than the image, whose border is repeated outside it."""
    side = round(_AROUND * float((row[3:5] - row[1:3]).max()))
    if not 1 <= side <= max(pixels.shape[:2]):
        return row[None][:0]
    left, top = (round(float(v) - side / 2) for v in (row[1:3] + row[3:5]) / 2)
    y, x = (
        np.arange(start, start + side).clip(0, length - 1)
        for start, length in zip((top, left), pixels.shape[:2], strict=True)
    )
    rows = detect(np.ascontiguousarray(pixels[y[:, None], x]))
    rows = np.concatenate([rows[:, :1], rows[:, 1:] + np.tile([left, top], 8)], 1, dtype=np.float32)
    return rows[[_within(found, row) for found in rows]]


def _in_tiles(detect: Detect, pixels: Image, side: int) -> Rows:
    """Rows of all tiles, which overlap by half: a face of up to that size is whole in one."""
    height, width = pixels.shape[:2]
    found = []
    for top in _starts(height, side):
        for left in _starts(width, side):
            tile = np.ascontiguousarray(pixels[top : top + side, left : left + side])
            rows = detect(tile)
            low, high = rows[:, 1:3], rows[:, 3:5]
            # A face cut by the edge of a tile is whole in the next one.
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


def _best_score(rows: Rows) -> float:
    return float(rows[0, 0]) if len(rows) else 0.0
