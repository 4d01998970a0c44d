"""From parts of a face to the mask of what is to be drawn anew."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

GRID = 128
"""Masks are shaped on a square grid of this size and then stretched to the image."""


def face_mask(part_logits: Tensor, height: int, width: int, *, grow: float = 0.0) -> Tensor:
    """White where the face is, with an even margin around it.

    Args:
        part_logits: [B, 10, h, w], class 0 = background (``faces.parts``).
        height, width: Of the mask in pixels.
        grow: Margin around the face, as a share of the face's own diameter (0.25 takes in the
            hair and ears of a usual head, below 0 shrinks).

    Returns:
        [B, height, width] in 0..1; all 0 where there is no face.
    """
    logits = F.interpolate(part_logits.float(), size=(GRID, GRID), mode="bilinear")
    face = (logits.softmax(1)[:, 0] < 0.5).float()
    masks = [_with_margin(one[None, None], grow) for one in face]
    return F.interpolate(torch.cat(masks), size=(height, width), mode="bilinear")[:, 0].clamp(0, 1)


def _with_margin(mask: Tensor, grow: float) -> Tensor:
    """Grow [1, 1, G, G] by a share of its diameter: that of the disc of the same area."""
    diameter = float((4 / torch.pi * mask.sum()).sqrt())
    return dilate(mask, round(grow * diameter))


def dilate(mask: Tensor, pixels: int) -> Tensor:
    """Grow (or, below 0, shrink) the white of [B, 1, H, W] by so many pixels in all directions."""
    if pixels < 0:
        return 1 - dilate(1 - mask, -pixels)
    for step in range(pixels):
        # Square and cross in turn give an octagon: near enough to a disc, and cheap.
        wide = F.max_pool2d(mask, (1, 3), stride=1, padding=(0, 1))
        if step % 2:
            mask = F.max_pool2d(wide, (3, 1), stride=1, padding=(1, 0))
        else:
            mask = torch.maximum(wide, F.max_pool2d(mask, (3, 1), stride=1, padding=(1, 0)))
    return mask
