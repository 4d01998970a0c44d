"""Filled polygons with soft edges: how far each pixel is from the outline."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

_FINEST = 384
"""Cells along the longer side at which distances are measured; between them they change evenly."""


def inside_distance(polygon: Tensor, height: int, width: int, reach: float = 0.0) -> Tensor:
    """How deep each pixel's middle lies inside a polygon, in pixels; below 0 outside.

    Args:
        polygon: [N, 2] corners in pixels, in order, either way round; the last joins the first.
        height, width: Of the result.
        reach: Distances further outside than this (and a pixel) may come out as any value below.

    Returns:
        [height, width].
    """
    corners = polygon.detach().cpu().float()
    low = (corners.min(0).values - reach - 2).floor().clamp(min=0)
    left, top = (int(v) for v in low)
    high = (corners.max(0).values + reach + 2).ceil()
    right, bottom = min(width, int(high[0])), min(height, int(high[1]))
    result = torch.full((height, width), -(reach + 2.0))
    if left >= right or top >= bottom:
        return result
    step = max(1.0, max(right - left, bottom - top) / _FINEST)
    rows, columns = math.ceil((bottom - top) / step), math.ceil((right - left) / step)
    y = top + (torch.arange(rows) + 0.5) * ((bottom - top) / rows)
    x = left + (torch.arange(columns) + 0.5) * ((right - left) / columns)
    places = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)
    found = _signed(places, corners)[None, None]
    if (rows, columns) != (bottom - top, right - left):
        found = F.interpolate(found, (bottom - top, right - left), mode="bicubic")
    result[top:bottom, left:right] = found[0, 0]
    return result


def polygon_mask(
    polygon: Tensor, height: int, width: int, margin: float = 0.0, feather: float = 1.0
) -> Tensor:
    """[height, width] in 0..1, 1 inside a polygon [N, 2] in pixels.

    Args:
        margin: Pixels by which the polygon is dilated on all sides; below 0 erodes.
        feather: Pixels over which the edge fades, inwards; at least 1.
    """
    depth = inside_distance(polygon, height, width, max(0.0, margin)) + margin
    # A pixel is half covered where the outline meets its middle; a fade begins there.
    return (depth / max(1.0, feather) + 0.5 / max(1.0, feather)).clamp(0, 1)


def polygon_area(polygon: Tensor) -> float:
    """Of a polygon [N, 2], by the shoelace formula."""
    after = polygon.roll(-1, 0)
    return float((polygon[:, 0] * after[:, 1] - after[:, 0] * polygon[:, 1]).sum().abs() / 2)


def _signed(places: Tensor, corners: Tensor) -> Tensor:
    """[..., 2] -> [...]: distance to the outline, above 0 inside (even-odd rule)."""
    nearest = torch.full(places.shape[:-1], float("inf"))
    inside = torch.zeros(places.shape[:-1], dtype=torch.bool)
    x, y = places[..., 0], places[..., 1]
    for a, b in zip(corners, corners.roll(-1, 0), strict=True):
        along = b - a
        share = ((places - a) @ along / along.square().sum().clamp(min=1e-12)).clamp(0, 1)
        gap = places - a - share[..., None] * along
        nearest = torch.minimum(nearest, gap.square().sum(-1))
        crosses = (a[1] > y) != (b[1] > y)
        where = a[0] + (y - a[1]) * along[0] / (along[1] if float(along[1]) else 1.0)
        inside ^= crosses & (x < where)
    return nearest.sqrt() * torch.where(inside, 1.0, -1.0)


def convex_hull(points: Tensor) -> Tensor:
    """The corners [M, 2] of the smallest convex polygon around points [N, 2].

    Andrew's monotone chain: from the leftmost point along one side and back along the other,
    leaving out every point at which the way does not turn.
    """
    rows: list[tuple[float, float]] = sorted({(x, y) for x, y in points.tolist()})
    if len(rows) < 3:
        return points
    sides = []
    for order in (rows, rows[::-1]):
        side: list[tuple[float, float]] = []
        for point in order:
            while len(side) > 1 and _turn(side[-2], side[-1], point) <= 0:
                side.pop()
            side.append(point)
        sides.append(side[:-1])
    return torch.tensor(sides[0] + sides[1])


def _turn(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
