"""``--yaw``, ``--pitch`` and ``--roll``: how the head is turned."""

from __future__ import annotations

import argparse

from ...faces.angles import ANGLE_LIMITS, ANGLE_NAMES, Angles, check_angles

_MEANINGS = (
    "above 0 turns the nose to the left of the image",
    "above 0 lifts the nose",
    "above 0 turns the head clockwise as you see it",
)


def add_angle_options(parser: argparse.ArgumentParser) -> None:
    """An option for each angle, None where it is not given."""
    for name, meaning, limit in zip(ANGLE_NAMES, _MEANINGS, ANGLE_LIMITS, strict=True):
        parser.add_argument(
            f"--{name}",
            type=float,
            metavar="DEGREES",
            help=f"degrees; {meaning} (-{limit:g} to {limit:g}, further with --face-mesh)",
        )


def angles_on_a_base(args: argparse.Namespace) -> Angles | None:
    """The head's angles for ``--base``; 0 where another one is given, None if none is.

    Raises:
        InputError: One is beyond what Dense-Face has seen; a drawn face can turn further.
    """
    given = [getattr(args, name) for name in ANGLE_NAMES]
    if all(angle is None for angle in given):
        return None
    yaw, pitch, roll = (angle or 0.0 for angle in given)
    if not args.face_mesh or args.dense_face is not None:
        check_angles((yaw, pitch, roll))
    return yaw, pitch, roll
