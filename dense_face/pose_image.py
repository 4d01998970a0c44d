"""The pose image: the three axes of the head pose on white, drawn as in the release.

Source: docs/reference/dense_face.md A6.

Angles are degrees: yaw > 0 turns the nose to the image's left, pitch > 0 lifts it, roll > 0
turns the head clockwise as seen by the viewer. Red is the head's X axis (towards the image's
right when frontal), green Y (down), blue Z (the nose, twice as long, drawn last). A frontal head
has a blue dot; beyond about 40 degrees of yaw the blue line leaves the image and is clipped at its
edge (see ``thick_line``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from .thick_line import Image, Point, draw_thick_line

SIZE = 256
"""Side of the release's pose image in pixels; the lengths below are for this size."""

_AXIS_LENGTH = 100
_NOSE_LENGTH = 200
_THICKNESS = 4
_COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255))


def axis_ends(
    yaw: float, pitch: float, roll: float, size: int = SIZE
) -> tuple[Point, Point, Point]:
    """End points (x, y) of the X, Y and Z axis in whole pixels, truncated.

    Raises:
        InputError: An angle is not finite.
    """
    if not all(math.isfinite(angle) for angle in (yaw, pitch, roll)):
        raise InputError(
            f"the head pose is yaw {yaw}, pitch {pitch}, roll {roll}", fix="Give angles in degrees"
        )
    p, y, r = (angle * math.pi / 180 for angle in (pitch, -yaw, roll))
    axis, nose = _AXIS_LENGTH * size / SIZE, _NOSE_LENGTH * size / SIZE
    x_axis = (
        axis * (math.cos(y) * math.cos(r)),
        axis * (math.cos(p) * math.sin(r) + math.cos(r) * math.sin(p) * math.sin(y)),
    )
    y_axis = (
        axis * (-math.cos(y) * math.sin(r)),
        axis * (math.cos(p) * math.cos(r) - math.sin(p) * math.sin(y) * math.sin(r)),
    )
    z_axis = (nose * math.sin(y), nose * (-math.cos(y) * math.sin(p)))
    centre = (size - 1) / 2
    ends = [(int(dx + centre), int(dy + centre)) for dx, dy in (x_axis, y_axis, z_axis)]
    return ends[0], ends[1], ends[2]


def pose_image(yaw: float, pitch: float, roll: float, size: int = SIZE) -> Image:
    """Draw a head pose, uint8 RGB [size, size, 3].

    Lengths and thickness scale with the size; the thickness is rounded to an even number.

    Raises:
        InputError: An angle is not finite, or the size is below 16.
    """
    if size < 16:
        raise InputError(f"a pose image of {size} px is too small", fix="Use at least 16 px")
    image = np.full((size, size, 3), 255, dtype=np.uint8)
    centre = int((size - 1) / 2)
    thickness = max(2, 2 * round(_THICKNESS * size / SIZE / 2))
    for end, colour in zip(axis_ends(yaw, pitch, roll, size), _COLOURS, strict=True):
        draw_thick_line(image, (centre, centre), end, colour, thickness)
    return image


def pose_images(angles: Sequence[tuple[float, float, float]], size: int = SIZE) -> Tensor:
    """Pose images of N (yaw, pitch, roll) as the pose branch reads them, uint8 [N, 3, size, size].

    Raises:
        InputError: As :func:`pose_image`.
    """
    images = np.stack([pose_image(*each, size=size) for each in angles])
    return torch.from_numpy(images).permute(0, 3, 1, 2)
