"""What of an image is shown in training: whole or cropped, mirrored, in which shape.

Every view follows from the image's name and the number of the variant alone, so that views can be
computed once and kept.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ...faces.mirror import mirrored_landmarks

Shape = tuple[int, int]
"""Height and width."""
CELL = 64
"""Sides of images are multiples of this, in pixels: the UNet halves latents three times."""
SMALLEST_CROP = 0.8
"""Smallest side of a random crop, as a fraction of the image's."""
_LONGEST = 2.0
"""Largest ratio of the sides of a bucket."""


def bucket_shapes(size: int) -> tuple[Shape, ...]:
    """Shapes with sides in multiples of 64 px, at most ``size`` squared in area, by height."""
    found = {(size, size)}
    for long in range(size, 2 * size, CELL):
        short = size * size // long // CELL * CELL
        if short and long / short <= _LONGEST:
            found |= {(short, long), (long, short)}
    return tuple(sorted(found))


@dataclass(frozen=True)
class View:
    """A part of an image and its labels.

    image: Height and width of the image in pixels. box: Left, top, right, bottom in pixels.
    shape: Of the result in pixels.
    """

    image: Shape
    box: tuple[int, int, int, int]
    mirrored: bool
    shape: Shape

    def of_image(self, image: Tensor) -> Tensor:
        """[3, H, W] -> [3, *shape], in 0..1."""
        left, top, right, bottom = self.box
        part = image[None, :, top:bottom, left:right]
        part = F.interpolate(part, self.shape, mode="bilinear", antialias=True)[0].clamp(0, 1)
        return part.flip(-1) if self.mirrored else part

    def of_map(self, values: Tensor) -> Tensor:
        """A map [h, w] of the whole image -> the part's, of any size, not yet mirrored."""
        (height, width), (left, top, right, bottom) = self.image, self.box
        rows, columns = values.shape
        first_row, first_column = top * rows // height, left * columns // width
        last_row = max(first_row + 1, round(bottom * rows / height))
        last_column = max(first_column + 1, round(right * columns / width))
        return values[first_row:last_row, first_column:last_column]

    def of_points(self, points: Tensor, scheme: str) -> Tensor:
        """Landmarks [K, 2] as fractions of the image -> of the part; outside 0..1 if cut off."""
        (height, width), (left, top, right, bottom) = self.image, self.box
        if self.box != (0, 0, width, height):
            points = points * torch.tensor([width, height]) - torch.tensor([left, top])
            points = points / torch.tensor([right - left, bottom - top])
        return mirrored_landmarks(points, scheme) if self.mirrored else points


@dataclass(frozen=True)
class Views:
    """How the images of a data set are shown.

    size: Side of the images in pixels; with buckets the square root of their largest area.
    variants: Of each image: the first whole, others cropped at random around the face.
    flip: Whether every second variant is mirrored; the second one then is the whole image.
    buckets: Whether images keep their shape, to the nearest of :func:`bucket_shapes`, and are
        cropped to it; else they are stretched to squares.
    """

    size: int
    variants: int = 1
    flip: bool = True
    buckets: bool = False

    def shape(self, image: Shape) -> Shape:
        """The shape in which an image of this height and width is shown."""
        if not self.buckets:
            return self.size, self.size
        aspect = math.log(image[1] / image[0])
        return min(bucket_shapes(self.size), key=lambda s: abs(math.log(s[1] / s[0]) - aspect))

    def view(self, key: str, variant: int, image: Shape, points: Tensor | None = None) -> View:
        """A variant of an image.

        Args:
            key: The image's name. image: Its height and width.
            points: Landmarks [K, 2] as fractions of the image, which stay inside if possible.
        """
        shape = self.shape(image)
        height, width = image
        mirrored = self.flip and variant % 2 == 1
        high, wide = float(height), float(width)
        if self.buckets:
            high, wide = (
                min(high, width * shape[0] / shape[1]),
                min(wide, high * shape[1] / shape[0]),
            )
        across, down = (width - wide) / 2, (height - high) / 2
        if variant >= (2 if self.flip else 1):
            chance = random.Random(f"{key} {variant}")
            scale = chance.uniform(SMALLEST_CROP, 1)
            high, wide = scale * high, scale * wide
            across = chance.uniform(0, width - wide)
            down = chance.uniform(0, height - high)
        if points is not None:
            near, far = (points * torch.tensor([width, height])).aminmax(dim=0)
            across = _moved(across, wide, width, float(near[0]), float(far[0]))
            down = _moved(down, high, height, float(near[1]), float(far[1]))
        left, top = round(across), round(down)
        right = min(width, max(left + 1, round(across + wide)))
        bottom = min(height, max(top + 1, round(down + high)))
        return View(image, (left, top, right, bottom), mirrored, shape)


def _moved(start: float, length: float, whole: int, near: float, far: float) -> float:
    """A part's start, moved so that it holds ``near`` and ``far`` and stays in the image."""
    start = min(max(start, far - length), near)
    return min(max(start, 0.0), whole - length)
