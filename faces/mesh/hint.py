"""Drawing landmarks as the annotator of the MediaPipe-face ControlNet draws them.

Source: docs/reference/published_weights.md D3.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import InputError
from ..dnn import opencv
from ..face import Face
from .edges import FEATURES, PUPILS

Image = NDArray[np.uint8]

_THICKNESS = 2
_HALF_PUPIL = 2
_DARKENED = 0.6
SMALLEST_SIDE, LARGEST_SIDE = 16, 8192
SMALLEST_FACE = 64
"""Pixels along the shorter side; the annotator leaves out smaller faces."""


def check_canvas(size: tuple[int, int]) -> None:
    """Raise InputError unless this is a size (width, height) that can be drawn on."""
    if not all(SMALLEST_SIDE <= side <= LARGEST_SIDE for side in size):
        raise InputError(
            f"the canvas has {size[0]}x{size[1]} px",
            fix=f"Choose sides from {SMALLEST_SIDE} to {LARGEST_SIDE} px",
        )


def draw_meshes(meshes: list[Tensor], size: tuple[int, int]) -> Image:
    """Draw meshes [478, 2 or 3] in pixels on black, in their order.

    Lines with an end outside the canvas, and pupils outside of it, are left out, as the annotator
    does. Hidden parts of a turned face are drawn.

    Args:
        size: Width and height in pixels.

    Returns:
        [height, width, 3] RGB.

    Raises:
        InputError: The canvas is too small or too large, or a mesh has not 478 finite points.
        FacePackError: OpenCV is not installed.
    """
    check_canvas(size)
    cv2 = opencv()
    canvas = np.zeros((size[1], size[0], 3), np.uint8)
    for mesh in meshes:
        check_mesh(mesh)
        inside = on_canvas(mesh, size).tolist()
        # The annotator takes the pixel that a point lies in; the far edges belong to the last one.
        limit = torch.tensor(size) - 1
        pixels = torch.minimum(mesh[:, :2].double().floor(), limit).int().tolist()
        for feature in FEATURES:
            for start, end in feature.edges:
                if inside[start] and inside[end]:
                    cv2.line(canvas, pixels[start], pixels[end], feature.colour, _THICKNESS)
        for pupil, colour in PUPILS.items():
            if inside[pupil]:
                x, y = pixels[pupil]
                low = [max(0, v - _HALF_PUPIL) for v in (x, y)]
                canvas[low[1] : y + _HALF_PUPIL, low[0] : x + _HALF_PUPIL] = colour
    return canvas


def draw_faces(faces: Sequence[Face], size: tuple[int, int]) -> tuple[Image, int]:
    """Draw detected faces as they are; the smallest are left out, as the annotator does.

    Returns:
        The drawing, as :func:`draw_meshes`, and how many faces were left out.

    Raises:
        InputError: A face comes from an image of another size, or not from the landmarker.
    """
    for face in faces:
        face.require_size(*size)
        check_mesh(face.landmarks)
    meshes = [face.landmarks for face in faces if shorter_side(face.landmarks) >= SMALLEST_FACE]
    return draw_meshes(meshes, size), len(faces) - len(meshes)


def over(drawings: Tensor, images: Tensor) -> Tensor:
    """Drawings on black [B, 3, H, W] over darkened images [1 or B, 3, H, W], all in 0..1."""
    return torch.where((drawings > 0).any(1, keepdim=True), drawings, images * _DARKENED)


def shorter_side(mesh: Tensor) -> float:
    """Of the mesh's bounds, in pixels, without the irises."""
    places = mesh[:468, :2]
    return float((places.amax(0) - places.amin(0)).min())


def on_canvas(mesh: Tensor, size: tuple[int, int]) -> Tensor:
    """[478] bool: which points lie on the canvas, its edges included."""
    places = mesh[:, :2].double()
    return ((places >= 0) & (places <= torch.tensor(size, dtype=torch.float64))).all(1)


def check_mesh(mesh: Tensor) -> None:
    """Raise InputError unless the mesh has 478 finite points."""
    if mesh.ndim != 2 or len(mesh) != 478 or mesh.shape[1] < 2:
        raise InputError(
            f"the face has {len(mesh)} landmarks, its mesh needs 478",
            fix="Detect the face with the landmarker of Load Face Analyzer",
        )
    if not bool(mesh.isfinite().all()):
        raise InputError(
            "the face mesh has coordinates that are not numbers", fix="Use another image"
        )
