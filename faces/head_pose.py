"""Head pose: angles and rotation matrices, as measured and as drawn, and the bridges between them.

The head's rotation R has its axes as columns: X (to the image's right when frontal), Y (chin) and
Z (nose), given in the image's x (right), y (down) and z (towards the viewer). Signs are the same
everywhere in the pack; the order of the turns is not:

*measured* (``Face.pose``):  R = Rz(roll) · Ry(-yaw) · Rx(pitch)
    As estimators read a head: turning the photograph moves roll and nothing else.
*drawn* (docs/reference/dense_face.md A6):  R = Rx(pitch) · Ry(-yaw) · Rz(roll)
    As the paper draws angles and as the tiny world's renderer turns its heads: what the pose
    branch is conditioned with.

For a turn about one axis both are the same. The *landmark file* (docs/reference/dense_face.md B3)
has y up and reads M = Rz(roll) · Ry(yaw) · Rx(pitch), with R = F M F, F = diag(1, -1, 1): its
angles are the measured ones with all three signs turned.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..errors import InputError
from .face import HeadPose

_FLIP = torch.diag(torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64))


def matrix_from_xyz(pose: HeadPose) -> Tensor:
    """[3, 3] float64: the head's axes as columns, angles taken as drawn.

    Raises:
        InputError: An angle is not finite.
    """
    x, y, z = _turns(pose)
    return x @ y @ z


def matrix_from_zyx(pose: HeadPose) -> Tensor:
    """[3, 3] float64: the head's axes as columns, angles taken as measured.

    Raises:
        InputError: An angle is not finite.
    """
    x, y, z = _turns(pose)
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


def zyx_to_xyz(measured: HeadPose) -> HeadPose:
    """The angles whose drawing, and whose head in the tiny world, is turned as this one."""
    return xyz_from_matrix(matrix_from_zyx(measured))


def xyz_to_zyx(drawn: HeadPose) -> HeadPose:
    """The inverse of :func:`zyx_to_xyz`."""
    return zyx_from_matrix(matrix_from_xyz(drawn))


def flip_axes(matrix: Tensor) -> Tensor:
    """A rotation [3, 3] of the landmark file in the pack's axes, or back; its own inverse."""
    return _FLIP @ matrix.detach().cpu().double() @ _FLIP


def as_paper_estimator(measured: HeadPose) -> HeadPose:
    """What 6DRepNet, the estimator of the paper, would say about a head measured by landmarks.

    A fit over 14 photographs (docs/reference/dense_face.md B3), residual 1.2° in yaw and 2.9° in
    pitch: landmarks underrate large yaws by a fifth. Roll was too small in that sample to be fitted
    and stays. For adapters trained on 6DRepNet's angles; the tiny world needs none of it.
    """
    return HeadPose(1.22 * measured.yaw - 0.7, 0.89 * measured.pitch - 4.6, measured.roll)


def angle_between(one: Tensor, other: Tensor) -> float:
    """Degrees, 0..180, of the single turn that brings one rotation [3, 3] onto another."""
    cosine = (float((one.double().T @ other.double()).trace()) - 1) / 2
    return math.degrees(math.acos(max(-1.0, min(1.0, cosine))))


def _turns(pose: HeadPose) -> tuple[Tensor, Tensor, Tensor]:
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
