"""Conversion between the host's images [B, H, W, C] and ours [B, 3, H, W]."""

from __future__ import annotations

import folder_paths
from comfy_api.latest import io, ui
from torch import Tensor

from ..errors import InputError


def channels_first(image: Tensor, where: str) -> Tensor:
    """IMAGE -> [B, 3, H, W] in 0..1; grey becomes RGB, an alpha channel is dropped.

    Raises:
        InputError: As :func:`as_rgb`.
    """
    return as_rgb(image, where).float().clamp(0, 1)


OVERSHOOT = 0.3
"""By how much a mask may leave 0..1, as blurring and resizing (bicubic, Lanczos) let it."""


def checked_mask(mask: Tensor, where: str) -> Tensor:
    """MASK -> float32 [B, H, W], clamped to 0..1; 1 (white) is redrawn.

    Raises:
        InputError: The mask is empty or holds values farther outside 0..1 than :data:`OVERSHOOT`.
    """
    if mask.numel() == 0:
        raise InputError("the mask is empty", where=where, fix="Connect a mask")
    mask = mask.reshape(-1, *mask.shape[-2:]).float()
    low, high = (float(end) for end in mask.aminmax())
    if low >= 0 and high <= 1:
        return mask
    # Negated: NaN fails every comparison.
    if not (low >= -OVERSHOOT and high <= 1 + OVERSHOOT):
        raise InputError(
            "the mask has values outside 0..1",
            where=where,
            fix="Give a mask in which white (1) is redrawn and black (0) is kept",
        )
    return mask.clamp(0, 1)


def as_rgb(image: Tensor, where: str) -> Tensor:
    """IMAGE -> [B, 3, H, W] with its values as they are; a view wherever possible.

    Raises:
        InputError: It is empty, of another shape, not of floats, or holds NaN or infinity.
    """
    if image.numel() == 0:
        raise InputError("the image is empty", where=where, fix="Connect an image")
    if image.ndim != 4 or not image.is_floating_point():
        raise InputError(
            f"the image has the shape {list(image.shape)} and holds {image.dtype}",
            where=where,
            fix="Connect an image of the host, [batch, height, width, channels] in 0..1",
        )
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


def preview_image(images: Tensor, node: type[io.ComfyNode]) -> ui.PreviewImage:
    """IMAGE -> what is shown under a node; the host writes it into its temporary folder.

    Raises:
        InputError: It cannot be written there.
    """
    try:
        return ui.PreviewImage(images, cls=node)
    except OSError as error:
        raise InputError(
            f"the preview cannot be written: {error.strerror or error}",
            where=folder_paths.get_temp_directory(),
            fix="Make room on the disk, or start ComfyUI with another --temp-directory",
        ) from error


def common_count(where: str, **batches: Tensor) -> int:
    """The number of images in batches that go together: each has that many, or one for all.

    Args:
        where: Name of the node.
        batches: By the names of the node's inputs.

    Raises:
        InputError: The numbers do not go together.
    """
    counts = {name: len(batch) for name, batch in batches.items()}
    count = max(counts.values())
    if set(counts.values()) - {1, count}:
        each = [f"{number} in {name}" for name, number in counts.items()]
        raise InputError(
            f"the batches do not go together: {', '.join(each[:-1])} and {each[-1]}",
            where=where,
            fix="Give as many of each, or one for all",
        )
    return count
