"""How far each blendshape of 1 moves the drawn points of the face mesh, in centimetres.

Our own model, made for what the hint shows: lips, brows and the outline of the jaw. A movement is a
direction and a weight for each point, largest where the muscle pulls. All is described for the
person's left half, where x > 0, and mirrored.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .edges import (
    LEFT_BROW,
    LOWER_LIP_INSIDE,
    LOWER_LIP_OUTSIDE,
    OVAL,
    RIGHT_BROW,
    UPPER_LIP_INSIDE,
    UPPER_LIP_OUTSIDE,
)

#: Half the width of the mouth of the canonical face, and the height where its lips meet.
_HALF_MOUTH, _MOUTH_Y = 2.46, -4.3
#: The jaw's turn when it opens: degrees, and y and z of a point of its axis.
_JAW_DEGREES, _JAW_AXIS = 18.0, (-2.0, -3.0)


def fields(canonical: Tensor) -> dict[str, Tensor]:
    """Displacements [478, 3] of every blendshape that moves lips, brows or jaw, by name.

    Args:
        canonical: The canonical head [478, 3].
    """
    w = _Weights(canonical)
    both = {
        "browInnerUp": _along(w.brow_inside, 0.0, 0.75, 0.0),
        "jawOpen": _opened_jaw(canonical, w.jaw) + w.narrowed(0.12),
        "jawForward": _along(w.jaw, 0.0, 0.0, 0.9),
        "jawLeft": _along(w.jaw, 0.9, 0.0, 0.0),
        "mouthLeft": _along(w.mouth, 0.8, 0.0, 0.0),
        "mouthPucker": w.narrowed(0.42) + _along(w.mouth, 0.0, 0.0, 0.6) + w.thicker(0.12),
        "mouthFunnel": w.narrowed(0.25)
        + _along(w.mouth, 0.0, 0.0, 0.7)
        + _along(w.upper, 0.0, 0.3, 0.0)
        + _along(w.lower, 0.0, -0.45, 0.0),
        "mouthRollUpper": w.rolled_in(UPPER_LIP_OUTSIDE, UPPER_LIP_INSIDE),
        "mouthRollLower": w.rolled_in(LOWER_LIP_OUTSIDE, LOWER_LIP_INSIDE),
        "mouthShrugUpper": _along(w.upper, 0.0, 0.25, 0.15),
        "mouthShrugLower": _along(w.lower, 0.0, 0.35, 0.3) + _along(w.chin, 0.0, 0.35, 0.0),
    }
    left = {
        "browDown": _along(w.brow, -0.18, -0.5, 0.0),
        "browOuterUp": _along(w.brow_outside, 0.0, 0.6, 0.0),
        "mouthSmile": _along(w.corner, 0.8, 0.95, -0.45),
        "mouthFrown": _along(w.corner, 0.1, -0.7, -0.1),
        "mouthDimple": _along(w.corner, 0.45, 0.05, -0.35),
        "mouthStretch": _along(w.corner, 0.65, -0.35, -0.3),
        "mouthPress": w.thicker(-0.25) * w.left_half + _along(w.corner, 0.1, 0.1, -0.1),
        "mouthUpperUp": _along(w.upper_side, 0.0, 0.5, 0.0),
        "mouthLowerDown": _along(w.lower_side, 0.1, -0.5, 0.0),
    }
    mirrored = w.mirrored
    both["jawRight"], both["mouthRight"] = mirrored(both["jawLeft"]), mirrored(both["mouthLeft"])
    sides = {f"{name}Left": field for name, field in left.items()}
    return both | sides | {f"{name}Right": mirrored(field) for name, field in left.items()}


class _Weights:
    """How much each point [478, 1] of the canonical head takes part in a movement, 0..1."""

    def __init__(self, canonical: Tensor) -> None:
        self.points = canonical
        x, y = canonical[:, 0], canonical[:, 1]
        upper = _of(UPPER_LIP_OUTSIDE, UPPER_LIP_INSIDE)
        lower = _of(LOWER_LIP_OUTSIDE, LOWER_LIP_INSIDE)
        lips = torch.maximum(upper, lower)
        brows = _of(*LEFT_BROW, *RIGHT_BROW)
        #: 1 in the middle of the mouth, 0 at its corners.
        arch = (1 - (x / _HALF_MOUTH) ** 2).clamp(0, 1)[:, None]
        self.left_half = _smooth(0.5 + x / 1.6)
        self.mouth, self.upper, self.lower = lips, upper * arch, lower * arch
        self.corner = lips * _bell(x, _HALF_MOUTH, 1.35)
        self.upper_side = upper * arch.sqrt() * _bell(x, 1.0, 1.0)
        self.lower_side = lower * arch.sqrt() * _bell(x, 1.0, 1.0)
        self.chin = _of(OVAL) * _smooth((-6.0 - y) / 3.0)
        follows = upper * 0.45 * (1 - arch) + lower * (1 - upper) * (0.45 + 0.55 * arch)
        self.jaw = torch.maximum(follows, _of(OVAL) * _smooth((-0.5 - y) / 7.0))
        left = brows * (x > 0)[:, None]
        self.brow = left * (0.45 + 0.55 * _bell(x, 1.3, 1.8))
        self.brow_outside = left * _smooth((x - 1.5) / 2.2)
        self.brow_inside = brows * _bell(x.abs(), 1.2, 1.5)

    def narrowed(self, amount: float) -> Tensor:
        """Lips drawn towards the middle by a fraction of their distance."""
        field = torch.zeros_like(self.points)
        field[:, :1] = -amount * self.mouth * self.points[:, :1]
        return field

    def thicker(self, amount: float) -> Tensor:
        """Edges of the lips away from where the lips meet, in fractions of that distance."""
        outside = _of(UPPER_LIP_OUTSIDE, LOWER_LIP_OUTSIDE)
        field = torch.zeros_like(self.points)
        field[:, 1:2] = amount * outside * (self.points[:, 1:2] - _MOUTH_Y)
        return field

    def rolled_in(self, outside: tuple[int, ...], inside: tuple[int, ...]) -> Tensor:
        """The edge of a lip brought to its inner line."""
        field = torch.zeros_like(self.points)
        edge, line = list(outside[1:-1]), list(inside[1:-1])
        field[edge, 1:] = 0.6 * (self.points[line] - self.points[edge])[:, 1:]
        return field

    def mirrored(self, field: Tensor) -> Tensor:
        """The same on the other side."""
        flipped = self.points * torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)
        order = torch.cdist(flipped, self.points).argmin(1)
        return field[order] * torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)


def _along(weight: Tensor, x: float, y: float, z: float) -> Tensor:
    return weight * torch.tensor([x, y, z], dtype=torch.float64)


def _opened_jaw(points: Tensor, weight: Tensor) -> Tensor:
    y, z = points[:, 1] - _JAW_AXIS[0], points[:, 2] - _JAW_AXIS[1]
    c, s = math.cos(math.radians(_JAW_DEGREES)), math.sin(math.radians(_JAW_DEGREES))
    turned = torch.stack([torch.zeros_like(y), c * y - s * z - y, s * y + c * z - z], 1)
    return weight * turned


def _of(*paths: tuple[int, ...]) -> Tensor:
    """1 for the points of these paths, else 0: [478, 1]."""
    chosen = torch.zeros(478, 1, dtype=torch.float64)
    chosen[[index for path in paths for index in path]] = 1
    return chosen


def _bell(x: Tensor, middle: float, width: float) -> Tensor:
    return torch.exp(-(((x - middle) / width) ** 2))[:, None]


def _smooth(t: Tensor) -> Tensor:
    """0 below 0, 1 above 1, smooth between."""
    t = t.clamp(0, 1)[:, None]
    return t * t * (3 - 2 * t)
