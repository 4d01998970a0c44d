"""Cropping a face upright at any size, and pasting the changed crop back.

The crop is the oriented square of FFHQ (docs/reference/dense_face.md A9). Its direction follows the
eyes and the mouth, its side is twice the larger of 2 x the distance of the eyes and 1.8 x the
distance from eyes to mouth, and its centre lies a tenth of the latter below the eyes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import InputError
from ..masks.compositing import composite, feather
from .similarity import Similarity, fit_similarity
from .warping import warp

SMALLEST, LARGEST = 16, 4096
"""Sides of a crop in pixels."""
_MOST_GAIN = 1.25


@dataclass(frozen=True, eq=False)
class CropPlace:
    """Where a crop was taken, as needed to paste it back.

    to_image: Transform from pixels of the crop to pixels of the image.
    size: Side of the crop in pixels.
    image_size: Width and height of the image.
    """

    to_image: Similarity
    size: int
    image_size: tuple[int, int]

    def quad(self) -> Tensor:
        """The crop's corners in the image, [4, 2]: top left and right, bottom right and left."""
        s = float(self.size)
        return self.to_image(torch.tensor([[0, 0], [s, 0], [s, s], [0, s]]))

    def points_in_crop(self, points: Tensor) -> Tensor:
        """Convert points [N, 2] from pixels of the image to pixels of the crop."""
        return self.to_image.inverse()(points)


def crop_place(
    five: Tensor, image_size: tuple[int, int], size: int, padding: float = 0.0
) -> CropPlace:
    """The oriented square around a face.

    Args:
        five: [5, 2] pixels: eyes, nose, mouth corners.
        image_size: Width and height of the image.
        size: Side of the crop in pixels.
        padding: Added on each side, as a fraction of the square's side (0.25: half as large again).

    Raises:
        InputError: Size or padding is out of range, or all points coincide.
    """
    if not SMALLEST <= size <= LARGEST:
        raise InputError(
            f"a crop of {size} px is out of range", fix=f"Use {SMALLEST} to {LARGEST} px"
        )
    if not -0.4 <= padding <= 4:
        raise InputError(f"the padding {padding} is out of range", fix="Use -0.4 to 4")
    p = five.double()
    eyes, mouth = p[:2].mean(0), p[3:].mean(0)
    across, down = p[1] - p[0], mouth - eyes
    # The eyes alone are unreliable in a profile, so the mouth counts as well.
    axis = across + torch.stack([down[1], -down[0]])
    half = max(2 * float(across.norm()), 1.8 * float(down.norm())) * (1 + 2 * padding)
    if not (float(axis.norm()) > 0 and half > 1):  # also catches NaN
        raise InputError(
            "the face's points all coincide", fix="Use another face, or give other points"
        )
    x = axis / axis.norm() * half
    y = torch.stack([-x[1], x[0]])
    centre = eyes + 0.1 * down
    quad = torch.stack([centre - x - y, centre + x - y, centre + x + y, centre - x + y])
    corners = torch.tensor([[0, 0], [size, 0], [size, size], [0, size]])
    return CropPlace(fit_similarity(corners, quad), size, image_size)


def cropped(image: Tensor, place: CropPlace) -> Tensor:
    """Crop an image [C, H, W] to [C, size, size], reflected beyond its edges.

    Raises:
        InputError: The place belongs to an image of another size.
    """
    _check_size(image, place)
    return warp(image, place.to_image, place.size, place.size, outside="reflection")


