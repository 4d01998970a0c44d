"""Outlines of a face and its parts, from landmarks of any scheme.

Point numbers: MediaPipe's face mesh of 478 points; the 68 points of iBUG. "Left" and "right" are
the person's own, as in ``faces.parts``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...errors import InputError
from ..crops.alignment import alignment
from ..face import Face
from .polygon import convex_hull

FACE = "face"
"""The whole face: the convex hull of all landmarks."""
MOUTH = "mouth"
"""The lips and what is between them."""
PARTS = (
    "nose", "eye_left", "eye_right", "brow_left", "brow_right", "mouth_interior", "upper_lip",
    "lower_lip",
)  # fmt: skip
"""Regions named as in ``faces.parts``."""
REGIONS = (FACE, MOUTH, *PARTS)

_MESH: dict[str, tuple[int, ...]] = {
    "eye_right": (33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7),
    "eye_left": (263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249),
    "brow_right": (70, 63, 105, 66, 107, 55, 65, 52, 53, 46),
    "brow_left": (300, 293, 334, 296, 336, 285, 295, 282, 283, 276),
    "mouth": (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91,
              146),
    "mouth_interior": (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87,
                       178, 88, 95),
    "upper_lip": (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 308, 415, 310, 311, 312, 13, 82,
                  81, 80, 191, 78),
    "lower_lip": (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 308, 324, 318, 402, 317, 14,
                  87, 178, 88, 95, 78),
}  # fmt: skip
_MESH_NOSE = (168, 6, 197, 195, 5, 4, 1, 19, 94, 2, 97, 326, 98, 327, 48, 278, 64, 294, 129, 358)

_IBUG: dict[str, tuple[int, ...]] = {
    "eye_right": (36, 37, 38, 39, 40, 41),
    "eye_left": (42, 43, 44, 45, 46, 47),
    "mouth": tuple(range(48, 60)),
    "mouth_interior": tuple(range(60, 68)),
    "upper_lip": (48, 49, 50, 51, 52, 53, 54, 64, 63, 62, 61, 60),
    "lower_lip": (48, 59, 58, 57, 56, 55, 54, 64, 65, 66, 67, 60),
}
_IBUG_NOSE = tuple(range(27, 36))
#: Points along the brows, which have no width in this scheme, and their width over their length.
_IBUG_BROWS = {"brow_right": tuple(range(17, 22)), "brow_left": tuple(range(22, 27))}
_BROW_WIDTH = 0.2

#: With five points only: centre and half axes of an ellipse on the 112 px template.
_ELLIPSES: dict[str, tuple[float, float, float, float]] = {
    "face": (56.0, 66.0, 40.0, 54.0),
    "eye_right": (38.3, 51.7, 9.5, 5.0),
    "eye_left": (73.5, 51.5, 9.5, 5.0),
    "brow_right": (36.5, 40.0, 13.0, 4.0),
    "brow_left": (75.5, 40.0, 13.0, 4.0),
    "nose": (56.0, 65.0, 11.0, 15.0),
    "mouth": (56.1, 92.3, 17.0, 8.0),
}
_CORNERS = 32


def outline(face: Face, region: str) -> Tensor:
    """The outline [N, 2], in pixels of the image, of a region of a face.

    With 478 or 68 landmarks all regions exist (with 68 points the face ends at the brows). With
    five points regions are ellipses of an average face, without single lips and mouth interior.
    With a box alone there is only the face, an ellipse.

    Raises:
        InputError: The region is unknown or cannot be derived from these landmarks.
        FacePackError: OpenCV, which computes convex hulls, is not installed.
    """
    if region not in REGIONS:
        raise InputError(
            "the region of the face is unknown",
            where=region,
            fix=f"Use one of {', '.join(REGIONS)}",
        )
    points = face.landmarks[:, :2]
    if face.scheme in ("mesh", "ibug"):
        regions, nose = (_MESH, _MESH_NOSE) if face.scheme == "mesh" else (_IBUG, _IBUG_NOSE)
        if region == FACE:
            return convex_hull(points)
        if region == "nose":
            return convex_hull(points[list(nose)])
        if face.scheme == "ibug" and region in _IBUG_BROWS:
            return _widened(points[list(_IBUG_BROWS[region])])
        return points[list(regions[region])]
    if face.five is not None and region in _ELLIPSES:
        return alignment(face.five).inverse()(_ellipse(*_ELLIPSES[region])).float()
    if region == FACE:
        left, top, right, bottom = face.box
        return _ellipse((left + right) / 2, (top + bottom) / 2, (right - left) / 2,
                        (bottom - top) / 2)  # fmt: skip
    raise InputError(
        f"the region {region} cannot be derived from {len(face.landmarks)} landmarks",
        where=face.source,
        fix="Use an analyzer with 68 or 478 landmarks, or choose the whole face",
    )


def _widened(line: Tensor) -> Tensor:
    """A line of points [N, 2] as a polygon that narrows towards its ends."""
    along = line[-1] - line[0]
    across = torch.stack([-along[1], along[0]]) * (_BROW_WIDTH / 2)
    width = torch.linspace(-1, 1, len(line)).mul(0.8).square().neg().add(1)[:, None] * across
    return torch.cat([line - width, (line + width).flip(0)])


def _ellipse(x: float, y: float, a: float, b: float) -> Tensor:
    angles = torch.arange(_CORNERS) * (2 * math.pi / _CORNERS)
    return torch.stack([x + a * angles.cos(), y + b * angles.sin()], 1)
