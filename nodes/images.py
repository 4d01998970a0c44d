"""Conversion between the host's images [B, H, W, C] and ours [B, 3, H, W]."""

from __future__ import annotations

from torch import Tensor

from ..errors import InputError


def channels_first(image: Tensor, where: str) -> Tensor:
    """IMAGE -> [B, 3, H, W] in 0..1; grey becomes RGB, an alpha channel is dropped.

    Raises:
        InputError: As :func:`as_rgb`.
    """
    return as_rgb(image, where).float().clamp(0, 1)


def checked_mask(mask: Tensor, where: str) -> Tensor:
    """MASK -> [B, H, W] in 0..1; 1 (white) is redrawn.

    Raises:
        InputError: The mask is empty or holds values outside 0..1.
    """
    mask = mask.reshape(-1, *mask.shape[-2:])
    if mask.numel() == 0:
        raise InputError("the mask is empty", where=where, fix="Connect a mask")
    if not bool(((mask >= 0) & (mask <= 1)).all()):
        raise InputError(
            "the mask has values outside 0..1",
            where=where,
            fix="Give a mask in which white (1) is redrawn and black (0) is kept",
        )
    return mask


def as_rgb(image: Tensor, where: str) -> Tensor:
    """IMAGE -> [B, 3, H, W] with its values as they are; a view wherever possible.

    Raises:
        InputError: The image is empty or holds NaN or infinity.
    """
    if image.numel() == 0:
        raise InputError("the image is empty", where=where, fix="Connect an image")
    if not bool(image.isfinite().all()):
        raise InputError(
            "the image holds values that are not numbers",
            where=where,
            fix="Check the node before: a model that overflows in fp16 gives such values",
        )
    rgb = image[..., :3] if image.shape[-1] >= 3 else image[..., :1].expand(*image.shape[:3], 3)
    return rgb.movedim(-1, 1)


def channels_last(images: Tensor) -> Tensor:
    """[B, 3, H, W] -> IMAGE on the CPU."""
    return images.movedim(1, -1).float().cpu()
