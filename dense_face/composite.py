"""Final composite in pixels: the base outside the face comes back bit for bit (ours, not A8).

Masks say what to **keep**: 1 = base. Images are [B, C, H, W] floats in any range.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from ..errors import InputError
from ..faces.masks.compositing import composite, feather

__all__ = ["Box", "composite", "feather", "paste_back"]

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels; right and bottom are outside."""


def paste_back(full: Tensor, crop: Tensor, keep: Tensor, box: Box) -> Tensor:
    """Put a generated crop back into the full image; everything outside the face is untouched.

    Args:
        full: [B, C, H, W].
        crop: [B, C, h, w], resized to the box where it has another size.
        keep: Keep-mask of the crop [B or 1, 1, h, w], resized likewise.
        box: Where the crop was taken.

    Raises:
        InputError: The box is empty or leaves the image.
    """
    left, top, right, bottom = box
    height, width = full.shape[-2:]
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise InputError(
            f"the crop box {box} does not lie in the {width}x{height} image",
            fix="Give left, top, right, bottom inside the image",
        )
    size = (bottom - top, right - left)
    if crop.shape[-2:] != size:
        crop = F.interpolate(crop, size, mode="bicubic", antialias=True)
        crop = crop.clamp(float(full.min()), float(full.max()))
    if keep.shape[-2:] != size:
        keep = F.interpolate(keep, size, mode="bilinear", antialias=True).clamp(0, 1)
    result = full.clone()
    inner = full[..., top:bottom, left:right]
    result[..., top:bottom, left:right] = composite(inner, crop, keep)
    return result
