"""Mirroring the face mesh and its blendshapes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..blendshapes import mirrored_name
from .task_file import Geometry

Array = NDArray[np.float32]
Order = NDArray[np.int64]

#: The irises follow the 468 canonical points: centre, right, top, left, bottom of each.
_IRISES = (473, 476, 475, 474, 477, 468, 471, 470, 469, 472)


def mirror_order(geometry: Geometry) -> Order:
    """For each point the index of its mirror image, [478], from the symmetric canonical face."""
    vertices = geometry.vertices.numpy()
    mirrored = vertices * np.array([-1.0, 1.0, 1.0])
    apart = ((mirrored[:, None] - vertices[None]) ** 2).sum(2)
    return np.concatenate([apart.argmin(1), np.array(_IRISES)])


def mirrored_mesh(points: Array, order: Order, width: float) -> Array:
    """The mesh [478, 2 or 3] of the mirrored image of this width; its own inverse."""
    flipped = points[order].copy()
    flipped[:, 0] = width - flipped[:, 0]
    return flipped


def symmetric_mean(values: dict[str, float], mirrored: dict[str, float]) -> dict[str, float]:
    """Average blendshapes with those of the mirrored face, left and right exchanged."""
    return {name: (value + mirrored[mirrored_name(name)]) / 2 for name, value in values.items()}
