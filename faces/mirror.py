"""Labels of the mirror image: landmarks, parts, blendshapes and head pose change sides."""

from __future__ import annotations

import torch
from torch import Tensor

from .blendshapes import ARKIT_NAMES, mirrored_name
from .parts import PART_NAMES

_MESH_RUNS = (
    (3, 3, 248), (7, 7, 249), (20, 93, 250), (95, 150, 324), (153, 163, 380), (165, 167, 391),
    (169, 174, 394), (176, 194, 400), (196, 196, 419), (198, 198, 420), (201, 247, 421),
    (468, 468, 473), (469, 469, 476), (470, 470, 475), (471, 471, 474), (472, 472, 477),
)  # fmt: skip
"""Points of the face mesh on one side: first, last, and the one opposite the first; those of the
canonical face of MediaPipe's landmarker file. All others are on the midline."""


def _mesh() -> tuple[int, ...]:
    order = list(range(478))
    for first, last, opposite in _MESH_RUNS:
        for point in range(first, last + 1):
            other = opposite + point - first
            order[point], order[other] = other, point
    return tuple(order)


#: By scheme of ``faces.face.SCHEMES``: landmark i of a mirrored image is landmark ``[i]`` of the
#: original.
MIRROR_LANDMARKS: dict[str, tuple[int, ...]] = {
    "mesh": _mesh(),
    "ibug": (
        *range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1),
        45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
        *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), *range(67, 64, -1),
    ),
    "five": (1, 0, 2, 4, 3),
}  # fmt: skip
#: Blendshape i of a mirrored face is blendshape MIRROR_SHAPES[i] of the original (ARKit order).
MIRROR_SHAPES = tuple(ARKIT_NAMES.index(mirrored_name(name)) for name in ARKIT_NAMES)
_OTHER = {"left": "right", "right": "left"}
#: Part i of a mirrored face is part MIRROR_PARTS[i] of the original; the same the other way round.
MIRROR_PARTS = tuple(
    PART_NAMES.index("_".join(_OTHER.get(word, word) for word in name.split("_")))
    for name in PART_NAMES
)


def mirrored_parts(parts: Tensor) -> Tensor:
    """Part masks [..., H, W], classes of ``faces.parts``, of the mirror image, uint8."""
    return torch.tensor(MIRROR_PARTS, dtype=torch.uint8)[parts.flip(-1).long()]


def mirrored_landmarks(landmarks: Tensor, scheme: str) -> Tensor:
    """Landmarks [..., K, 2] in 0..1 of the mirror image.

    Args:
        scheme: A key of :data:`MIRROR_LANDMARKS`.
    """
    swapped = landmarks[..., MIRROR_LANDMARKS[scheme], :].clone()
    swapped[..., 0] = 1 - swapped[..., 0]
    return swapped


def mirrored_angles(angles: Tensor) -> Tensor:
    """Yaw, pitch, roll [..., 3] of the mirror image, in every Euler order of the pack."""
    return angles * torch.tensor([-1.0, 1.0, -1.0])
