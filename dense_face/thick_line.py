"""Thick, round-ended, aliased lines, pixel for pixel as OpenCV 4.x draws them, in numpy.

The pose branch was trained on images drawn by OpenCV 4, and OpenCV 5 draws lines that leave the
image differently, so the drawing is part of the model. This code was written against golden images
of OpenCV 4.10 and compared with it over tens of thousands of lines.

A line of thickness 4 is a filled quadrilateral, 2 px to either side, and a filled circle of radius
2 at each end that lies in the image. Corners are kept in fixed point with 16 fractional bits.
The outline of the quadrilateral is drawn too, which is why the band is 5 px wide.

**Outside the frame**: nothing is moved or shortened before the corners are computed, so a line
keeps its direction when its end lies outside. The quadrilateral's interior is rasterised by row
and each row is clipped to the frame. Its four outline edges are clipped one by one, and a clipped
edge restarts from the (rounded) crossing point, which can shift its pixels by one.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Point = tuple[int, int]

_BITS = 16
_ONE = 1 << _BITS
_HALF = _ONE >> 1


def draw_thick_line(
    image: Image, start: Point, end: Point, colour: tuple[int, int, int], thickness: int = 4
) -> None:
    """Draw into an image [H, W, 3] in place.

    Args:
        start, end: (x, y) in pixels; may lie outside.
        colour: Value of the pixels, in the image's channel order.
        thickness: Even number of pixels, at least 2.
    """
    radius = thickness / 2
    length = math.hypot(end[0] - start[0], end[1] - start[1])
    (x0, y0), (x1, y1) = ((x * _ONE, y * _ONE) for x, y in (start, end))
    if length:
        across = round((end[1] - start[1]) * radius / length * _ONE)
        along = round((start[0] - end[0]) * radius / length * _ONE)
        corners = [
            (x0 + across, y0 + along),
            (x0 - across, y0 - along),
            (x1 - across, y1 - along),
            (x1 + across, y1 + along),
        ]
        _fill_convex(image, corners, colour)
    for centre in (start, end):
        _fill_circle(image, centre, int(radius + 0.5), colour)


def _fill_convex(image: Image, corners: list[Point], colour: tuple[int, int, int]) -> None:
    """Fill a convex polygon with corners in fixed point, its outline included."""
    height, width = image.shape[:2]
    for a, b in zip([corners[-1], *corners[:-1]], corners, strict=True):
        _draw_edge(image, a, b, colour)
    rows = [(y + _HALF) >> _BITS for _, y in corners]
    # The lowest row belongs to the outline alone.
    first, last = min(rows), min(max(rows) - 1, height - 1)
    if last < max(first, 0):
        return
    top = min(range(len(corners)), key=lambda i: (corners[i][1], i))
    sides = [_side(corners, top, step, first, last) for step in (1, -1)]
    left = (np.minimum(*sides) + _HALF) >> _BITS
    right = (np.maximum(*sides) + _HALF) >> _BITS
    rows_from = max(first, 0)
    left, right = left[rows_from - first :, None], right[rows_from - first :, None]
    x = np.arange(width)
    image[rows_from : last + 1][(x >= left) & (x <= right)] = colour


def _side(corners: list[Point], top: int, step: int, first: int, last: int) -> NDArray[np.int64]:
    """Fixed-point x of one side of a polygon in each of the rows ``first`` to ``last``."""
    count = len(corners)
    xs = np.zeros(last - first + 1, dtype=np.int64)
    row, index = first, top
    for _ in range(count):
        following = (index + step) % count
        x, (x_end, y_end) = corners[index][0], corners[following]
        row_end = (y_end + _HALF) >> _BITS
        index = following
        if row_end <= row:
            continue
        rows = row_end - row
        slope = _divide((x_end - x) * 2 + rows, 2 * rows)
        # The next edge, if any, overwrites the row in which this one ends.
        rows_drawn = np.arange(min(rows, last - row) + 1)
        xs[row - first : row - first + len(rows_drawn)] = x + slope * rows_drawn
        row = row_end
        if row > last:
            break
    return xs


def _draw_edge(image: Image, a: Point, b: Point, colour: tuple[int, int, int]) -> None:
    """Draw a line one pixel wide between two points in fixed point, clipped to the frame."""
    height, width = image.shape[:2]
    clipped = _clip(a, b, width << _BITS, height << _BITS)
    if clipped is None:
        return
    (xa, ya), (xb, yb) = clipped
    dx, dy = xb - xa, yb - ya
    flat = abs(dx) > abs(dy)
    if (dx if flat else dy) < 0:
        (xa, ya), (xb, yb), dx, dy = (xb, yb), (xa, ya), -dx, -dy
    steps = np.arange(((dx if flat else dy) >> _BITS) + 1)
    if flat:
        xs = ((xa + _HALF) >> _BITS) + steps
        ys = (ya + _HALF + steps * _divide(dy * _ONE, dx | 1)) >> _BITS
    else:
        ys = ((ya + _HALF) >> _BITS) + steps
        xs = (xa + _HALF + steps * _divide(dx * _ONE, dy | 1)) >> _BITS
    _put(image, xs, ys, colour)
    _put(image, np.array([(xb + _HALF) >> _BITS]), np.array([(yb + _HALF) >> _BITS]), colour)


def _clip(a: Point, b: Point, width: int, height: int) -> tuple[Point, Point] | None:
    """Clip a line to the rectangle 0..width-1, 0..height-1; None if nothing is left."""
    (xa, ya), (xb, yb) = a, b
    right, bottom = width - 1, height - 1

    def beyond(value: int, limit: int) -> int:
        return (value > limit) - (value < 0)

    if _apart(beyond(xa, right), beyond(xb, right)) or _apart(
        beyond(ya, bottom), beyond(yb, bottom)
    ):
        return None
    if side := beyond(ya, bottom):
        edge = bottom if side > 0 else 0
        xa, ya = xa + int((edge - ya) * (xb - xa) / (yb - ya)), edge
    if side := beyond(yb, bottom):
        edge = bottom if side > 0 else 0
        xb, yb = xb + int((edge - yb) * (xb - xa) / (yb - ya)), edge
    if _apart(beyond(xa, right), beyond(xb, right)):
        return None
    if side := beyond(xa, right):
        edge = right if side > 0 else 0
        xa, ya = edge, ya + int((edge - xa) * (yb - ya) / (xb - xa))
    if side := beyond(xb, right):
        edge = right if side > 0 else 0
        xb, yb = edge, yb + int((edge - xb) * (yb - ya) / (xb - xa))
    return (xa, ya), (xb, yb)


def _apart(a: int, b: int) -> bool:
    """Whether both ends lie beyond the same border."""
    return a == b != 0


def _fill_circle(image: Image, centre: Point, radius: int, colour: tuple[int, int, int]) -> None:
    """Fill a circle by the midpoint algorithm, clipped to the image."""
    x0, y0 = centre
    error, dx, dy, plus, minus = 0, radius, 0, 1, (radius << 1) - 1
    while dx >= dy:
        for row, half in ((y0 - dy, dx), (y0 + dy, dx), (y0 - dx, dy), (y0 + dx, dy)):
            if 0 <= row < image.shape[0]:
                image[row, max(x0 - half, 0) : max(x0 + half + 1, 0)] = colour
        dy += 1
        error += plus
        plus += 2
        if error > 0:
            error -= minus
            dx -= 1
            minus -= 2


def _put(
    image: Image, xs: NDArray[np.int64], ys: NDArray[np.int64], colour: tuple[int, int, int]
) -> None:
    inside = (xs >= 0) & (xs < image.shape[1]) & (ys >= 0) & (ys < image.shape[0])
    image[ys[inside], xs[inside]] = colour


def _divide(a: int, b: int) -> int:
    """Integer division towards zero."""
    return a // b if (a < 0) == (b < 0) else -(-a // b)
