"""From where the head is seen to the mask of what is to be drawn anew, hair and ears included."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .face_mask import GRID, spread

PASTE_MARGIN = 0.08
"""Around the heads that are pasted: as much as the seam needs to fade."""


def head_mask(head_logit: Tensor, height: int, width: int, *, grow: float = 0.1) -> Tensor:
    """White where the head is, with an even margin around it.

    Args:
        head_logit: [B, h, w], above 0 on the head with hair and ears.
        height, width: Of the mask in pixels.
        grow: Margin around the head, as a share of the head's own diameter (of the disc of the
            same area); it gives room to another hair style or head turn.

    Returns:
        [B, height, width] in 0..1; all 0 where there is no head.
    """
    logits = F.interpolate(head_logit[:, None].float(), size=(GRID, GRID), mode="bilinear")
    masks = []
    for head in (logits > 0).float():
        diameter = float((4 / torch.pi * head.sum()).sqrt())
        masks.append(spread(head[None], round(grow * diameter)))
    return F.interpolate(torch.cat(masks), size=(height, width), mode="bilinear")[:, 0].clamp(0, 1)


def paste_mask(
    before: Tensor, after: Tensor, drawn: Tensor, *, grow: float = PASTE_MARGIN
) -> Tensor:
    """What of a region that was drawn anew is put into the scene: heads, and not what lies around.

    A new head needs more room while it is drawn than it takes in the end. Between its outline and
    the region's the scene is known, and better than any guess.

    Args:
        before, after: Head logits [B, h, w] of the scene and of the generated picture; above 0 on
            the head with hair and ears. The place of the old head has to be covered too.
        drawn: [B, H, W] in 0..1, 1 = was drawn anew.
        grow: Margin around either head, as a share of its diameter.

    Returns:
        [B, H, W] in 0..1, nowhere more than ``drawn``; all of it where either head is not seen.
    """
    old, new = (head_mask(logit, *drawn.shape[-2:], grow=grow) for logit in (before, after))
    seen = (new.amax((1, 2), keepdim=True) > 0) & (old.amax((1, 2), keepdim=True) > 0)
    return torch.where(seen, torch.minimum(drawn, torch.maximum(old, new)), drawn)
