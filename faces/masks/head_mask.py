"""From where the head is seen to the mask of what is to be drawn anew, hair and ears included."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .face_mask import GRID, dilate


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
        masks.append(dilate(head[None], round(grow * diameter)))
    return F.interpolate(torch.cat(masks), size=(height, width), mode="bilinear")[:, 0].clamp(0, 1)
