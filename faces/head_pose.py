"""Head pose: angles and rotation matrices in two conventions, and the bridges between them.

*The pack's convention* is the drawing of the paper (dense_face.md A6): the columns of the matrix
are the head's axes X (to the picture's right when frontal), Y (chin) and Z (nose), given in the
picture's x (right), y (down) and z (towards the viewer):

    R = Rx(pitch) · Ry(-yaw) · Rz(roll)

*The landmark file's convention* (dense_face.md B3) has x right, y **up**, z towards the viewer:

    M = Rz(roll) · Ry(yaw) · Rx(pitch)

The same head has R = F M F with F = diag(1, -1, 1). For a turn about one axis alone all three
signs are opposite; for combined turns the angles differ, because the order of turns does.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..errors import InputError
from .face import HeadPose

_FLIP = torch.diag(torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64))


def pose_matrix(pose: HeadPose) -> Tensor:
    """[3, 3] float64: the head's axes as columns, in the pack's convention.

    Raises:
        InputError: An angle is not finite.
    """
    if not all(math.isfinite(angle) for angle in pose):
        raise InputError(
            f"the head pose is yaw {pose[0]}, pitch {pose[1]}, roll {pose[2]}",
            fix="Give angles in degrees",
        )
    yaw, pitch, roll = (math.radians(angle) for angle in pose)
    return _about_x(pitch) @ _about_y(-yaw) @ _about_z(roll)


def pose_of(matrix: Tensor) -> HeadPose:
    """Angles of a rotation [3, 3] in the pack's convention: yaw in -90..90, others -180..180."""
    R = matrix.detach().cpu().double()
    yaw = -math.atan2(float(R[0, 2]), math.hypot(float(R[0, 0]), float(R[0, 1])))
    pitch = math.atan2(-float(R[1, 2]), float(R[2, 2]))
    roll = math.atan2(-float(R[0, 1]), float(R[0, 0]))
    return HeadPose(math.degrees(yaw), math.degrees(pitch), math.degrees(roll))


def landmark_file_angles(matrix: Tensor) -> HeadPose:
    """Angles of a rotation [3, 3] of the landmark file, read in that file's own convention."""
    M = matrix.detach().cpu().double()
    yaw = math.atan2(-float(M[2, 0]), math.hypot(float(M[0, 0]), float(M[1, 0])))
    pitch = math.atan2(float(M[2, 1]), float(M[2, 2]))
    roll = math.atan2(float(M[1, 0]), float(M[0, 0]))
    return HeadPose(math.degrees(yaw), math.degrees(pitch), math.degrees(roll))


def landmark_file_matrix(angles: HeadPose) -> Tensor:
    """The inverse of :func:`landmark_file_angles`: [3, 3] float64."""
    yaw, pitch, roll = (math.radians(angle) for angle in angles)
    return _about_z(roll) @ _about_y(yaw) @ _about_x(pitch)


def flipped(matrix: Tensor) -> Tensor:
    """The same head's rotation [3, 3] in the other convention's axes; its own inverse."""
    return _FLIP @ matrix.detach().cpu().double() @ _FLIP


def as_paper_estimator(angles: HeadPose) -> HeadPose:
    """What 6DRepNet, the estimator of the paper, would say about this head.

    Args:
        angles: In the landmark file's convention.

    A fit over 14 photographs (dense_face.md B3), residual 1.2° in yaw and 2.9° in pitch: landmark
    poses underrate large yaws by a fifth. Roll was too small in that sample to be fitted and only
    changes its sign. For adapters trained on 6DRepNet's angles; the tiny world needs none of it.
    """
    return HeadPose(-1.22 * angles.yaw - 0.7, -0.89 * angles.pitch - 4.6, -angles.roll)


def angle_between(one: HeadPose, other: HeadPose) -> float:
    """Degrees of the single turn that brings one head pose onto another, 0..180."""
    turn = pose_matrix(one).T @ pose_matrix(other)
    return math.degrees(math.acos(max(-1.0, min(1.0, (float(turn.trace()) - 1) / 2))))


def _about_x(a: float) -> Tensor:
    return _rows([1, 0, 0], [0, math.cos(a), -math.sin(a)], [0, math.sin(a), math.cos(a)])


def _about_y(a: float) -> Tensor:
    return _rows([math.cos(a), 0, math.sin(a)], [0, 1, 0], [-math.sin(a), 0, math.cos(a)])


def _about_z(a: float) -> Tensor:
    return _rows([math.cos(a), -math.sin(a), 0], [math.sin(a), math.cos(a), 0], [0, 0, 1])


def _rows(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)
