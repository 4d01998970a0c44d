"""Helpers for painting: soft edges, mixing, lines, colours of the person."""

from __future__ import annotations

import torch
from torch import Tensor

from .face_geometry import FaceGeometry
from .palette import COLOURS

SOFT = 0.011  # half width of a painted edge, in the chart


def edge(distance: Tensor) -> Tensor:
    """Soft step: 1 where the signed distance is positive, 0 where it is negative."""
    return (distance / (2 * SOFT) + 0.5).clamp(0, 1)


def mix(colour: Tensor, amount: Tensor, paint: Tensor) -> Tensor:
    """Blend ``paint`` [3] or [N, 3] over ``colour`` [N, 3] with opacity ``amount`` [N]."""
    return colour + amount[:, None] * (paint - colour)


def rgb(red: int, green: int, blue: int) -> Tensor:
    """A colour [3] in 0..1 from 8-bit values."""
    return torch.tensor([red, green, blue], dtype=torch.float32) / 255


def line(distance: Tensor, width: float) -> Tensor:
    """Opacity of a soft line at a distance from it: a Gaussian."""
    return torch.exp(-((distance / width) ** 2))


def hair_colour(face: FaceGeometry) -> Tensor:
    """Colour of the hair, [3]."""
    return COLOURS["hair_color"][int(face.identity["hair_color"])]


def brow_colour(face: FaceGeometry) -> Tensor:
    """Colour of the brows, [3]: darker than the hair."""
    colour = hair_colour(face) * (0.62 if face.identity["hair_color"] > 0 else 0.9)
    return colour + 0.05
