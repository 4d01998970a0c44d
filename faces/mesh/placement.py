"""Where a head is and how it is turned: from head space (``rig``) into space, and back from photos.

Heads turn about the origin of head space. The camera is that of ``mediapipe.mesh_pose``, so the
landmarker's geometry reads back what was drawn.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...errors import InputError
from ..face import Box, Face, HeadPose
from ..head_pose import flip_axes, matrix_from_xyz
from ..mediapipe.mesh_pose import focal_length, mesh_from_space, mesh_in_space
from ..mediapipe.task_file import Geometry
from .hint import check_mesh

HALF_HIDDEN, AWAY = 60.0, 95.0
"""Degrees between the nose and the direction to the camera at which half of the face is hidden, and
all of it."""
_ROUNDS = 8
_CLOSEST = 0.2
"""Least depth of a point, as a fraction of the head's distance; nearer ones are torn apart."""
_HAIRLINE, _CHIN = 10, 152


def place_in_box(head: Tensor, box: Box, image_size: tuple[int, int]) -> Tensor:
    """The place [3] in space at which a head that faces the camera fits a box.

    Args:
        head: [478, 3] in head space, at rest.
        box: In pixels. Its centre and its height, from the hairline to the chin, count.
        image_size: Width and height in pixels.

    Raises:
        InputError: The box is empty, or so large that the face would touch the camera.
    """
    left, top, right, bottom = box
    if not (left < right and top < bottom):  # also catches NaN
        raise InputError("the face's box is empty", fix="Give left, top, right, bottom in pixels")
    focal, tall = focal_length(image_size[1]), bottom - top
    middle = torch.tensor([(left + right) / 2, (top + bottom) / 2], dtype=torch.float64)
    outline = head[[_HAIRLINE, _CHIN]]
    forward = float(outline[:, 2].mean())
    distance = focal * float(outline[0, 1] - outline[1, 1]) / tall + forward
    place = torch.tensor([0.0, 0.0, -distance], dtype=torch.float64)
    for _ in range(_ROUNDS):
        _require_distance(head + place, place)
        seen = mesh_from_space(head + place, image_size)[:468, :2]
        low, high = seen.amin(0), seen.amax(0)
        off = middle - (low + high) / 2
        distance = (distance - forward) * float(high[1] - low[1]) / tall + forward
        shift = off * (distance - forward) / focal
        place = torch.stack([place[0] + shift[0], place[1] - shift[1], -place.new_tensor(distance)])
    return place


def stand(face: Face, geometry: Geometry) -> tuple[Tensor, Tensor]:
    """A detected face as a head, and where it is.

    Returns:
        The face [478, 3] turned to the front, in head space, with its expression; its place [3].

    Raises:
        InputError: It was not found by the landmarker.
    """
    check_mesh(face.landmarks)
    points, standing = mesh_in_space(face.landmarks, face.image_size, geometry)
    return standing.inverse()(points), standing.shift


def turned(head: Tensor, angles: HeadPose, place: Tensor) -> Tensor:
    """A head [478, 3] turned and put at its place: points in space.

    Args:
        angles: In Euler order xyz (``faces.head_pose``).

    Raises:
        InputError: The face looks away from the camera, or touches it.
    """
    away = degrees_away(angles, place)
    if away > AWAY:
        raise InputError(
            f"the face is turned {away:.0f} degrees away from the camera, which sees nothing of it",
            fix=f"Turn it by less than {AWAY:g} degrees",
        )
    points = head @ _rotation(angles).T + place
    _require_distance(points, place)
    return points


def degrees_away(angles: HeadPose, place: Tensor) -> float:
    """Angle between the nose and the direction from the head to the camera, 0..180."""
    nose = _rotation(angles)[:, 2]
    return math.degrees(math.acos(max(-1.0, min(1.0, float(nose @ -place / place.norm())))))


def _rotation(angles: HeadPose) -> Tensor:
    return flip_axes(matrix_from_xyz(angles))


def _require_distance(points: Tensor, place: Tensor) -> None:
    if not float(-points[:, 2].max()) > _CLOSEST * float(-place[2]):
        raise InputError(
            "the face is so large that it touches the camera",
            fix="Make it smaller, or the canvas higher",
        )
