"""Closing and opening the lids: each moves along the line to the other one.

Amounts are fractions of the person's own gap, so that any eye closes and no lids cross.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from .edges import LEFT_LOWER_LID, LEFT_UPPER_LID, RIGHT_LOWER_LID, RIGHT_UPPER_LID

_EYES = {
    "Left": (LEFT_UPPER_LID, LEFT_LOWER_LID),
    "Right": (RIGHT_UPPER_LID, RIGHT_LOWER_LID),
}
#: Fraction of the gap by which the upper and the lower lid close at a blendshape of 1 (ours).
_CLOSED = {
    "eyeBlink": (0.88, 0.07),
    "eyeSquint": (0.12, 0.25),
    "eyeWide": (-0.28, -0.04),
    "eyeLookDown": (0.28, -0.1),
    "eyeLookUp": (-0.25, 0.1),
}
LID_NAMES = tuple(f"{name}{side}" for name in _CLOSED for side in _EYES)
"""The blendshapes that move lids."""
_NARROWEST, _NARROWEST_MEASURED = 0.04, 0.3
"""Least fraction of the gap that is left, and that a measured face is taken to have left."""


def close_lids(points: Tensor, values: Mapping[str, float]) -> Tensor:
    """Points [478, 3] of a face with open lids -> with lids as the blendshapes have them."""
    return _lids(points, values, _NARROWEST, undo=False)


def open_lids(points: Tensor, values: Mapping[str, float]) -> Tensor:
    """Undo :func:`close_lids`; from an eye that is almost closed only as far as can be measured."""
    return _lids(points, values, _NARROWEST_MEASURED, undo=True)


def _lids(points: Tensor, values: Mapping[str, float], least: float, *, undo: bool) -> Tensor:
    moved = points.clone()
    for side, (upper, lower) in _EYES.items():
        down, up = (
            sum(values.get(name + side, 0.0) * part[lid] for name, part in _CLOSED.items())
            for lid in (0, 1)
        )
        left = 1 - down - up
        if left < least:
            down, up = (amount * (1 - least) / (1 - left) for amount in (down, up))
        mixed = torch.tensor([[1 - down, down], [up, 1 - up]], dtype=torch.float64)
        if undo:
            mixed = torch.linalg.inv(mixed)
        # Without the corners, which both lids share.
        lids = torch.stack([points[list(lid[1:-1])] for lid in (upper, lower)])
        for lid, place in zip(
            (upper, lower), torch.einsum("ij,jnk->ink", mixed, lids), strict=True
        ):
            moved[list(lid[1:-1])] = place
    return moved
