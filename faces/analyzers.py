"""What every analyzer of faces can do, and how all of them are asked.

An analyzer is anything with a ``name`` and ``find``: the landmarker (``faces.landmarker``),
InsightFace (``faces.insight``), the tiny world's own (``demo.face_finder``). A face can also be
typed in (``manual_face``), so that a graph runs with no model at all.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import InputError
from .face import Box, Face, HeadPose, in_order
from .identity import Identity
from .large_images import downscale, upscale_face

#: Borders tried when nothing is found, as shares of the longer side: a face that fills the frame is
#: then a smaller one in the middle.
RETRIES = (0.25, 0.75)
#: A face that fills the frame is found as well in a smaller image, whose borders cost less.
_RETRY_SIZE = 1280
#: Images of a usual float range overshoot a little after resizing.
_OVERSHOOT = 0.5


class FaceAnalyzer(Protocol):
    """Finds and measures faces."""

    @property
    def name(self) -> str:
        """How results and errors call it."""
        ...

    def find(self, image: Tensor) -> list[Face]:
        """All faces in an RGB image [3, H, W] in 0..1; an empty list if there is none."""
        ...


class Recogniser(Protocol):
    """Says who a face is, whoever found it."""

    @property
    def encoder(self) -> str:
        """Name that the identities bear."""
        ...

    def identify(self, image: Tensor, face: Face) -> Identity:
        """Who a face found in an RGB image [3, H, W] in 0..1 is.

        Raises:
            InputError: The face has no points or comes from an image of another size.
        """
        ...


def find_faces(
    analyzer: FaceAnalyzer, image: Tensor, *, order: str = "left to right", retry: bool = True
) -> list[Face]:
    """Ask an analyzer, with all checks.

    Args:
        analyzer: Whom to ask.
        image: [C, H, W] in 0..1; one channel is taken as grey, a fourth as alpha.
        order: Of the faces, one of ``faces.face.ORDERS``.
        retry: When nothing is found, try again with the image made smaller by a border.

    Raises:
        InputError: The image or the order cannot be used. No face is no error.
    """
    in_order([], order)  # an unknown order is told before the work
    check_image(image)
    height, width = image.shape[-2:]
    small, factor = downscale(image)
    rgb = _rgb(small)
    found = analyzer.find(rgb)
    if not found and retry and factor == 1:  # faces of larger ones are not too large but too small
        found = _in_a_frame(analyzer, rgb)
    return in_order([upscale_face(face, factor, (width, height)) for face in found], order)


def _in_a_frame(analyzer: FaceAnalyzer, image: Tensor) -> list[Face]:
    """Faces of an image [3, H, W] that is made smaller and gets a border, ever wider."""
    height, width = image.shape[-2:]
    small, factor = downscale(image, _RETRY_SIZE)
    for share in RETRIES:
        border = max(1, round(share * max(small.shape[-2:])))
        framed = F.pad(small[None], (border,) * 4, mode="replicate")[0]
        found = [_without_border(face, border) for face in analyzer.find(framed)]
        if found:
            return [upscale_face(face, factor, (width, height)) for face in found]
    return []


def to_rgb(image: Tensor) -> Tensor:
    """An image as RGB [3, H, W] in 0..1.

    Raises:
        InputError: Its shape, type or values are not those of an image.
    """
    check_image(image)
    return _rgb(image)


def check_image(image: Tensor) -> None:
    """Raise InputError unless [C, H, W] has the shape, type and values of an image."""
    if image.ndim != 3 or image.shape[0] not in (1, 3, 4) or 0 in image.shape:
        raise InputError(
            f"an image has the shape [channels, height, width], got {list(image.shape)}",
            fix="Give an image with 1 (grey), 3 (RGB) or 4 (RGBA) channels",
        )
    if not image.is_floating_point():
        raise InputError(
            f"the image holds {str(image.dtype).removeprefix('torch.')} values",
            fix="Convert it to floats in 0..1 (divide by 255)",
        )
    # Both are NaN where one value is, and need no copy of a large image.
    lowest, highest = (float(value) for value in image.aminmax())
    if not (math.isfinite(lowest) and math.isfinite(highest)):
        raise InputError(
            "the image holds values that are not numbers",
            fix="Mend the node before this one, or use another image",
        )
    if highest > 1 + _OVERSHOOT or lowest < -_OVERSHOOT:
        raise InputError(
            f"the image holds values from {lowest:g} to {highest:g} instead of 0 to 1",
            fix="Divide by 255 if it comes from 8-bit values",
        )


def _rgb(image: Tensor) -> Tensor:
    """[1, 3 or 4, H, W] -> [3, H, W] in 0..1."""
    rgb = image.expand(3, -1, -1) if image.shape[0] == 1 else image[:3]
    return rgb.float().clamp(0, 1)


def manual_face(
    image_size: tuple[int, int],
    *,
    box: Box | None = None,
    five: Tensor | None = None,
    pose: HeadPose | None = None,
) -> Face:
    """A face that somebody typed in: points or a box, and a pose if known.

    Args:
        image_size: Width and height.
        box: Left, top, right, bottom in pixels; made from the points when left out.
        five: [5, 2] pixels: eye, eye, nose, mouth corner, mouth corner.
        pose: Degrees, as measured.

    Raises:
        InputError: Neither points nor box are given, or they are no face.
    """
    if box is None and five is None:
        raise InputError("no face was described", fix="Type in a box or five points")
    if five is not None and five.shape == (5, 2):
        points = five.float()
        if box is None:
            # The points span eyes to mouth: a face is about twice that.
            low, high = points.min(0).values, points.max(0).values
            middle, reach = (low + high) / 2, float((high - low).max())
            x, y = (float(v) for v in middle)
            box = (x - reach, y - reach, x + reach, y + reach)
        return Face(image_size, box, 1.0, points, "five", "by hand", pose=pose)
    if box is None:
        raise InputError("five points with x and y are needed", fix="Type in five points")
    return Face(image_size, box, 1.0, torch.zeros(0, 2), "none", "by hand", five=five, pose=pose)


def _without_border(face: Face, border: int) -> Face:
    """A face found in a framed image, in pixels of the image itself."""
    shift = torch.zeros(face.landmarks.shape[-1])
    shift[:2] = border
    left, top, right, bottom = (value - border for value in face.box)
    width, height = face.image_size
    return replace(
        face,
        image_size=(width - 2 * border, height - 2 * border),
        box=(left, top, right, bottom),
        landmarks=face.landmarks - shift,
        five=None if face.five is None else face.five - border,
    )
