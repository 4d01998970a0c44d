"""Finding faces in very large images without copies of their size."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from .face import Face

LONGEST = 4096
"""Longest side in pixels of the images that analyzers get; larger ones are downscaled."""
_BAND = 16
"""Rows of the result that are computed at once."""


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


def upscale_face(face: Face, factor: int, image_size: tuple[int, int]) -> Face:
    """Convert a face of a downscaled image to pixels of the original of ``image_size``."""
    if factor == 1:
        return face
    left, top, right, bottom = (factor * value for value in face.box)
    return replace(
        face,
        image_size=image_size,
        box=(left, top, right, bottom),
        landmarks=face.landmarks * factor,
        five=None if face.five is None else face.five * factor,
    )
