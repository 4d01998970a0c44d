"""Mixing two images by a mask. Where the mask is 0, the base comes back bit for bit.

Masks are the host's: 1 = redraw, 0 = keep the base. Images are [B, C, H, W] floats in any range.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ...errors import InputError


def blend(base: Tensor, generated: Tensor, mask: Tensor) -> Tensor:
    """The base where the mask [B or 1, 1, H, W] is 0, the generated image or latent where it is 1.

    The weights add up to exactly 1 in floating point, so equal values stay what they are.
    """
    return _blend(base, generated, 1 - mask)


def feather(mask: Tensor, radius: float) -> Tensor:
    """Soften the border of a mask inwards: what is 0 stays exactly 0.

    Args:
        mask: [B, 1, H, W] in 0..1.
        radius: Pixels over which the mask rises smoothly from its border to 1; below 0.5 the mask
            stays as it is.
    """
    return 1 - _feathered(1 - mask, radius)


def composite(base: Tensor, generated: Tensor, mask: Tensor, radius: float = 0.0) -> Tensor:
    """Mix two images; where the feathered mask is 0 or 1 the values are exactly those of one image.

    Args:
        base, generated: [B, C, H, W].
        mask: [B or 1, 1, H, W] in 0..1.
        radius: Of the feather, in pixels, as for :func:`feather`.

    Raises:
        InputError: The sizes differ.
    """
    if base.shape[-2:] != generated.shape[-2:] or base.shape[-2:] != mask.shape[-2:]:
        sizes = [f"{t.shape[-1]}x{t.shape[-2]}" for t in (base, generated, mask)]
        raise InputError(
            f"base {sizes[0]}, generated image {sizes[1]} and mask {sizes[2]} differ in size",
            fix="Bring them to one size first",
        )
    weight = _feathered(1 - mask, radius)
    # Selected and not multiplied: a NaN in the unused image must not come through.
    mixed = torch.where(weight <= 0, generated, _blend(base, generated, weight))
    return torch.where(weight >= 1, base, mixed)


def _blend(base: Tensor, generated: Tensor, weight: Tensor) -> Tensor:
    """``weight`` is the base's."""
    return weight * base + (1 - weight) * generated


def _feathered(weight: Tensor, radius: float) -> Tensor:
    """The base's weight, raised near the mask's border and nowhere lowered."""
    size = int(radius + 0.5)
    if size < 1:
        return weight
    offsets = torch.arange(-size, size + 1, dtype=weight.dtype, device=weight.device)
    kernel = torch.exp(-0.5 * (offsets / (radius / 2)) ** 2)
    kernel = kernel / kernel.sum()
    soft = F.pad(weight, (size, size, size, size), mode="replicate")
    soft = F.conv2d(soft, kernel.view(1, 1, 1, -1))
    soft = F.conv2d(soft, kernel.view(1, 1, -1, 1))
    # At a straight border the blurred weight is one half: doubled, it meets the base at 1.
    return torch.maximum(weight, (2 * soft).clamp(max=1))
