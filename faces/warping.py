"""Cutting a turned and scaled piece out of an image."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .similarity import Similarity

#: How many pixels of the scaled-down image meet one of the result, along a side: above 1, because
#: the second sampling blurs as well.
_OVERSAMPLING = 1.5


def warp(
    image: Tensor,
    to_image: Similarity,
    height: int,
    width: int,
    *,
    outside: str = "border",
    smooth: bool = True,
) -> Tensor:
    """Sample an image along a turned grid.

    Args:
        image: [C, H, W] floats.
        to_image: From pixels of the result to pixels of the image.
        height, width: Of the result.
        outside: What lies beyond the image: ``border``, ``reflection`` or ``zeros``.
        smooth: Bicubic, held within the image's own range; otherwise bilinear.

    Returns:
        [C, height, width]. Where the result is smaller than its place in the image, the image
        is scaled down first, so that fine hair does not flicker.
    """
    x = image[None].float()
    full = torch.tensor([x.shape[-1], x.shape[-2]], dtype=torch.float32, device=x.device)
    if to_image.scale > _OVERSAMPLING:
        share = _OVERSAMPLING / to_image.scale
        size = [max(1, round(side * share)) for side in x.shape[-2:]]
        kind = "bicubic" if smooth else "bilinear"
        x = F.interpolate(x, size, mode=kind, antialias=True)
    matrix = to_image.matrix().to(x.device, torch.float32)
    rows = torch.arange(height, device=x.device) + 0.5
    columns = torch.arange(width, device=x.device) + 0.5
    y, x_ = torch.meshgrid(rows, columns, indexing="ij")
    places = torch.stack([x_, y, torch.ones_like(x_)], -1) @ matrix.T
    grid = (2 * places / full - 1)[None]
    mode = "bicubic" if smooth else "bilinear"
    result = F.grid_sample(x, grid, mode=mode, padding_mode=outside, align_corners=False)
    if smooth:
        result = result.clamp(float(image.min()), float(image.max()))
    return result[0]
