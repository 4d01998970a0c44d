"""Aligning a face to the 112 × 112 template that face recognisers are trained on."""

from __future__ import annotations

import torch
from torch import Tensor

from .similarity import Similarity, fit_similarity
from .warping import warp

ALIGNED_SIZE = 112
#: ArcFace's template (docs/reference/libraries.md 8): eyes, nose, mouth corners. Published with the
#: centre of the first pixel at (0, 0), here at (0.5, 0.5).
TEMPLATE = 0.5 + torch.tensor(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655],
     [70.7299, 92.2041]]
)  # fmt: skip


def alignment(five: Tensor, size: int = ALIGNED_SIZE) -> Similarity:
    """The transform from pixels of the image to pixels of the aligned face.

    Args:
        five: [5, 2] pixels: eyes, nose tip, mouth corners (``faces.face``).
        size: Side of the aligned face in pixels.

    Raises:
        InputError: The points are not finite, or all coincide.
    """
    return fit_similarity(five, TEMPLATE * (size / ALIGNED_SIZE))


def align_face(image: Tensor, five: Tensor, size: int = ALIGNED_SIZE) -> Tensor:
    """Rotate, scale and crop a face to the template.

    Args:
        image: [C, H, W].
        five: [5, 2] pixels, as for :func:`alignment`.
        size: Side of the result in pixels.

    Returns:
        [C, size, size], 0 outside of the image.

    Raises:
        InputError: As for :func:`alignment`.
    """
    back = alignment(five, size).inverse()
    return warp(image, back, size, size, outside="zeros", smooth=False)
