"""Drawing detected faces: numbered boxes, landmarks, the axes of the head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .crops.warping import downscale
from .face import Face
from .head_pose import matrix_from_zyx

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

Colour = tuple[int, int, int]

CHOSEN: Colour = (255, 204, 0)
LEFT_OUT: Colour = (150, 150, 150)
_INK: Colour = (20, 20, 20)
_DOTS: Colour = (0, 220, 255)
#: X (to the head's side), Y (chin), Z (nose), as in ``docs/conventions.md``.
_AXES: tuple[Colour, ...] = ((230, 40, 40), (40, 190, 60), (60, 110, 255))

#: Supersampling for smooth edges, in images of up to this side in pixels.
_SUPERSAMPLED_UP_TO = 1024
_SUPERSAMPLING = 2
_SMALLEST_PREVIEW, _LARGEST_PREVIEW = 512, 1024


@dataclass(frozen=True)
class DrawOptions:
    """What to draw of each face, where it is known."""

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
    """Draw faces into an image.

    Args:
        image: [3, H, W] in 0..1.
        faces: Faces of this image, or of a larger or smaller version of it.
        numbers: The number to write on each face.
        show: What to draw; everything if None.
        chosen: Numbers to draw in colour, the others in grey; all in colour if None.

    Returns:
        [3, H, W] in 0..1; pixels that nothing is drawn on keep their values.
    """
    from PIL import Image, ImageDraw

    height, width = image.shape[-2:]
    fine = _SUPERSAMPLING if max(height, width) <= _SUPERSAMPLED_UP_TO else 1
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
    """An image with all its faces, numbered from 0, at a viewable size.

    Args:
        image: [C, H, W]; values that are not finite or outside of 0..1 are replaced.
        faces: All faces of the image.
        chosen: Indices of the selected faces; the others are drawn in grey.
        show: What to draw; everything if None.

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
        x, y = _origin(face, scale)
        turned = (matrix_from_zyx(face.pose)[:2] * (0.5 * size)).T.tolist()
        for (across, down), axis in zip(turned, _AXES, strict=True):
            pen.line((x, y, x + across, y + down), fill=axis, width=round(1.5 * stroke))
    if show.numbers:
        _tag(pen, str(number), max(0.0, left), max(0.0, top), 0.22 * size, colour)


def _tag(pen: ImageDraw, text: str, x: float, y: float, height: float, colour: Colour) -> None:
    """Write a number on a coloured field whose upper left corner is at (x, y)."""
    from PIL import ImageFont

    font = ImageFont.load_default(size=max(8.0, 0.8 * height))
    left, top, right, bottom = pen.textbbox((x, y), text, font=font)
    margin = 0.15 * height
    field = (x, y, x + right - left + 2 * margin, y + bottom - top + 2 * margin)
    pen.rectangle(field, fill=colour)
    pen.text((2 * x - left + margin, 2 * y - top + margin), text, fill=_INK, font=font)


def _origin(face: Face, scale: float) -> tuple[float, float]:
    """Origin of the axes: the tip of the nose, or else the centre of the box."""
    if face.five is not None:
        x, y = (face.five[2] * scale).tolist()
        return x, y
    left, top, right, bottom = (value * scale for value in face.box)
    return (left + right) / 2, (top + bottom) / 2
