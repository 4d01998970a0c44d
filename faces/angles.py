"""Head angles as three numbers, and the range in which the adapters have seen heads."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import InputError

Angles = tuple[float, float, float]
"""Yaw, pitch, roll in degrees (signs: docs/conventions.md)."""

ANGLE_NAMES = ("yaw", "pitch", "roll")
ANGLE_LIMITS: Angles = (60.0, 35.0, 35.0)
"""The largest yaw, pitch and roll that the tiny world is trained on; photographs with larger ones
are rare too."""


def check_angles(angles: Sequence[float]) -> None:
    """Raise InputError, naming the angle, if one is beyond :data:`ANGLE_LIMITS`."""
    for name, angle, limit in zip(ANGLE_NAMES, angles, ANGLE_LIMITS, strict=True):
        if not abs(angle) <= limit:  # also catches NaN
            raise InputError(
                f"the {name} of {angle:g} degrees is beyond the trained range",
                fix=f"Choose a value between {-limit:g} and {limit:g}",
            )
