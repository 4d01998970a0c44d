"""The interface of face analyzers, and finding faces with them.

An analyzer is anything with a ``name`` and ``find``: the landmarker (``faces.mediapipe``),
InsightFace (``faces.insightface``), YuNet (``faces.opencv_zoo``), the tiny world's own
(``demo.networks.face_finder``). A face can also be typed in (``manual_face``), so that a graph runs
without any model.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import InputError
from .crops.warping import downscale
from .face import Box, Face, HeadPose, in_order
from .identity import Identity

#: Borders to retry with when nothing is found, as fractions of the longer side: detectors miss
#: faces that fill the frame.
_BORDERS = (0.25, 0.75)
#: Longest side for these retries: a face that fills the frame needs no more.
_RETRY_SIZE = 1280
#: Tolerated distance from 0..1: resizing overshoots a little.
_OVERSHOOT = 0.5


class FaceAnalyzer(Protocol):
    """Detects faces, with landmarks and, depending on the analyzer, pose and expression."""

    @property
    def name(self) -> str:
        """Its name in results and errors."""
        ...

    def find(self, image: Tensor) -> list[Face]:
        """All faces in an RGB image [3, H, W] in 0..1; empty if there are none."""
        ...


class Recogniser(Protocol):
    """Computes identities of faces that any analyzer detected."""

    @property
    def encoder(self) -> str:
        """Name of the encoder, stored in its identities."""
        ...

    def identify(self, image: Tensor, face: Face) -> Identity:
        """The identity of a face in an RGB image [3, H, W] in 0..1.

        Raises:
            InputError: The face has no five points, or was found in an image of another size.
        """
        ...


def find_faces(
    analyzer: FaceAnalyzer, image: Tensor, *, order: str = "left to right", retry: bool = True
) -> list[Face]:
    """Find the faces of an image, with all checks.

    Args:
        image: [C, H, W] in 0..1; one channel is grey, a fourth is alpha and ignored.
        order: Order of the result, one of ``faces.face.ORDERS``.
        retry: If nothing is found, try again with borders added around the image.

    Returns:
        The faces in pixels of ``image``; empty if there are none.

    Raises:
        InputError: The image is invalid or the order is unknown.
    """
    in_order([], order)  # checks the order before the work
    check_image(image)
    height, width = image.shape[-2:]
    small, factor = downscale(image)
    rgb = _rgb(small)
    found = analyzer.find(rgb)
    if not found and retry and factor == 1:  # in larger images faces are too small, not too large
        found = _find_with_border(analyzer, rgb)
    return in_order([face.moved((width, height), scale=factor) for face in found], order)


def _find_with_border(analyzer: FaceAnalyzer, image: Tensor) -> list[Face]:
    """Faces of an image [3, H, W], searched with wider and wider borders around it."""
    height, width = image.shape[-2:]
    small, factor = downscale(image, _RETRY_SIZE)
    for fraction in _BORDERS:
        border = max(1, round(fraction * max(small.shape[-2:])))
        padded = F.pad(small[None], (border,) * 4, mode="replicate")[0]
        size = (small.shape[-1], small.shape[-2])
        found = [face.moved(size, x=-border, y=-border) for face in analyzer.find(padded)]
        if found:
            return [face.moved((width, height), scale=factor) for face in found]
    return []


def to_rgb(image: Tensor) -> Tensor:
    """A grey, RGB or RGBA image [C, H, W] as RGB [3, H, W], float32, clamped to 0..1.

    Raises:
        InputError: As for :func:`check_image`.
    """
    check_image(image)
    return _rgb(image)


def check_image(image: Tensor) -> None:
    """Raise InputError unless this is an image: [1, 3 or 4, H, W], floats, about 0..1."""
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
    # Both are NaN if any value is, and a large image is not copied.
    lowest, highest = (float(value) for value in image.aminmax())
    if not (math.isfinite(lowest) and math.isfinite(highest)):
        raise InputError(
            "the image holds values that are not numbers",
            fix="Fix the node before this one, or use another image",
        )
    if highest > 1 + _OVERSHOOT or lowest < -_OVERSHOOT:
        raise InputError(
            f"the image holds values from {lowest:g} to {highest:g} instead of 0 to 1",
            fix="Divide by 255 if it comes from 8-bit values",
        )


def _rgb(image: Tensor) -> Tensor:
    """[1, 3 or 4, H, W] -> [3, H, W] float32 in 0..1."""
    rgb = image.expand(3, -1, -1) if image.shape[0] == 1 else image[:3]
    return rgb.float().clamp(0, 1)


def manual_face(
    image_size: tuple[int, int],
    *,
    box: Box | None = None,
    five: Tensor | None = None,
    pose: HeadPose | None = None,
) -> Face:
    """A face given by its coordinates instead of an analyzer.

    Args:
        image_size: Width and height in pixels.
        box: Left, top, right, bottom in pixels; derived from the points if None.
        five: [5, 2] pixels: eye, eye, nose, mouth corner, mouth corner.
        pose: Degrees, Euler order zyx (``faces.head_pose``).

    Raises:
        InputError: There are neither points nor a box, or they are not a valid face.
    """
    if box is None and five is None:
        raise InputError("neither a box nor points were given", fix="Give a box or five points")
    if five is not None and five.shape == (5, 2):
        points = five.float()
        if box is None:
            # From eyes to mouth is about half of a face.
            low, high = points.min(0).values, points.max(0).values
            centre, half = (low + high) / 2, float((high - low).max())
            x, y = (float(v) for v in centre)
            box = (x - half, y - half, x + half, y + half)
        return Face(image_size, box, 1.0, points, "five", "by hand", pose=pose)
    if box is None:
        raise InputError("five points with x and y are needed", fix="Give five points")
    return Face(image_size, box, 1.0, torch.zeros(0, 2), "none", "by hand", five=five, pose=pose)
