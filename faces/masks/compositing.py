"""Mixing two images by a mask: what is to be kept comes back bit for bit.

Masks say what to **keep**: 1 = base. Images are [B, C, H, W] floats in any range.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ...errors import InputError


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
    """Mix two images; where keep is 1 the base's values, where it is 0 the generated, exactly.

    Args:
        base, generated: [B, C, H, W].
        keep: [B or 1, 1, H, W] in 0..1.

    Raises:
        InputError: The sizes differ.
    """
    if base.shape[-2:] != generated.shape[-2:] or base.shape[-2:] != keep.shape[-2:]:
        sizes = [f"{t.shape[-1]}x{t.shape[-2]}" for t in (base, generated, keep)]
        raise InputError(
            f"base {sizes[0]}, generated image {sizes[1]} and mask {sizes[2]} differ in size",
            fix="Bring them to one size first",
        )
    mixed = keep * base + (1 - keep) * generated
    return torch.where(keep >= 1, base, torch.where(keep <= 0, generated, mixed))
