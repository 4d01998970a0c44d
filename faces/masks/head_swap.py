"""Replacing a head: the scene without the old head, and the mask of the new one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ..dnn import opencv
from ..pixels import to_array

OLD_MARGIN = 0.08
"""Margin around the head that is removed, as a fraction of its diameter: its edges are soft."""
NEW_MARGIN = 0.03
"""Margin around the new head, as a fraction of its diameter: enough for the seam to fade."""
_INPAINT_RADIUS = 1 / 32
"""Radius of the neighbourhood that a pixel is inpainted from, as a fraction of the longer side."""


def swap(
    scenes: Tensor,
    before: Tensor,
    after: Tensor,
    mask: Tensor,
    on_image: Callable[[], None] = lambda: None,
) -> tuple[Tensor, Tensor]:
    """The scenes without their old heads, and the masks of the new heads.

    A head needs more room while it is generated than it takes in the end. The redrawn pixels
    outside the new head are dropped: the scene is known there, and inpainting what the old head
    covered fits the scene better than what the network drew.

    Args:
        scenes: [B, 3, H, W] in 0..1.
        before, after: Masks [B, H, W] of the heads in the scenes and in the generated images,
            dilated by :data:`OLD_MARGIN` and about :data:`NEW_MARGIN`; 0 where there is no head.
        mask: [B, H, W] in 0..1, 1 = was redrawn.
        on_image: Called after every image (progress, interruption).

    Returns:
        The scenes without their heads [B, 3, H, W], inpainted only where ``mask`` allows it and
        bit for bit the scenes elsewhere; and the masks of the new heads [B, H, W], nowhere above
        ``mask``. Where either head is missing: the scene and ``mask`` as they are.

    Raises:
        FacePackError: OpenCV is not installed.
    """
    old = torch.minimum(mask, before.to(mask))
    new = torch.minimum(mask, after.to(mask))
    found = (new.amax((1, 2), keepdim=True) > 0) & (old.amax((1, 2), keepdim=True) > 0)
    emptied = inpaint(scenes, torch.where(found, old, 0), on_image)
    return emptied, torch.where(found, new, mask)


def inpaint(images: Tensor, mask: Tensor, on_image: Callable[[], None] = lambda: None) -> Tensor:
    """Fill the masked part of images from its surroundings (Telea 2004, by OpenCV).

    Works on plain and slowly changing surroundings; patterns and edges are smeared into rays.

    Args:
        images: [B, 3, H, W] in 0..1.
        mask: [B, H, W]; inpainted wherever it is above 0, unless that is the whole image.
        on_image: As for :func:`swap`.

    Returns:
        [B, 3, H, W]; outside the mask the images' own values, bit for bit.

    Raises:
        FacePackError: OpenCV is not installed.
    """
    cv2 = opencv()
    radius = max(images.shape[-2:]) * _INPAINT_RADIUS
    made = []
    for image, hole in zip(images, mask > 0, strict=True):
        if hole.any() and not hole.all():
            guess = cv2.inpaint(
                to_array(image), hole.cpu().numpy().astype(np.uint8), radius, cv2.INPAINT_TELEA
            )
            guess = torch.from_numpy(guess).to(image).movedim(-1, 0) / 255
            image = torch.where(hole, guess, image)
        made.append(image)
        on_image()
    return torch.stack(made)
