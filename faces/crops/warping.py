"""Resampling images: by a similarity transform, and very large ones in bands."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .similarity import Similarity

#: Pixels of the downscaled image per pixel of the result, along a side: above 1, because the second
#: resampling blurs as well.
_OVERSAMPLING = 1.5
LONGEST = 4096
"""Longest side in pixels of the images that analyzers get; larger ones are downscaled."""
_BAND = 16
"""Rows of the result that are computed at once."""


def warp(
    image: Tensor,
    to_image: Similarity,
    height: int,
    width: int,
    *,
    outside: str = "border",
    smooth: bool = True,
) -> Tensor:
    """Resample an image by a similarity transform.

    Args:
        image: [C, H, W] floats.
        to_image: Transform from pixels of the result to pixels of the image.
        height, width: Size of the result in pixels.
        outside: Padding beyond the image: ``border``, ``reflection`` or ``zeros``.
        smooth: Bicubic, clamped to the range of the image; otherwise bilinear.

    Returns:
        [C, height, width]. When shrinking, the image is first downscaled with antialiasing.
    """
    x = image[None].float()
    full = torch.tensor([x.shape[-1], x.shape[-2]], dtype=torch.float32, device=x.device)
    if to_image.scale > _OVERSAMPLING:
        factor = _OVERSAMPLING / to_image.scale
        size = [max(1, round(side * factor)) for side in x.shape[-2:]]
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


def downscale(image: Tensor, longest: int = LONGEST) -> tuple[Tensor, int]:
    """Downscale an image by an integer factor until its longer side is at most ``longest`` pixels.

    It is read in bands, so that an image of gigabytes only needs memory for the smaller copy.

    Args:
        image: [C, H, W].
        longest: Longest side of the result in pixels.

    Returns:
        [C, ceil(H / factor), ceil(W / factor)] and the factor; the image itself and 1 if it fits.
    """
    height, width = image.shape[-2:]
    factor = -(-max(height, width) // longest)
    if factor == 1:
        return image, 1
    bands = image.split(_BAND * factor, dim=-2)
    small = [
        F.avg_pool2d(band[None].float(), factor, ceil_mode=True, count_include_pad=False)[0]
        for band in bands
    ]
    return torch.cat(small, -2), factor
