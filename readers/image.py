"""Images of others: known formats of bounded size, decoded by Pillow."""

from __future__ import annotations

import importlib
import importlib.util
import io
from pathlib import Path

from PIL import Image

_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
_OPTIONAL = ("AVIF", "HEIF")
"""Where this Pillow, or pillow-heif, reads them."""
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_AVIF = (b"avif", b"avis")
"""Brands in a file's first box, ISO/IEC 23008-12 and the AVIF specification."""


def open_image(source: Path | bytes) -> Image.Image:
    """An image file, whose header alone has been read; to be used as a context manager.

    Formats that other programs would have to decode (EPS) or that are containers of anything are
    not opened.

    Raises:
        Exception: Of any kind, where it is missing, damaged, or of another format.
    """
    Image.init()  # Pillow registers all but a few formats only when asked
    if "HEIF" not in Image.OPEN and importlib.util.find_spec("pillow_heif") is not None:
        importlib.import_module("pillow_heif").register_heif_opener()
    formats = [*_FORMATS, *(name for name in _OPTIONAL if name in Image.OPEN)]
    return Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=formats)


def unread_format(path: Path) -> tuple[str, str]:
    """(name, what to install) of an image format that needs more than is installed; or empty."""
    with path.open("rb") as stream:
        start = stream.read(12)
    if start[4:8] == b"ftyp" and start[8:] in _HEIC:
        return "a HEIC file", "pip install pillow-heif"
    if start[4:8] == b"ftyp" and start[8:] in _AVIF:
        return "an AVIF file", 'pip install "pillow>=11.3"'
    return "", ""
