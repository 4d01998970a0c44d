"""Cutting a turned and scaled piece out of a picture."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .similarity import Similarity


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
        [C, height, width]. Where the result is much smaller than its place in the picture, the
        picture is averaged down first, so that fine hair does not flicker.
    """
    factor = max(1, int(to_picture.scale))
    x = picture[None].float()
    if factor > 1:
        x = F.avg_pool2d(x, factor, ceil_mode=True)
    matrix = to_picture.matrix().to(x.device, torch.float32) / factor
    rows = torch.arange(height, device=x.device) + 0.5
    columns = torch.arange(width, device=x.device) + 0.5
    y, x_ = torch.meshgrid(rows, columns, indexing="ij")
    places = torch.stack([x_, y, torch.ones_like(x_)], -1) @ matrix.T
    size = torch.tensor([x.shape[-1], x.shape[-2]], device=x.device)
    grid = (2 * places / size - 1)[None]
    mode = "bicubic" if smooth else "bilinear"
    result = F.grid_sample(x, grid, mode=mode, padding_mode=outside, align_corners=False)
    if smooth:
        result = result.clamp(float(x.min()), float(x.max()))
    return result[0]
