"""Final composite in pixels: the base outside the face comes back bit for bit (ours, not A8).

Masks say what to **keep**: 1 = base. Pictures are [B, C, H, W] floats in any range.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels; right and bottom are outside."""


def feather(keep: Tensor, radius: float) -> Tensor:
    """Soften the border of a keep-mask towards the inside of the face only.

    What was kept wholly stays at exactly 1; within about ``radius`` pixels inside the face the
    mask falls smoothly to 0.

    Args:
        keep: [B, 1, H, W] in 0..1.
        radius: Pixels; 0 returns the mask unchanged.
    """
    reach = int(radius + 0.5)
    if reach < 1:
        return keep
    offsets = torch.arange(-reach, reach + 1, dtype=keep.dtype, device=keep.device)
    kernel = torch.exp(-0.5 * (offsets / (radius / 2)) ** 2)
    kernel = kernel / kernel.sum()
    soft = F.pad(keep, (reach, reach, reach, reach), mode="replicate")
    soft = F.conv2d(soft, kernel.view(1, 1, 1, -1))
    soft = F.conv2d(soft, kernel.view(1, 1, -1, 1))
    # At a straight border the blurred mask is one half: doubled, it meets the kept side at 1.
    return torch.maximum(keep, (2 * soft).clamp(max=1))


def composite(base: Tensor, generated: Tensor, keep: Tensor) -> Tensor:
    """Mix two pictures; where keep is 1 the base's values, where it is 0 the generated, exactly.

    Args:
        base, generated: [B, C, H, W].
        keep: [B or 1, 1, H, W] in 0..1.

    Raises:
        InputError: The sizes differ.
    """
    if base.shape[-2:] != generated.shape[-2:] or base.shape[-2:] != keep.shape[-2:]:
        sizes = [f"{t.shape[-1]}x{t.shape[-2]}" for t in (base, generated, keep)]
        raise InputError(
            f"base {sizes[0]}, generated picture {sizes[1]} and mask {sizes[2]} differ in size",
            fix="Bring them to one size first",
        )
    mixed = keep * base + (1 - keep) * generated
    return torch.where(keep >= 1, base, torch.where(keep <= 0, generated, mixed))


def paste_back(full: Tensor, crop: Tensor, keep: Tensor, box: Box) -> Tensor:
    """Put a generated crop back into the full picture; everything outside the face is untouched.

    Args:
        full: [B, C, H, W].
        crop: [B, C, h, w], resized to the box where it has another size.
        keep: Keep-mask of the crop [B or 1, 1, h, w], resized likewise.
        box: Where the crop was taken.

    Raises:
        InputError: The box is empty or leaves the picture.
    """
    left, top, right, bottom = box
    height, width = full.shape[-2:]
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise InputError(
            f"the crop box {box} does not lie in the {width}x{height} picture",
            fix="Give left, top, right, bottom inside the picture",
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
