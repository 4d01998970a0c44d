"""Head pose: yaw, pitch, roll in the Euler orders zyx and xyz, and rotation matrices.

The columns of the head's rotation R are its axes X (to the image's right when frontal), Y (chin)
and Z (nose), in the image's x (right), y (down) and z (towards the viewer). Signs are the same
everywhere in the pack; the Euler order is not:

*zyx* (``Face.pose``):  R = Rz(roll) · Ry(-yaw) · Rx(pitch)
    What pose estimators measure: rotating the photograph changes roll alone.
*xyz* (docs/reference/dense_face.md A6):  R = Rx(pitch) · Ry(-yaw) · Rz(roll)
    What the paper's pose images, the pose branch and the tiny world's renderer use.

For a rotation about a single axis both are the same. The landmark file
(docs/reference/dense_face.md B3) has y up and M = Rz(roll) · Ry(yaw) · Rx(pitch), with R = F M F
and F = diag(1, -1, 1): its angles are those of zyx with all three signs reversed.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..errors import InputError
from .face import HeadPose

_FLIP = torch.diag(torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64))


def matrix_from_xyz(pose: HeadPose) -> Tensor:
    """Rotation [3, 3] float64, the head's axes as columns, of angles in degrees in Euler order xyz.

    Raises:
        InputError: An angle is not finite.
    """
    x, y, z = _axis_rotations(pose)
    return x @ y @ z


def matrix_from_zyx(pose: HeadPose) -> Tensor:
    """Rotation [3, 3] float64, the head's axes as columns, of angles in degrees in Euler order zyx.

    Raises:
        InputError: An angle is not finite.
    """
    x, y, z = _axis_rotations(pose)
    return z @ y @ x


def xyz_from_matrix(matrix: Tensor) -> HeadPose:
    """The inverse of :func:`matrix_from_xyz`: yaw in -90..90, the others in -180..180."""
    R = matrix.detach().cpu().double()
    yaw = -math.atan2(float(R[0, 2]), math.hypot(float(R[0, 0]), float(R[0, 1])))
    pitch = math.atan2(-float(R[1, 2]), float(R[2, 2]))
    roll = math.atan2(-float(R[0, 1]), float(R[0, 0]))
    return HeadPose(math.degrees(yaw), math.degrees(pitch), math.degrees(roll))


def zyx_from_matrix(matrix: Tensor) -> HeadPose:
    """The inverse of :func:`matrix_from_zyx`: yaw in -90..90, the others in -180..180."""
    R = matrix.detach().cpu().double()
    yaw = math.atan2(float(R[2, 0]), math.hypot(float(R[0, 0]), float(R[1, 0])))
    pitch = math.atan2(float(R[2, 1]), float(R[2, 2]))
    roll = math.atan2(float(R[1, 0]), float(R[0, 0]))
    return HeadPose(math.degrees(yaw), math.degrees(pitch), math.degrees(roll))


def zyx_to_xyz(pose: HeadPose) -> HeadPose:
    """The same rotation in Euler order xyz, degrees."""
    return xyz_from_matrix(matrix_from_zyx(pose))


def xyz_to_zyx(pose: HeadPose) -> HeadPose:
    """The same rotation in Euler order zyx, degrees."""
    return zyx_from_matrix(matrix_from_xyz(pose))


def flip_axes(matrix: Tensor) -> Tensor:
    """Convert a rotation [3, 3] between the landmark file's axes (y up) and the pack's (y down)."""
    return _FLIP @ matrix.detach().cpu().double() @ _FLIP


def as_paper_estimator(measured: HeadPose) -> HeadPose:
    """Angles measured by landmarks, corrected to those of 6DRepNet, the paper's estimator.

    A linear fit over 14 photographs (docs/reference/dense_face.md B3), with a residual of 1.2° in
    yaw and 2.9° in pitch: landmarks underestimate large yaws by a fifth. Roll varied too little in
    that sample and is kept. For adapters trained on 6DRepNet's angles, not for the tiny world's.
    """
    return HeadPose(1.22 * measured.yaw - 0.7, 0.89 * measured.pitch - 4.6, measured.roll)


def angle_between(one: Tensor, other: Tensor) -> float:
    """Geodesic distance of two rotations [3, 3] in degrees, 0..180."""
    cosine = (float((one.double().T @ other.double()).trace()) - 1) / 2
    return math.degrees(math.acos(max(-1.0, min(1.0, cosine))))


def _axis_rotations(pose: HeadPose) -> tuple[Tensor, Tensor, Tensor]:
    """Rx(pitch), Ry(-yaw), Rz(roll)."""
    if not all(math.isfinite(angle) for angle in pose):
        raise InputError(
            f"the head pose is yaw {pose[0]}, pitch {pose[1]}, roll {pose[2]}",
            fix="Give angles in degrees",
        )
    y, x, z = (math.radians(angle) for angle in pose)
    y = -y
    return (
        _rows([1, 0, 0], [0, math.cos(x), -math.sin(x)], [0, math.sin(x), math.cos(x)]),
        _rows([math.cos(y), 0, math.sin(y)], [0, 1, 0], [-math.sin(y), 0, math.cos(y)]),
        _rows([math.cos(z), -math.sin(z), 0], [math.sin(z), math.cos(z), 0], [0, 0, 1]),
    )


def _rows(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)
