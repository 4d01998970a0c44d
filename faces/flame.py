"""FLAME's numbers of an expression: their order and ranges, as SMIRK estimates them.

    expression 50   FLAME 2020 coefficients; 1 is one standard deviation
    eyelids 2       the person's left, right; 0 open, 1 closed
    jaw 3           rotation about x (opening, >= 0), y and z (within 0.2), in radians

All zeros is the neutral face. Source: docs/reference/published_weights.md A6.
"""

from __future__ import annotations

import torch
from torch import Tensor

FLAME = "smirk/em1"
"""Name of these numbers' encoder in an expression."""
COEFFICIENTS, LIDS, JAW = 50, 2, 3
COUNT = COEFFICIENTS + LIDS + JAW
_JAW_SIDE = 0.2


def within_range(numbers: Tensor) -> Tensor:
    """Numbers [..., 55] with eyelids and jaw clamped; the coefficients have no range."""
    expression, lids, jaw = numbers.split([COEFFICIENTS, LIDS, JAW], -1)
    return torch.cat([expression, lids.clamp(0, 1), jaw_within_range(jaw)], -1)


def jaw_within_range(jaw: Tensor) -> Tensor:
    """The jaw's rotation [..., 3], clamped."""
    opening, sides = jaw.split([1, JAW - 1], -1)
    return torch.cat([opening.clamp(min=0), sides.clamp(-_JAW_SIDE, _JAW_SIDE)], -1)
