"""Masks of the faces on photographs, from part masks: what SFSR empties and draws anew."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ...faces.masks.dilate import dilate_by_fraction
from ..data.dataset import Sample
from ..data.views import Shape

MARGIN = 0.15
"""Width of the emptied margin around the face, as a fraction of the face's diameter."""


def face_mask(parts: Tensor, shape: Shape) -> Tensor:
    """The face with a margin, [B, 1, *shape], 1 = face, from part classes [B, 1, H, W]."""
    face = F.interpolate(at_least(parts, 1), shape, mode="nearest-exact")
    return unless_all(dilate_by_fraction(face, MARGIN), face)


def own_face_mask(sample: Sample) -> Tensor:
    """That of a sample [H, W], at the size of its image."""
    height, width = sample["image"].shape[-2:]
    return face_mask(sample["parts"][None, None], (height, width))[0, 0]


def at_least(parts: Tensor, first: int) -> Tensor:
    """1 where the part class is ``first`` or higher."""
    return (parts >= first).float()


def unless_all(mask: Tensor, smaller: Tensor) -> Tensor:
    """A mask [B, 1, H, W], replaced by the smaller one where it covers a whole image."""
    return torch.where(mask.amin((1, 2, 3), keepdim=True) > 0, smaller, mask)
