"""A table of images with a title, column names and notes below."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..pipelines.images import to_pil

_GAP = 4
_MARGIN = 12
_LINE = 20
_TITLE, _TEXT = 16, 12
_INK, _FAINT, _PAPER = (32, 34, 38), (104, 108, 116), (255, 255, 255)


def labelled_sheet(
    rows: Sequence[Tensor], columns: Sequence[str], title: str, notes: Sequence[str]
) -> Image.Image:
    """Rows of images [C, 3, S, S] in 0..1 under C column names.

    Args:
        rows: At least one; all of one shape.
        columns: A short name per column, truncated to an image's width.
        title: One line on top.
        notes: Lines at the bottom.
    """
    count, _, height, width = rows[0].shape
    top = _MARGIN + _LINE + 4 + _LINE
    size = (
        2 * _MARGIN + count * (width + _GAP) - _GAP,
        top + len(rows) * (height + _GAP) + 4 + len(notes) * _LINE + _MARGIN,
    )
    sheet = Image.new("RGB", size, _PAPER)
    pen = ImageDraw.Draw(sheet)
    large, small = ImageFont.load_default(_TITLE), ImageFont.load_default(_TEXT)
    pen.text((_MARGIN, _MARGIN), title, _INK, large)
    for i, name in enumerate(columns):
        x = _MARGIN + i * (width + _GAP)
        while pen.textlength(name, small) > width:
            name = name[:-1]
        pen.text((x, top - _LINE + 2), name, _FAINT, small)
        for j, row in enumerate(rows):
            sheet.paste(to_pil(row[i]), (x, top + j * (height + _GAP)))
    for k, note in enumerate(notes):
        y = top + len(rows) * (height + _GAP) + 4 + k * _LINE
        pen.text((_MARGIN, y), note, _FAINT, small)
    return sheet
