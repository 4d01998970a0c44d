"""Cutting a turned and scaled piece out of a picture."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .similarity import Similarity

#: How many pixels of the scaled-down picture meet one of the result, along a side: above 1, because
#: the second sampling blurs as well.
_OVERSAMPLING = 1.5


def warped(
    picture: Tensor,
    to_picture: Similarity,
    height: int,
    width: int,
    *,
    outside: str = "border",
    smooth: bool = True,
) -> Tensor:
    """Sample a picture along a turned grid.

    Args:
        picture: [C, H, W] floats.
        to_picture: From pixels of the result to pixels of the picture.
        height, width: Of the result.
        outside: What lies beyond the picture: ``border``, ``reflection`` or ``zeros``.
        smooth: Bicubic, held within the picture's own range; otherwise bilinear.

    Returns:
        [C, height, width]. Where the result is smaller than its place in the picture, the picture
        is scaled down first, so that fine hair does not flicker.
    """
    x = picture[None].float()
    full = torch.tensor([x.shape[-1], x.shape[-2]], dtype=torch.float32, device=x.device)
    if to_picture.scale > _OVERSAMPLING:
        share = _OVERSAMPLING / to_picture.scale
        size = [max(1, round(side * share)) for side in x.shape[-2:]]
        kind = "bicubic" if smooth else "bilinear"
        x = F.interpolate(x, size, mode=kind, antialias=True)
    matrix = to_picture.matrix().to(x.device, torch.float32)
    rows = torch.arange(height, device=x.device) + 0.5
    columns = torch.arange(width, device=x.device) + 0.5
    y, x_ = torch.meshgrid(rows, columns, indexing="ij")
    places = torch.stack([x_, y, torch.ones_like(x_)], -1) @ matrix.T
    grid = (2 * places / full - 1)[None]
    mode = "bicubic" if smooth else "bilinear"
    result = F.grid_sample(x, grid, mode=mode, padding_mode=outside, align_corners=False)
    if smooth:
        result = result.clamp(float(picture.min()), float(picture.max()))
    return result[0]
