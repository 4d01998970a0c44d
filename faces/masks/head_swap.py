"""A new head where an old one was: the scene without the old head, and the mask of the new one."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..dnn import opencv
from .head_mask import head_mask

OLD_MARGIN = 0.08
"""Around the head that is taken out, as a share of its diameter: its edges are soft."""
NEW_MARGIN = 0.03
"""Around the head that is put in: as much as its seam needs to fade."""
_REACH = 1 / 32
"""How far around a pixel is looked for what to fill it with, as a share of the longer side."""


def swap(
    scenes: Tensor, before: Tensor, after: Tensor, drawn: Tensor, *, grow: float = NEW_MARGIN
) -> tuple[Tensor, Tensor]:
    """What a new head is put on, and how much of the generated image it is.

    A head needs more room while it is drawn than it takes in the end. Between its outline and the
    region's the scene is known, and where the old head was, a guess from its surroundings fits them
    better than what was drawn there.

    Args:
        scenes: [B, 3, H, W] in 0..1.
        before, after: Head logits [B, h, w] of the scenes and of the generated images; above 0 on
            the head with hair and ears.
        drawn: [B, H, W] in 0..1, 1 = was drawn anew.
        grow: Margin around the new head, as a share of its diameter.

    Returns:
        The scenes without their heads [B, 3, H, W], within ``drawn``; outside the old head they are
        the scenes, bit for bit. And the mask of the new head [B, H, W], nowhere more than
        ``drawn``. Where either head is not seen: the scene as it is, and all that was drawn.

    Raises:
        FacePackError: OpenCV is not installed.
    """
    size = drawn.shape[-2:]
    old = torch.minimum(drawn, head_mask(before, *size, grow=OLD_MARGIN).to(drawn))
    new = torch.minimum(drawn, head_mask(after, *size, grow=grow).to(drawn))
    seen = (new.amax((1, 2), keepdim=True) > 0) & (old.amax((1, 2), keepdim=True) > 0)
    return inpaint(scenes, torch.where(seen, old, 0)), torch.where(seen, new, drawn)


def inpaint(images: Tensor, mask: Tensor) -> Tensor:
    """Images whose masked part is guessed from what lies around it (Telea 2004, by OpenCV).

    Good for plain and slowly changing surroundings; patterns and edges are drawn out into rays.

    Args:
        images: [B, 3, H, W] in 0..1.
        mask: [B, H, W]; filled wherever it is above 0, unless nothing is left around it.

    Returns:
        [B, 3, H, W]; outside the mask the images' own values, bit for bit.

    Raises:
        FacePackError: OpenCV is not installed.
    """
    cv2 = opencv()
    reach = max(images.shape[-2:]) * _REACH
    made = []
    for image, hole in zip(images, mask > 0, strict=True):
        if not hole.any() or hole.all():
            made.append(image)
            continue
        shown = (image.clamp(0, 1) * 255).round().byte().movedim(0, -1).contiguous().cpu().numpy()
        guess = cv2.inpaint(shown, hole.cpu().numpy().astype(np.uint8), reach, cv2.INPAINT_TELEA)
        guess = torch.from_numpy(guess).to(image).movedim(-1, 0) / 255
        made.append(torch.where(hole, guess, image))
    return torch.stack(made)
