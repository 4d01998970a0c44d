"""FACS action units as blendshapes.

The mapping follows the names of the units and blendshapes (FACS, Ekman, Friesen and Hager 2002;
ARKit's ARFaceAnchor.BlendShapeLocation); the amounts are this pack's own.

Units are written as in FACS: a number and an intensity A to E. A unit of one side has L or R (the
person's side) before it, or U for a side chosen by the seed: ``4B 12D U14A``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InputError
from ..faces.blendshapes import ARKIT_INDEX, ARKIT_NAMES, mirrored_name

#: Amount of a unit at each of FACS' five intensities; this pack's own values.
INTENSITIES: dict[str, float] = {"A": 0.15, "B": 0.3, "C": 0.5, "D": 0.75, "E": 1.0}

MAX_INTENSITY = 1.5
"""Largest intensity of a word; at 1 its units are those of the table."""

#: Unit -> blendshapes at full intensity. A trailing "*" means both sides.
UNITS: dict[int, dict[str, float]] = {
    1: {"browInnerUp": 1.0},
    2: {"browOuterUp*": 1.0},
    4: {"browDown*": 1.0},
    5: {"eyeWide*": 1.0},
    6: {"cheekSquint*": 1.0, "eyeSquint*": 0.4},
    7: {"eyeSquint*": 1.0},
    9: {"noseSneer*": 1.0},
    10: {"mouthUpperUp*": 1.0},
    12: {"mouthSmile*": 1.0},
    14: {"mouthDimple*": 1.0},
    15: {"mouthFrown*": 1.0},
    16: {"mouthLowerDown*": 1.0},
    17: {"mouthShrugLower": 1.0, "mouthShrugUpper": 0.3},
    18: {"mouthPucker": 1.0},
    20: {"mouthStretch*": 1.0},
    22: {"mouthFunnel": 1.0},
    23: {"mouthRollUpper": 0.4, "mouthRollLower": 0.4, "mouthPress*": 0.3},
    24: {"mouthPress*": 1.0},
    25: {"jawOpen": 0.1, "mouthLowerDown*": 0.3, "mouthUpperUp*": 0.2},
    26: {"jawOpen": 0.5},
    27: {"jawOpen": 0.9, "mouthFunnel": 0.1},
    28: {"mouthRollUpper": 1.0, "mouthRollLower": 1.0},
    29: {"jawForward": 1.0},
    30: {"jawLeft": 1.0},
    34: {"cheekPuff": 1.0},
    43: {"eyeBlink*": 1.0},
    61: {"eyeLookOutLeft": 1.0, "eyeLookInRight": 1.0},
    63: {"eyeLookUp*": 1.0},
    64: {"eyeLookDown*": 1.0},
}
#: Units that move something to the person's left; with R, to the right.
_TURNS = frozenset({30, 61})
_WRITTEN = re.compile(r"([LRU]?)(\d+)([A-E])")


@dataclass(frozen=True)
class UnitMove:
    """One action unit: ``amount`` 0..1, ``side`` "", "L", "R" or "U"."""

    unit: int
    amount: float
    side: str = ""


def parse_units(text: str) -> tuple[UnitMove, ...]:
    """Parse action units such as ``"6D 12D U14A"``.

    Raises:
        InputError: A unit is malformed or has no blendshape.
    """
    moves = []
    for written in text.split():
        match = _WRITTEN.fullmatch(written)
        if match is None or int(match[2]) not in UNITS:
            raise InputError(
                f"{written!r} is not an action unit with blendshapes",
                where=text,
                fix="Write a number and an intensity A to E, optionally after a side: 12C, U14A",
            )
        moves.append(UnitMove(int(match[2]), INTENSITIES[match[3]], match[1]))
    return tuple(moves)


def blendshapes_of(moves: tuple[UnitMove, ...], scale: float = 1.0, left: bool = True) -> Tensor:
    """Blendshapes [51] in 0..1 of action units.

    Where units move the same blendshape the strongest counts; they do not add up.

    Args:
        moves: The action units.
        scale: Factor on all amounts, 0 or more; the result is clamped to 1.
        left: Whether U means the person's left.
    """
    vector = torch.zeros(len(ARKIT_NAMES))
    for move in moves:
        side = move.side if move.side != "U" else ("L" if left else "R")
        for pattern, weight in UNITS[move.unit].items():
            for name in _names(pattern, move.unit, side):
                slot = ARKIT_INDEX[name]
                vector[slot] = max(float(vector[slot]), min(1.0, move.amount * weight * scale))
    return vector


def _names(pattern: str, unit: int, side: str) -> list[str]:
    if unit in _TURNS:
        # Mirroring swaps the eyes but keeps In and Out: the gaze is mirrored.
        return [mirrored_name(pattern) if side == "R" else pattern]
    if not pattern.endswith("*"):
        return [pattern]
    sides = {"": ("Left", "Right"), "L": ("Left",), "R": ("Right",)}[side]
    return [pattern[:-1] + word for word in sides]
