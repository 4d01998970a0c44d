"""Drawing what was found into images: numbered boxes, landmarks, the head's axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .face import Face
from .head_pose import matrix_from_zyx
from .large_images import downscale

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

Colour = tuple[int, int, int]

CHOSEN: Colour = (255, 204, 0)
LEFT_OUT: Colour = (150, 150, 150)
_INK: Colour = (20, 20, 20)
_DOTS: Colour = (0, 220, 255)
#: X (to the head's side), Y (chin), Z (nose), as in ``docs/conventions.md``.
_AXES: tuple[Colour, ...] = ((230, 40, 40), (40, 190, 60), (60, 110, 255))

#: Drawn larger and scaled down for smooth edges, up to this side of the image in pixels.
_FINE_UP_TO = 1024
_FINE = 2
_SMALLEST_PREVIEW, _LARGEST_PREVIEW = 512, 1024


@dataclass(frozen=True)
class DrawOptions:
    """What is drawn of each face, where it is known."""

    boxes: bool = True
    numbers: bool = True
    landmarks: bool = True
    pose: bool = True


def draw_faces(
    image: Tensor,
    faces: Sequence[Face],
    numbers: Sequence[int],
    show: DrawOptions | None = None,
    *,
    chosen: Sequence[int] | None = None,
) -> Tensor:
    """An image with its faces drawn into it.

    Args:
        image: [3, H, W] in 0..1.
        faces: Found in an image of this shape; larger or smaller ones are scaled to it.
        numbers: What to call each face.
        show: Everything when left out.
        chosen: Numbers that are drawn in colour, the others in grey; all when left out.

    Returns:
        [3, H, W]; pixels that nothing is drawn on keep their values.
    """
    from PIL import Image, ImageDraw

    height, width = image.shape[-2:]
    fine = _FINE if max(height, width) <= _FINE_UP_TO else 1
    layer = Image.new("RGBA", (width * fine, height * fine), (0, 0, 0, 0))
    pen = ImageDraw.Draw(layer)
    for face, number in zip(faces, numbers, strict=True):
        is_chosen = chosen is None or number in chosen
        _draw(
            pen, face, number, show or DrawOptions(), width * fine / face.image_size[0], is_chosen
        )
    layer = layer.reduce(fine) if fine > 1 else layer
    drawn = torch.from_numpy(np.asarray(layer).copy()).to(image).movedim(-1, 0) / 255
    cover = drawn[3:]
    return torch.where(cover > 0, drawn[:3] * cover + image * (1 - cover), image)


def preview(
    image: Tensor, faces: Sequence[Face], chosen: Sequence[int], show: DrawOptions | None = None
) -> Tensor:
    """An image with all its faces, numbered from 0, at a size that can be looked at.

    Args:
        image: [C, H, W]; a broken one is shown as far as it goes.
        faces: All that were found in it.
        chosen: Numbers of those that are meant; the others are drawn in grey.
        show: What is drawn; everything when left out.

    Returns:
        [3, h, w] in 0..1; the longer side has 512 to 1024 pixels.
    """
    image = downscale(image)[0][:3].float().nan_to_num().clamp(0, 1)
    image = image.expand(3, -1, -1)
    height, width = image.shape[-2:]
    longer = max(height, width)
    scale = min(max(longer, _SMALLEST_PREVIEW), _LARGEST_PREVIEW) / longer
    size = [max(1, round(height * scale)), max(1, round(width * scale))]
    if scale != 1:
        image = F.interpolate(image[None], size, mode="bilinear", antialias=True)[0]
    return draw_faces(image, faces, range(len(faces)), show, chosen=chosen)


def _draw(
    pen: ImageDraw, face: Face, number: int, show: DrawOptions, scale: float, chosen: bool
) -> None:
    left, top, right, bottom = (value * scale for value in face.box)
    size = max(right - left, bottom - top)
    stroke = max(1, round(size / 70))
    colour = CHOSEN if chosen else LEFT_OUT
    if show.landmarks and chosen:
        points = face.landmarks if len(face.landmarks) else face.five
        radius = size / (160 if len(face.landmarks) > 100 else 70)
        for x, y in [] if points is None else (points[:, :2] * scale).tolist():
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_DOTS)
    if show.boxes:
        pen.rectangle((left, top, right, bottom), outline=colour, width=stroke)
    if show.pose and chosen and face.pose is not None:
        x, y = _middle(face, scale)
        turned = (matrix_from_zyx(face.pose)[:2] * (0.5 * size)).T.tolist()
        for (across, down), axis in zip(turned, _AXES, strict=True):
            pen.line((x, y, x + across, y + down), fill=axis, width=round(1.5 * stroke))
    if show.numbers:
        _tag(pen, str(number), max(0.0, left), max(0.0, top), 0.22 * size, colour)


def _tag(pen: ImageDraw, text: str, x: float, y: float, height: float, colour: Colour) -> None:
    """A number on a coloured field whose upper left corner is at (x, y)."""
    from PIL import ImageFont

    font = ImageFont.load_default(size=max(8.0, 0.8 * height))
    left, top, right, bottom = pen.textbbox((x, y), text, font=font)
    margin = 0.15 * height
    field = (x, y, x + right - left + 2 * margin, y + bottom - top + 2 * margin)
    pen.rectangle(field, fill=colour)
    pen.text((2 * x - left + margin, 2 * y - top + margin), text, fill=_INK, font=font)


def _middle(face: Face, scale: float) -> tuple[float, float]:
    """Where the axes start: the tip of the nose, or else the middle of the box."""
    if face.five is not None:
        x, y = (face.five[2] * scale).tolist()
        return x, y
    left, top, right, bottom = (value * scale for value in face.box)
    return (left + right) / 2, (top + bottom) / 2
