"""Encoding and decoding of the files of a record.

Source: docs/reference/dense_face.md A12, B1.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ... import limits
from ...errors import InputError, refuse_with
from ...faces.blendshapes import ARKIT_NAMES
from ...faces.parts import PART_COLOURS
from ...faces.pixels import to_array
from ...readers.image import open_image
from ...readers.json_text import parse_json
from ...readers.npy import read_npy
from ...readers.pickled_array import read_array

#: Depth outside the face.
BACKGROUND = 1.0
#: Position outside the face, in the position map.
NO_PLACE = -1.0
_QUALITY = 95
_PALETTE = np.array(PART_COLOURS, dtype=np.int32)


def jpeg(image: Tensor) -> bytes:
    """[3, H, W] in 0..1 as JPEG."""
    return encoded(_image(image), "JPEG", quality=_QUALITY, subsampling=0)


def png(image: Tensor) -> bytes:
    """[3, H, W] in 0..1 as PNG."""
    return encoded(_image(image), "PNG")


def decode_image(data: bytes) -> Tensor:
    """[3, H, W] in 0..1; raises InputError for anything but an image."""
    return torch.from_numpy(_pixels(data, "image")).permute(2, 0, 1).float() / 255


def image_size(data: bytes) -> tuple[int, int]:
    """Height and width by the header; raises InputError for anything but an image."""
    with refuse_with(InputError("the image is unreadable")), open_image(data) as file:
        return file.size[1], file.size[0]
    raise AssertionError  # for type checkers


def part_mask(labels: Tensor) -> bytes:
    """Classes of ``faces.parts`` [H, W] as PNG in exactly the ten colours of the data set."""
    colours = _PALETTE[labels.numpy().astype(np.int64)].astype(np.uint8)
    return encoded(Image.fromarray(colours), "PNG")


def decode_part_mask(data: bytes) -> Tensor:
    """[H, W] uint8; raises InputError if any colour is not one of the ten."""
    code = _pixels(data, "mask").astype(np.int32) @ np.array([65536, 256, 1])
    known = _PALETTE @ np.array([65536, 256, 1])
    order = np.argsort(known)
    place = np.searchsorted(known[order], code).clip(max=len(known) - 1)
    if (known[order][place] != code).any():
        raise InputError("the mask holds colours that stand for no part")
    return torch.from_numpy(order[place].astype(np.uint8))


def landmark_table(points: Tensor) -> bytes:
    """Points [K, 2] in 0..1 as CSV without a header."""
    rows = points.numpy().astype(np.float32)
    # str gives the shortest text that reads back as the same number.
    return "".join(f"{x!s},{y!s}\n" for x, y in rows).encode()


def decode_landmarks(data: bytes) -> Tensor:
    """[K, 2]; raises InputError for anything but two columns of finite numbers, or for one place.

    Some tools write zeros where they found no face, and nothing can be aligned at those.
    """
    with refuse_with(InputError("the landmarks are unreadable")):
        _require_small(data, limits.TABLE_BYTES)
        rows = np.loadtxt(io.BytesIO(data), delimiter=",", dtype=np.float32, ndmin=2)
    if rows.shape[1] != 2 or not len(rows) or not np.isfinite(rows).all():
        raise InputError("the landmarks are not a table of x and y")
    if (rows == rows[0]).all() and len(rows) > 1:
        raise InputError("the landmarks are all in one place")
    return torch.from_numpy(rows)


def xyz_map(places: Tensor, depth: Tensor) -> bytes:
    """Position map [H, W, 2] (:data:`NO_PLACE` outside) and depth [H, W] as .npy."""
    return array(torch.cat([places, depth[..., None]], -1).numpy().astype(np.float32))


def decode_xyz(data: bytes, depth_range: tuple[float, float] | None) -> tuple[Tensor, int]:
    """xyz map [H, W, 3], and the number of depths that were absurd.

    The data set holds depths far outside ``depth_range``, from failed fits of its authors (values
    of 4e7 occur). They are clipped to the range; depths that are not finite become background.

    Raises:
        InputError: The data is not a float array of shape [H, W, 3].
    """
    with refuse_with(InputError("the xyz map is unreadable")):
        values = read_npy(data)
    if values.ndim != 3 or values.shape[2] != 3 or values.dtype.kind != "f" or not values.size:
        raise InputError(f"the xyz map has the shape {list(values.shape)}")
    values = values.astype(np.float32)
    depth = values[..., 2]
    low, high = depth_range or (-1.0, BACKGROUND)
    lost = ~np.isfinite(depth)
    depth[lost] = BACKGROUND
    absurd = ((depth < low) | (depth > high)) & (depth != BACKGROUND)
    depth[absurd] = depth[absurd].clip(low, high)
    places = values[..., :2]
    places[~np.isfinite(places)] = NO_PLACE
    return torch.from_numpy(values), int(absurd.sum() + lost.sum())


def feature(vector: Tensor) -> bytes:
    """An identity vector [D] as the release stores it: a pickled numpy array [1, D]."""
    out = io.BytesIO()
    torch.save(vector.numpy().astype(np.float32)[None], out)
    return out.getvalue()


def decode_feature(data: bytes) -> Tensor:
    """[D]; raises InputError. Only an array of floats is read."""
    with refuse_with(InputError("the identity features are unreadable")):
        _require_small(data, limits.VECTOR_BYTES)
        values = read_array(io.BytesIO(data), "features")
    if values is None:
        raise InputError("the identity features are unreadable")
    vector = values.float().flatten()
    if not len(vector) or not bool(torch.isfinite(vector).all()):
        raise InputError("the identity features are not finite numbers")
    return vector


def array(values: NDArray[np.float32]) -> bytes:
    """A numpy array as .npy."""
    out = io.BytesIO()
    np.save(out, values, allow_pickle=False)
    return out.getvalue()


def json_bytes(values: Any) -> bytes:
    """JSON."""
    return json.dumps(values, ensure_ascii=False, indent=1).encode()


def blendshapes(values: Mapping[str, float]) -> bytes:
    """Blendshapes by ARKit name, as attributes: our key beside those of the release."""
    return json_bytes({"blendshapes": {name: round(float(v), 4) for name, v in values.items()}})


def decode_blendshapes(data: bytes) -> Tensor:
    """[51] in 0..1, NaN where the attributes lack a blendshape; raises InputError."""
    with refuse_with(InputError("the attributes are unreadable")):
        named = parse_json(data).get("blendshapes", {})
        values = [float(named.get(name, "nan")) for name in ARKIT_NAMES]
    return torch.tensor(values).clamp(0, 1)


def _pixels(data: bytes, what: str) -> NDArray[np.uint8]:
    with refuse_with(InputError(f"the {what} is unreadable")), open_image(data) as file:
        if not 0 < min(file.size) <= max(file.size) <= limits.IMAGE_SIDE:
            raise ValueError("too large")
        return np.array(file.convert("RGB"))
    raise AssertionError  # for type checkers


def _require_small(data: bytes, most: int) -> None:
    if len(data) > most:
        raise ValueError(f"{len(data)} bytes")


def _image(image: Tensor) -> Image.Image:
    return Image.fromarray(to_array(image))


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """An image in a format of Pillow."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()
