"""FACS action units as blendshapes.

Which blendshape stands for which unit follows the units' names (FACS, Ekman, Friesen and Hager
2002; ARKit's ARFaceAnchor.BlendShapeLocation); the amounts are the authors' own.

Units are written as in FACS: a number, an intensity A to E, and where only one side moves, L or R
before it (the person's side), or U for the side that the seed chooses: ``4B 12D U14A``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InputError
from ..faces.blendshapes import ARKIT_INDEX, ARKIT_NAMES, mirrored_name

#: How far a unit goes at each of FACS' five intensities; of the authors.
INTENSITIES: dict[str, float] = {"A": 0.15, "B": 0.3, "C": 0.5, "D": 0.75, "E": 1.0}

#: Unit to blendshapes at its full intensity. A trailing "*" stands for both sides.
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
#: Units that turn something to the person's left; R turns it to the right.
_TURNS = frozenset({30, 61})
_WRITTEN = re.compile(r"([LRU]?)(\d+)([A-E])")


@dataclass(frozen=True)
class UnitMove:
    """One action unit as far as it goes: ``side`` is "", "L", "R" or "U"; ``amount`` 0..1."""

    unit: int
    amount: float
    side: str = ""


def parse_units(text: str) -> tuple[UnitMove, ...]:
    """``"6D 12D U14A"`` -> its units.

    Raises:
        InputError: Something in it is no unit, or one that has no blendshape.
    """
    moves = []
    for written in text.split():
        match = _WRITTEN.fullmatch(written)
        if match is None or int(match[2]) not in UNITS:
            raise InputError(
                f"{written!r} is no action unit that faces here can make",
                where=text,
                fix="Write a number, an intensity A to E and perhaps a side before it: 12C, U14A",
            )
        moves.append(UnitMove(int(match[2]), INTENSITIES[match[3]], match[1]))
    return tuple(moves)


def blendshapes_of(moves: tuple[UnitMove, ...], scale: float = 1.0, left: bool = True) -> Tensor:
    """Blendshapes [51] in 0..1 of action units.

    Units that move the same place do not add: the strongest counts.

    Args:
        scale: Times the amount of every unit, 0 or more; the result stays within 1.
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
        # The eyes swap sides and keep In and Out: the same gaze, mirrored.
        return [mirrored_name(pattern) if side == "R" else pattern]
    if not pattern.endswith("*"):
        return [pattern]
    sides = {"": ("Left", "Right"), "L": ("Left",), "R": ("Right",)}[side]
    return [pattern[:-1] + word for word in sides]
