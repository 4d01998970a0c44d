"""Image files: read into tensors with clear errors, written with JSON metadata."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from .. import limits
from ..demo.networks.analyzer import IMAGE_SIZE
from ..errors import InputError
from ..faces.pixels import to_array
from ..readers.image import open_image, unread_format
from ..readers.json_text import parse_json

T = TypeVar("T")

SMALLEST, LARGEST = 32, limits.IMAGE_SIDE
"""Limits for the sides of input images, in pixels."""


def read_image(path: str | Path, what: str = "image", size: int = IMAGE_SIZE) -> Tensor:
    """An image file as [1, 3, size, size] in 0..1.

    Grey, palette, 16-bit and CMYK images are converted to RGB; alpha is dropped; the image is
    cropped to its central square and resized.

    Args:
        path: A file in any format that Pillow reads.
        what: The image's role, for errors ("reference").
        size: Side in pixels.

    Raises:
        InputError: The file is missing, truncated, not an image, or of an unusable size.
    """
    image = open_rgb(path, what)
    if image.size != (size, size):
        image = ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)
    return tensor_of(image)


def open_rgb(path: str | Path, what: str = "image") -> Image.Image:
    """An image file as 8-bit RGB in its original size, with its EXIF orientation applied.

    Raises:
        InputError: As :func:`read_image`.
    """
    return _opened(Path(path), what, lambda image: image.convert("RGB"))


def read_alpha(path: str | Path, what: str = "image", size: int | None = None) -> Tensor | None:
    """How opaque an image file is, [1, 1, H, W] in 0..1; None if it has no transparency.

    Args:
        size: As of :func:`read_image`; the image's own if None.

    Raises:
        InputError: As :func:`read_image`.
    """
    image = _opened(Path(path), what, _alpha)
    if image is None:
        return None
    if size is not None and image.size != (size, size):
        image = ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(image))[None, None].float() / 255


def with_alpha(image: Tensor, alpha: Tensor | None) -> Tensor:
    """RGB [1, 3, H, W] and its transparency, if any, as one image for :func:`write_image`."""
    return image if alpha is None else torch.cat([image, alpha.to(image)], 1)


def _alpha(image: Image.Image) -> Image.Image | None:
    return image.convert("RGBA").getchannel("A") if image.has_transparency_data else None


def _opened(path: Path, what: str, convert: Callable[[Image.Image], T]) -> T:
    """What ``convert`` makes of an image file with 8 bits per channel."""
    again = "Give a PNG, JPEG or WebP file"
    if not path.is_file():
        raise InputError(f"the {what} is missing", where=str(path), fix="Correct the path")
    try:
        with open_image(path) as file:
            _check_size(file.size, what, path)
            return convert(ImageOps.exif_transpose(_eight_bit(file, what, path)))
    except UnidentifiedImageError as error:
        name, install = unread_format(path)
        raise InputError(
            f"the {what} is {name}, which is not read here" if name
            else f"the {what} is not an image",
            where=str(path),
            fix=f"Save it as JPEG or PNG, or: {install}" if name else again,
        ) from error  # fmt: skip
    except Image.DecompressionBombError as error:
        raise _wrong_size("too large", what, path) from error
    except InputError:
        raise
    except Exception as error:  # a broken or hostile file may raise anything
        raise InputError(
            f"the {what} is truncated or damaged: {error}",
            where=str(path),
            fix=again,
        ) from error


def tensor_of(image: Image.Image) -> Tensor:
    """An RGB image as [1, 3, H, W] in 0..1."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255


def check_image_name(path: Path) -> None:
    """Raise InputError unless an image can be written under this name."""
    if path.is_dir():
        raise InputError("the output is a folder", where=str(path), fix="Give a file name in it")
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise InputError(
            "the output's format is unknown", where=str(path), fix="Use a name ending in .png"
        )


def to_pil(image: Tensor) -> Image.Image:
    """[3 or 4, H, W], or a batch of one, in 0..1 as an 8-bit image, RGB or RGBA."""
    return Image.fromarray(to_array(image.reshape(image.shape[-3:])))


def write_image(path: Path, image: Tensor, about: Mapping[str, Any]) -> None:
    """Write an image [1, 3 or 4, H, W]; PNG files hold ``about`` as JSON in the text ``denseface``.

    JPEG has no transparency and loses it.

    Raises:
        InputError: The image holds values that are not numbers, as broken weights give.
    """
    if not bool(image.isfinite().all()):
        raise InputError(
            "the image that was drawn holds values that are not numbers",
            where=str(path),
            fix="Check the files of the base and of its adapters, and lower the weights",
        )
    pil = to_pil(image)
    if path.suffix.lower() == ".png":
        note = PngInfo()
        note.add_text("denseface", json.dumps(dict(about)))
        pil.save(path, pnginfo=note)
    else:
        opaque = path.suffix.lower() in (".jpg", ".jpeg")
        (pil.convert("RGB") if opaque else pil).save(path, quality=95)


def read_about(path: Path) -> dict[str, Any] | None:
    """What :func:`write_image` stored in a PNG file; None if it holds nothing of the kind.

    Raises:
        InputError: As :func:`read_image`.
    """
    open_rgb(path)  # decodes all of it: a truncated file still has its text
    with open_image(path) as file:
        text = file.info.get("denseface")
    try:
        about = parse_json(text or "")
    except (TypeError, ValueError):
        return None
    return about if isinstance(about, dict) else None


def _eight_bit(image: Image.Image, what: str, path: Path) -> Image.Image:
    """Scale 16-bit grey to 8 bits: Pillow's own conversion clips it at 255."""
    if image.mode == "F":
        raise InputError(
            f"the {what} has floating-point pixels", where=str(path), fix="Save it as a PNG"
        )
    if image.mode != "I" and not image.mode.startswith("I;16"):
        return image
    values = np.asarray(image, dtype=np.float64)
    return Image.fromarray((values / 257).round().clip(0, 255).astype(np.uint8))


def _check_size(size: tuple[int, int], what: str, path: Path) -> None:
    if min(size) < SMALLEST or max(size) > LARGEST:
        only = "only " if min(size) < SMALLEST else ""
        raise _wrong_size(f"{only}{size[0]}x{size[1]} px", what, path)


def _wrong_size(size: str, what: str, path: Path) -> InputError:
    return InputError(
        f"the {what} is {size}",
        where=str(path),
        fix=f"Use an image with sides of {SMALLEST} to {LARGEST} px",
    )
