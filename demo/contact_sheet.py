"""Contact sheets: grids of images."""

from __future__ import annotations

from PIL import Image
from torch import Tensor

from ..faces.pixels import to_array


def contact_sheet(images: Tensor, columns: int, gap: int = 0) -> Image.Image:
    """Arrange images in a grid, row by row, on white.

    Args:
        images: [B, 3, H, W] in 0..1.
        columns: Images per row.
        gap: Pixels between images.
    """
    count, _, height, width = images.shape
    rows = -(-count // columns)
    size = (columns * (width + gap) - gap, rows * (height + gap) - gap)
    sheet = Image.new("RGB", size, "white")
    pixels = to_array(images)
    for i in range(count):
        place = ((i % columns) * (width + gap), (i // columns) * (height + gap))
        sheet.paste(Image.fromarray(pixels[i]), place)
    return sheet
