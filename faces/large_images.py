"""Looking at very large images without copies of their size."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from .face import Face

LONGEST = 4096
"""Faces are looked for in images of at most this side, and found to a pixel of those."""
_BAND = 16
"""Rows of the result that are made at once."""


def downscale(image: Tensor, longest: int = LONGEST) -> tuple[Tensor, int]:
    """An image [C, H, W] made smaller by a whole factor, and that factor; 1 for usual ones.

    It is read in bands, so that an image of gigabytes needs only memory for its smaller copy.
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
    """A face found in a reduced image, in pixels of the image itself."""
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
