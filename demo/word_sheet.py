"""All emotion words with their faces on one sheet, grouped by the six primary emotions."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..sfsr.emotion_table import emotion_words
from ..sfsr.words import expression_of_word
from .contact_sheet import FAINT, INK, contact_sheet
from .expression_heads import expression_images

_COLUMNS = 12
_LABEL, _HEADING, _MARGIN = 14, 24, 8
_SMOOTH = Image.Resampling.LANCZOS

Draw = Callable[[Tensor], Tensor]
"""Expressions [N, 51] in 0..1 -> images [N, 3, S, S] in 0..1."""


def word_sheet(
    size: int = 96,
    intensity: float = 1.0,
    seed: int = 0,
    each: Callable[[], object] = lambda: None,
    draw: Draw | None = None,
) -> Image.Image:
    """A sheet of the 135 emotion words, each with a head of its expression.

    Args:
        intensity, seed: As for ``expression_of_word``.
        each: Called after every head.
        draw: Renders the expressions; the tiny world's renderer if None.
    """
    draw = draw or (lambda codes: expression_images(codes, size=size))
    groups = [
        (primary, [emotion.word for emotion in group])
        for primary, group in groupby(emotion_words().values(), lambda emotion: emotion.primary)
    ]
    step = size + _LABEL
    rows = sum(-(-len(words) // _COLUMNS) for _, words in groups)
    extent = (2 * _MARGIN + _COLUMNS * size, _MARGIN + rows * step + len(groups) * _HEADING)
    sheet = Image.new("RGB", extent, "white")
    pen = ImageDraw.Draw(sheet)
    large, small = ImageFont.load_default(15), ImageFont.load_default(10)
    top = 0
    for primary, words in groups:
        pen.text((_MARGIN, top + 5), f"{primary} ({len(words)})", INK, large)
        top += _HEADING
        for i, word in enumerate(words):
            code = expression_of_word(word, intensity, seed).face()
            head = contact_sheet(draw(torch.stack([code])), 1).resize((size, size), _SMOOTH)
            place = (_MARGIN + i % _COLUMNS * size, top + i // _COLUMNS * step)
            sheet.paste(head, place)
            pen.text((place[0] + 2, place[1] + size), word, FAINT, small)
            each()
        top += -(-len(words) // _COLUMNS) * step
    return sheet
