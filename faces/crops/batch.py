"""Cropping all faces of a batch, and pasting the crops back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ...errors import InputError
from ..analyzers import check_image
from ..face import Face
from .crop import CropPlace, crop_place, cropped, pasted

Places = tuple[tuple[CropPlace, ...], ...]
"""For each image of a batch, where its crops were taken."""

#: Side of the crop around a face without points, in sides of its box: about what points would give.
AROUND_BOX = 2.0


def place_for_face(face: Face, size: int, padding: float = 0.0) -> CropPlace:
    """Where to crop a face: rotated upright if it has points, else around its box.

    Raises:
        InputError: Size or padding is out of range, or all points coincide.
    """
    if face.five is not None:
        return crop_place(face.five, face.image_size, size, padding)
    left, top, right, bottom = face.box
    # Upright points that give a square of this side and centre.
    half = AROUND_BOX * max(right - left, bottom - top) / 4
    x, y = (left + right) / 2, (top + bottom) / 2 - 0.1 * half
    unit = torch.tensor([[-1.0, 0], [1, 0], [0, 1], [-0.5, 2], [0.5, 2]])
    return crop_place(unit * (half / 2) + torch.tensor([x, y]), face.image_size, size, padding)


def crop_faces(
    images: Sequence[Tensor], faces: Iterable[Sequence[Face]], size: int, padding: float = 0.0
) -> tuple[Tensor, Places]:
    """Crop every face of every image.

    Args:
        images: [C, H, W] each, in 0..1.
        faces: The faces of each image.
        size: Side of the crops in pixels.
        padding: Added on each side, as a fraction of the square's side.

    Returns:
        [N, C, size, size] in the order of the images, and where the crops were taken. N is 0 if
        no image has a face.

    Raises:
        InputError: An image is invalid, its faces were found in an image of another size, or
            ``size`` or ``padding`` is out of range.
    """
    crops: list[Tensor] = []
    places: list[tuple[CropPlace, ...]] = []
    for image, some in zip(images, faces, strict=True):
        height, width = image.shape[-2:]
        for face in some:
            face.require_size(width, height)
        here = tuple(place_for_face(face, size, padding) for face in some)
        if here:
            check_image(image)
        crops += [cropped(image, place) for place in here]
        places.append(here)
    channels = images[0].shape[0]
    return torch.stack(crops) if crops else torch.zeros(0, channels, size, size), tuple(places)


def paste_crops(
    images: Tensor,
    crops: Tensor,
    places: Places,
    masks: Tensor | None = None,
    *,
    soft: float = 0.06,
    match_colours: bool = False,
    on_image: Callable[[], None] = lambda: None,
) -> Tensor:
    """Paste crops back into their images, whose pixels outside stay the same bit for bit.

    Args:
        images: [B, C, H, W], in the order of ``places``. Several crops for a single place give
            one image each.
        crops: [N, C, s, s] in the order of ``crop_faces``.
        places: Where they were taken. Without any place the crops are ignored.
        masks: [N or 1, h, w] on the crops, 1 = the new face; all but the border when left out.
        soft, match_colours: As for ``faces.crops.crop.pasted``.
        on_image: Called after every image (progress, interruption).

    Returns:
        [B, C, H, W], or [N, C, H, W] for several crops of one place.

    Raises:
        InputError: The numbers or sizes of images, crops and masks do not match.
    """
    expected = sum(map(len, places))
    if not expected:
        return images
    if len(places) == expected == 1 and len(crops) > 1:
        places = places * len(crops)
        expected = len(crops)
    if len(images) == 1:
        images = images.expand(len(places), -1, -1, -1)
    if len(images) != len(places) or len(crops) != expected:
        raise InputError(
            f"{len(crops)} crops cannot be put into {len(images)} images: {expected} faces were "
            f"cropped from {len(places)}",
            fix="Give the images the crops were taken from, and one crop per face",
        )
    if masks is not None:
        masks = _masks(masks, len(crops), crops.shape[-1])
    for crop in crops:
        check_image(crop)
    done, number = [], 0
    for image, here in zip(images, places, strict=True):
        result = image
        for place in here:
            mask = None if masks is None else masks[number]
            result = pasted(
                result, crops[number], place, mask, soft=soft, match_colours=match_colours
            )
            number += 1
        done.append(result)
        on_image()
    return torch.stack(done)


def _masks(masks: Tensor, count: int, side: int) -> Tensor:
    """[M, h, w] -> [count, side, side]."""
    if len(masks) not in (1, count):
        raise InputError(
            f"{len(masks)} masks for {count} crops", fix="Give one mask, or one for each crop"
        )
    if masks.shape[-2:] != (side, side):
        masks = F.interpolate(masks[:, None].float(), (side, side), mode="bilinear")[:, 0]
    return masks.clamp(0, 1).expand(count, -1, -1)
