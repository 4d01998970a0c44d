"""Dilating masks by an even margin."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def dilate(mask: Tensor, pixels: int) -> Tensor:
    """Dilate (or, below 0, erode) the white of [B, 1, H, W] by so many pixels on all sides."""
    if pixels < 0:
        return -dilate(-mask, -pixels)
    for step in range(pixels):
        # Square and cross in turn give an octagon: near enough to a disc, and cheap.
        wide = F.max_pool2d(mask, (1, 3), stride=1, padding=(0, 1))
        if step % 2:
            mask = F.max_pool2d(wide, (3, 1), stride=1, padding=(1, 0))
        else:
            mask = torch.maximum(wide, F.max_pool2d(mask, (3, 1), stride=1, padding=(1, 0)))
    return mask


def dilate_by_fraction(mask: Tensor, fraction: float) -> Tensor:
    """Dilate each mask of [B, 1, H, W] in proportion to its own size.

    Args:
        fraction: Of the mask's diameter, which is that of the disc of equal area; below 0 erodes.
    """
    return torch.cat(
        [dilate(one, round(fraction * diameter(float(one.sum())))) for one in mask.split(1)]
    )


def diameter(area: float) -> float:
    """Of the disc of this area."""
    return float((4 / torch.pi * torch.tensor(area)).sqrt())
