"""Images of face parts with the names of their colours beside them."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...faces.parts import PART_COLOURS, PART_NAMES

_SMALLEST, _LARGEST = 320, 1024
_GROUND, _INK, _FAINT = (32, 32, 32), (235, 235, 235), (120, 120, 120)


def with_names(images: Tensor, lit: Collection[str] = PART_NAMES) -> Tensor:
    """Add a column with the ten parts' colours and names at the right.

    Args:
        images: [B, 3, H, W] in 0..1.
        lit: The parts whose names are bright; the others are faint.

    Returns:
        [B, 3, h, w] in 0..1; h is H where that is 320 to 1024, else the closer of these.
    """
    height = min(max(images.shape[-2], _SMALLEST), _LARGEST)
    if height != images.shape[-2]:
        width = max(1, round(images.shape[-1] * height / images.shape[-2]))
        images = F.interpolate(images, (height, width), mode="bilinear", antialias=True)
    column = _column(height, lit).to(images)
    return torch.cat([images, column.expand(len(images), -1, -1, -1)], -1)


def _column(height: int, lit: Collection[str]) -> Tensor:
    """[3, height, w] in 0..1."""
    from PIL import Image, ImageDraw, ImageFont

    row = height / len(PART_NAMES)
    size = min(0.55 * row, 28.0)
    font = ImageFont.load_default(size=size)
    names = [name.replace("_", " ") for name in PART_NAMES]
    width = round(max(font.getlength(name) for name in names) + 3 * size)
    sheet = Image.new("RGB", (width, height), _GROUND)
    pen = ImageDraw.Draw(sheet)
    for number, (part, name) in enumerate(zip(PART_NAMES, names, strict=True)):
        middle, half = (number + 0.5) * row, size / 2
        shown = part in lit
        square = (half, middle - half, half + size, middle + half)
        colour = PART_COLOURS[number]
        pen.rectangle(square, fill=colour if shown else None, outline=colour)
        ink = _INK if shown else _FAINT
        pen.text((2.25 * size, middle), name, fill=ink, font=font, anchor="lm")
    return torch.from_numpy(np.asarray(sheet).copy()).movedim(-1, 0).float() / 255
