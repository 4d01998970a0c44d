"""Images in rows with a line below each, for the nodes' help pages."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

TILE, LINE, GAP, ARROW = 152, 24, 8, 14
PAPER, INK, RED = (245, 243, 238), (32, 34, 38), (255, 48, 48)
Row = Sequence[tuple[Image.Image, str] | None]
"""Images with the lines below them; None is an arrow."""


def sheet(rows: Sequence[Row]) -> Image.Image:
    """Rows of images of one height, each with a line below it, on paper white.

    The help panel is narrow: three images in a row can still be read there.
    """
    tall = TILE + LINE
    drawn = [_row(row) for row in rows]
    size = (max(row.width for row in drawn), len(rows) * (tall + GAP) + GAP)
    whole = Image.new("RGB", size, PAPER)
    for i, row in enumerate(drawn):
        whole.paste(row, (0, GAP + i * (tall + GAP)))
    return whole


def _row(row: Row) -> Image.Image:
    wide = [ARROW if each is None else _width(each[0]) for each in row]
    image = Image.new("RGB", (sum(wide) + GAP * (len(row) + 1), TILE + LINE), PAPER)
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(15)
    left = GAP
    for each, width in zip(row, wide, strict=True):
        if each is None:
            tip = (left + ARROW, TILE // 2)
            pen.polygon([(left, tip[1] - 9), (left, tip[1] + 9), tip], fill=INK)
        else:
            pixels, line = each
            image.paste(pixels.resize((width, TILE), Image.Resampling.LANCZOS), (left, 0))
            pen.text((left + width / 2, TILE + LINE // 2), line, INK, font, anchor="mm")
        left += width + GAP
    return image


def _width(image: Image.Image) -> int:
    return round(image.width * TILE / image.height)


def tinted(image: Image.Image, mask: Image.Image) -> Image.Image:
    """The image with a mask over it in red."""
    part = mask.convert("L").resize(image.size).point(lambda value: int(0.6 * value))
    return Image.composite(Image.new("RGB", image.size, RED), image, part)
