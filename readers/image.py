"""Images of others: known formats of bounded size, decoded by Pillow."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
_OPTIONAL = ("AVIF", "HEIF")
"""Where Pillow or a plugin of the user's reads them."""


def open_image(source: Path | bytes) -> Image.Image:
    """An image file, whose header alone has been read; to be used as a context manager.

    Formats that other programs would have to decode (EPS) or that are containers of anything are
    not opened.

    Raises:
        Exception: Of any kind, where it is missing, damaged, or of another format.
    """
    formats = [*_FORMATS, *(name for name in _OPTIONAL if name in Image.OPEN)]
    return Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=formats)