def pasted(
    image: Tensor,
    crop: Tensor,
    place: CropPlace,
    mask: Tensor | None = None,
    *,
    soft: float = 0.06,
    match_colours: bool = False,
) -> Tensor:
    """Put a changed crop back into its image.

    Args:
        image: [C, H, W], the whole image.
        crop: [C, s, s] of any size; place.size is what it is stretched to.
        place: Where it was taken.
        mask: [s, s] in 0..1 on the crop, 1 = the crop, 0 = keep the image; the whole crop if None.
            A border of ``soft`` is kept in any case, so that the crop's own edge does not show.
        soft: Width of the transition inside the mask, as a fraction of the crop's side.
        match_colours: Match the crop's colours to the image's over the kept part (or, if
            nothing is kept, over the whole).

    Returns:
        [C, H, W]; every value outside the mask is that of ``image``, bit for bit.

    Raises:
        InputError: Sizes or channels do not fit.
    """
    _check_size(image, place)
    if crop.ndim != 3 or crop.shape[0] != image.shape[0] or crop.shape[1] != crop.shape[2]:
        raise InputError(
            f"the crop has shape {list(crop.shape)}, the image {list(image.shape)}",
            fix="Give a square crop with as many channels as the image",
        )
    side = crop.shape[-1]
    to_image, factor = place.to_image, place.size / side
    to_image = Similarity(to_image.scale * factor, to_image.rotation, to_image.shift)
    if mask is not None and mask.shape != (side, side):
        raise InputError(
            f"the mask has shape {list(mask.shape)}, the crop {list(crop.shape[1:])}",
            fix="Bring the mask to the size of the crop",
        )
    border = min(side // 4, max(1, round(soft * side)))
    inner = torch.zeros(side, side).to(crop)
    inner[border:-border, border:-border] = 1
    mask = inner if mask is None else torch.minimum(inner, mask.to(crop))
    if match_colours:
        before = warp(image, to_image, side, side, outside="reflection")
        crop = with_colours_of(crop, before, mask)
    mask = feather(mask[None, None], soft * side)[0]
    left, top, right, bottom = _bounds(place)
    if left >= right or top >= bottom:
        return image.clone()
    corner = torch.tensor([left, top], dtype=torch.float64)
    back = to_image.inverse()
    back = Similarity(back.scale, back.rotation, back(corner[None])[0])
    height, width = bottom - top, right - left
    changed = warp(crop, back, height, width)
    mask = warp(mask, back, height, width, outside="zeros", smooth=False)
    result = image.clone()
    base = image[None, :, top:bottom, left:right]
    mixed = composite(base, changed[None].to(base), mask[None].to(base))
    result[:, top:bottom, left:right] = mixed[0]
    return result


def with_colours_of(crop: Tensor, reference: Tensor, mask: Tensor) -> Tensor:
    """Scale and shift each channel of a crop so that the kept part looks as in ``reference``.

    Args:
        crop, reference: [C, s, s] of the same place.
        mask: [s, s], 1 = redrawn; colours are compared where it is below one half, or over the
            whole crop where it never is.

    Returns:
        [C, s, s] in the crop's own range; contrast changes by a quarter at most.
    """
    chosen = mask < 0.5
    if not bool(chosen.any()):
        chosen = torch.ones_like(chosen)
    ours, theirs = crop[:, chosen].double(), reference[:, chosen].double()
    gain = (theirs.std(1, correction=0) + 1e-6) / (ours.std(1, correction=0) + 1e-6)
    gain = gain.clamp(1 / _MOST_GAIN, _MOST_GAIN)
    shift = theirs.mean(1) - gain * ours.mean(1)
    matched = crop.double() * gain[:, None, None] + shift[:, None, None]
    low, high = min(0.0, float(crop.min())), max(1.0, float(crop.max()))
    return matched.clamp(low, high).to(crop)


def _bounds(place: CropPlace) -> tuple[int, int, int, int]:
    width, height = place.image_size
    quad = place.quad()
    left, top = (int(v) for v in quad.min(0).values.floor())
    right, bottom = (int(v) for v in quad.max(0).values.ceil())
    return max(0, left), max(0, top), min(width, right), min(height, bottom)


def _check_size(image: Tensor, place: CropPlace) -> None:
    height, width = image.shape[-2:]
    if (width, height) != place.image_size:
        made = "x".join(map(str, place.image_size))
        raise InputError(
            f"the crop belongs to an image of {made} px, this one has {width}x{height}",
            fix="Connect the image that the crop was taken from",
        )
