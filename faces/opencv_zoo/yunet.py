"""YuNet as an analyzer of faces: detection and five points (docs/reference/libraries.md 13)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ...errors import InputError
from ..face import Face
from ..pixels import to_array
from .network import YUNET

_SMALLEST = 32
"""Smallest detection size: the network's coarsest stride."""


class YuNet:
    """OpenCV's ``FaceDetectorYN`` with the user's file.

    Args:
        path: ``face_detection_yunet_2023mar.onnx`` or newer.
        detection_size: Longest side in pixels of the image that the network gets; larger images are
            downscaled, because it finds faces of about 10 to 300 pixels.
        threshold: Lowest score of a detection, 0..1.

    Raises:
        InputError: The detection size is too small.
        ModelFileError: The file is missing, damaged, or holds another network.
        FacePackError: OpenCV is not installed, or without ``FaceDetectorYN``.
    """

    name = "yunet"

    def __init__(self, path: str | Path, detection_size: int = 640, threshold: float = 0.6) -> None:
        if detection_size < _SMALLEST:
            raise InputError(
                f"a detection size of {detection_size}", fix=f"Use {_SMALLEST} or more, such as 640"
            )
        self._size, self._path = detection_size, path
        self._net = YUNET.create(path, (_SMALLEST, _SMALLEST), threshold)
        self._detect(np.zeros((_SMALLEST, _SMALLEST, 3), np.uint8))  # another network fails here

    def find(self, image: Tensor) -> list[Face]:
        """All faces in an image [3, H, W] in 0..1, highest score first."""
        height, width = image.shape[-2:]
        pixels = to_array(_at_most(image, self._size).flip(0))
        scale = torch.tensor([width / pixels.shape[1], height / pixels.shape[0]])
        found = [_face(row, (width, height), scale) for row in self._detect(pixels)]
        return sorted(found, key=lambda face: -face.score)

    def _detect(self, pixels: NDArray[np.uint8]) -> Tensor:
        """Rows [N, 15] of a BGR image: left, top, width, height, five points x, y, score."""
        self._net.setInputSize((pixels.shape[1], pixels.shape[0]))
        _, rows = YUNET.checked(lambda: self._net.detect(pixels), self._path)
        return torch.zeros(0, 15) if rows is None else torch.from_numpy(rows).float()


def _at_most(image: Tensor, longest: int) -> Tensor:
    height, width = image.shape[-2:]
    factor = longest / max(height, width)
    if factor >= 1:
        return image
    size = (max(1, round(height * factor)), max(1, round(width * factor)))
    return F.interpolate(image[None].float(), size, mode="bilinear", antialias=True)[0]


def _face(row: Tensor, image_size: tuple[int, int], scale: Tensor) -> Face:
    """A face of a row in pixels of the smaller image; ``scale`` [2] leads to the image's."""
    corner, size = row[:2], row[2:4]
    left, top = (corner * scale).tolist()
    right, bottom = ((corner + size) * scale).tolist()
    # OpenCV has the centre of the first pixel at 0, the pack at 0.5.
    five = (row[4:14].reshape(5, 2) + 0.5) * scale
    score = min(1.0, float(row[14]))
    return Face(image_size, (left, top, right, bottom), score, five, "five", YuNet.name)
