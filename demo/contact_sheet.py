"""Contact sheets: grids of images, with or without a title, column names and notes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..faces.pixels import to_array

INK, FAINT = (32, 34, 38), (104, 108, 116)
_GAP, _MARGIN, _LINE = 4, 12, 20


def contact_sheet(images: Tensor, columns: int, gap: int = 0) -> Image.Image:
    """Images [B, 3, H, W] in 0..1 in a grid, row by row, on white; ``gap`` in pixels."""
    count, _, height, width = images.shape
    rows = -(-count // columns)
    size = (columns * (width + gap) - gap, rows * (height + gap) - gap)
    sheet = Image.new("RGB", size, "white")
    for i, pixels in enumerate(to_array(images)):
        place = ((i % columns) * (width + gap), (i // columns) * (height + gap))
        sheet.paste(Image.fromarray(pixels), place)
    return sheet


def labelled_sheet(
    rows: Sequence[Tensor],
    columns: Sequence[str],
    title: str,
    notes: Sequence[str],
    row_names: Sequence[str] = (),
) -> Image.Image:
    """Rows of images [C, 3, S, S] in 0..1 under a title and C column names, above lines of notes.

    A name that is wider than an image is cut.

    Args:
        row_names: One for each row, at its left; none by default.
    """
    table = contact_sheet(torch.cat(list(rows)), len(columns), _GAP)
    width, top = rows[0].shape[-1], _MARGIN + 2 * _LINE + 4
    below = top + table.height + _GAP + 4
    left = _MARGIN + (width + _GAP if row_names else 0)
    size = (left + table.width + _MARGIN, below + len(notes) * _LINE + _MARGIN)
    sheet = Image.new("RGB", size, "white")
    sheet.paste(table, (left, top))
    pen, small = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    pen.text((_MARGIN, _MARGIN), title, INK, ImageFont.load_default(16))

    def label(name: str, x: int, y: int) -> None:
        while pen.textlength(name, small) > width:
            name = name[:-1]
        pen.text((x, y), name, FAINT, small)

    for i, name in enumerate(columns):
        label(name, left + i * (width + _GAP), top - _LINE + 2)
    height = rows[0].shape[-2] + _GAP
    for i, name in enumerate(row_names):
        label(name, _MARGIN, top + i * height)
    for i, note in enumerate(notes):
        pen.text((_MARGIN, below + i * _LINE), note, FAINT, small)
    return sheet
