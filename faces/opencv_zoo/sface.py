"""SFace as a recogniser, for faces of any analyzer (docs/reference/libraries.md 13)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..crops.alignment import ALIGNED_SIZE, alignment
from ..encoders.names import SFACE as ENCODER
from ..face import Face
from ..identity import Identity
from ..pixels import to_array
from .network import SFACE

LENGTH = 128
"""Numbers of an identity."""


class SFace:
    """OpenCV's ``FaceRecognizerSF`` with the user's file; aligns faces by its ``alignCrop``.

    Its identities condition no adapter: they are for measuring.

    Args:
        path: ``face_recognition_sface_2021dec.onnx``.

    Raises:
        ModelFileError: The file is missing, damaged, or holds another network.
        FacePackError: OpenCV is not installed, or without ``FaceRecognizerSF``.
    """

    encoder = ENCODER

    def __init__(self, path: str | Path) -> None:
        self._path = path
        self._net = SFACE.create(path)
        size = (ALIGNED_SIZE, ALIGNED_SIZE, 3)
        if self._features(np.zeros(size, np.uint8)).shape != (1, LENGTH):
            raise SFACE.another(path)

    def identify(self, image: Tensor, face: Face) -> Identity:
        """See ``faces.analyzers.Recogniser``."""
        face.require_size(image.shape[-1], image.shape[-2])
        five = face.require_five()
        alignment(five)  # points that coincide fail; alignCrop would return a black image
        row = np.zeros((1, 15), np.float32)  # as YuNet's rows, of which the points are read
        row[0, 4:14] = (five - 0.5).ravel().numpy()  # OpenCV's first pixel has its centre at 0
        aligned = self._net.alignCrop(to_array(image.flip(0)), row)
        return Identity.from_features(torch.from_numpy(self._features(aligned)), self.encoder)

    def _features(self, aligned: NDArray[np.uint8]) -> NDArray[np.float32]:
        """BGR [112, 112, 3] -> [1, 128]."""
        return SFACE.checked(lambda: self._net.feature(aligned), self._path)
