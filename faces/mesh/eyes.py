"""The irises of the face mesh, and the gaze.

The landmark file's canonical face has no irises. Here the eyeball is a sphere behind the lids and
the iris a disc on it; sizes are those of an adult's eye (ours).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from ...errors import InputError
from .edges import LEFT_LOWER_LID, LEFT_UPPER_LID, RIGHT_LOWER_LID, RIGHT_UPPER_LID

GAZE_LIMIT = 45.0
"""Degrees that an eye turns at most in its socket."""
#: Degrees of an eyeLook blendshape of 1.
_SIDEWAYS, _UP_OR_DOWN = 40.0, 35.0
_EYEBALL, _IRIS = 1.2, 0.585
#: Least distance of a pupil from a lid, as a fraction of the gap.
_PUPIL_MARGIN = 0.1
_RING = ((1, 0), (0, 1), (-1, 0), (0, -1))
"""Right, top, left, bottom, as seen by the viewer: the order of the points after the pupil."""


class Gaze(NamedTuple):
    """Direction of both eyes relative to the head, in degrees.

    yaw > 0: to the image's left; pitch > 0: up; 0, 0: straight out of the face.
    """

    yaw: float = 0.0
    pitch: float = 0.0


def gaze_blendshapes(gaze: Gaze) -> dict[str, float]:
    """The eyeLook blendshapes, 0 or more, of a gaze.

    Raises:
        InputError: An angle is beyond :data:`GAZE_LIMIT` or not finite.
    """
    for name, angle in zip(gaze._fields, gaze, strict=True):
        if not abs(angle) <= GAZE_LIMIT:  # also catches NaN
            raise InputError(
                f"the gaze has a {name} of {angle:g} degrees",
                fix=f"Choose a value between {-GAZE_LIMIT:g} and {GAZE_LIMIT:g}",
            )
    side, up = gaze.yaw / _SIDEWAYS, gaze.pitch / _UP_OR_DOWN
    values = {"LookOutRight": side, "LookInLeft": side, "LookInRight": -side, "LookOutLeft": -side}
    for eye in ("Left", "Right"):
        values |= {f"LookUp{eye}": up, f"LookDown{eye}": -up}
    return {f"eye{name}": max(0.0, value) for name, value in values.items()}


def irises(vertices: Tensor, values: Mapping[str, float]) -> Tensor:
    """The ten points of the irises [10, 3] in head space (``placement``).

    Args:
        vertices: [N, 3], at least the 468 without irises, of a face with open lids.
        values: Blendshapes by name; those of eyeLook turn the eyes.
    """

    def value(name: str) -> float:
        return values.get(f"eyeLook{name}", 0.0)

    right = value("OutRight") - value("InRight"), value("UpRight") - value("DownRight")
    left = value("InLeft") - value("OutLeft"), value("UpLeft") - value("DownLeft")
    return torch.cat(
        [
            _iris(vertices, RIGHT_UPPER_LID, RIGHT_LOWER_LID, *right),
            _iris(vertices, LEFT_UPPER_LID, LEFT_LOWER_LID, *left),
        ]
    )


def keep_between_lids(irises: Tensor, face: Tensor) -> Tensor:
    """Irises [10, 3] raised or lowered until each pupil lies between the lids of a face [N, 3]."""
    kept = irises.clone()
    for first, upper, lower in (
        (0, RIGHT_UPPER_LID, RIGHT_LOWER_LID),
        (5, LEFT_UPPER_LID, LEFT_LOWER_LID),
    ):
        top, bottom = (face[lid[len(lid) // 2], 1] for lid in (upper, lower))
        margin = _PUPIL_MARGIN * (top - bottom)
        height = kept[first, 1].clone()
        kept[first : first + 5, 1] += height.clamp(bottom + margin, top - margin) - height
    return kept


def _iris(
    vertices: Tensor, upper: tuple[int, ...], lower: tuple[int, ...], side: float, up: float
) -> Tensor:
    yaw, pitch = (
        math.radians(max(-GAZE_LIMIT, min(GAZE_LIMIT, angle)))
        for angle in (side * _SIDEWAYS, up * _UP_OR_DOWN)
    )
    ring = torch.tensor([(0.0, 0.0), *_RING], dtype=torch.float64) * _IRIS
    depth = torch.full((len(ring), 1), (_EYEBALL**2 - _IRIS**2) ** 0.5, dtype=torch.float64)
    depth[0] = _EYEBALL
    disc = torch.cat([ring, depth], 1)
    c, s = math.cos(pitch), math.sin(pitch)
    raised = disc @ torch.tensor([[1, 0, 0], [0, c, -s], [0, s, c]], dtype=torch.float64)
    c, s = math.cos(yaw), math.sin(yaw)
    turned = raised @ torch.tensor([[c, 0, s], [0, 1, 0], [-s, 0, c]], dtype=torch.float64)
    middle = vertices[[upper[0], upper[-1]]].mean(0)
    lids = vertices[[upper[len(upper) // 2], lower[len(lower) // 2]]].mean(0)
    # Half-way between the lids, as in photographs, and not on the line through the corners.
    middle = torch.stack([middle[0], lids[1], lids[2] - _EYEBALL])
    return middle + turned
