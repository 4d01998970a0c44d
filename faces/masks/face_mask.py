"""Masks of faces and heads from the maps of a segmentation network."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from .dilate import dilate_by_fraction

_GRID = 128
"""Masks are dilated on a square grid of this size and then resized to the image."""


def face_mask(part_logits: Tensor, height: int, width: int, *, grow: float = 0.0) -> Tensor:
    """Mask of the face with an even margin; 1 = redraw.

    Args:
        part_logits: [B, 10, h, w], class 0 = background (``faces.parts``).
        height, width: Of the mask in pixels.
        grow: Margin as a fraction of the face's diameter, that of the disc of equal area. 0.25
            takes in the hair and ears of most heads; below 0 shrinks the mask.

    Returns:
        [B, height, width] in 0..1; all 0 where there is no face.
    """
    return _on_image(_on_grid(part_logits).softmax(1)[:, :1] < 0.5, height, width, grow)


def head_mask(head_logit: Tensor, height: int, width: int, *, grow: float = 0.1) -> Tensor:
    """Mask of the head, hair and ears included, with an even margin; 1 = redraw.

    Arguments and result as of :func:`face_mask`, from ``head_logit`` [B, h, w], above 0 on the
    head; the margin gives room to another hair style or head pose.
    """
    return _on_image(_on_grid(head_logit[:, None]) > 0, height, width, grow)


def _on_grid(maps: Tensor) -> Tensor:
    return F.interpolate(maps.float(), size=(_GRID, _GRID), mode="bilinear")


def _on_image(inside: Tensor, height: int, width: int, grow: float) -> Tensor:
    mask = dilate_by_fraction(inside.float(), grow)
    return F.interpolate(mask, size=(height, width), mode="bilinear")[:, 0].clamp(0, 1)
