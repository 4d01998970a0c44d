"""The tiny world's evaluator as a face recogniser (``faces.analyzers``): it only ever measures."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ...faces.face import Face
from ...faces.identity import Identity
from ...faces.similarity import Similarity
from ...faces.warping import warp
from .analyzer import IMAGE_SIZE

EVALUATOR = "tiny-world-judge"

#: Side of a portrait in heights of the box that the analyzer finds in it: mean of held-out people.
PORTRAIT = 1.42
WHOLE = 0.6
"""A head whose portrait would take this share of the image's sides is alone in it."""


class EvaluatorRecogniser:
    """Says who a face is, as the evaluator sees it.

    Args:
        net: The evaluator's identity: [B, 3, 128, 128] in 0..1 -> [B, 128].
    """

    encoder = EVALUATOR

    def __init__(self, net: Callable[[Tensor], Tensor]) -> None:
        self._net = net

    def identify(self, image: Tensor, face: Face) -> Identity:
        """Who a face found in an image [3, H, W] in 0..1 is.

        Raises:
            InputError: The image has another size than the one the face was found in.
        """
        height, width = image.shape[-2:]
        face.require_size(width, height)
        return Identity.from_features(self._net(self._portrait(image, face)[None])[0], EVALUATOR)

    @staticmethod
    def _portrait(image: Tensor, face: Face) -> Tensor:
        """The head as portraits of the tiny world have it: the whole image where it is one."""
        left, top, right, bottom = face.box
        side = PORTRAIT * (bottom - top)
        if side > WHOLE * max(image.shape[-2:]):
            size = (IMAGE_SIZE, IMAGE_SIZE)
            return F.interpolate(image[None], size, mode="bilinear", antialias=True)[0]
        middle = torch.tensor([(left + right) / 2, (top + bottom) / 2], dtype=torch.float64)
        unturned = torch.eye(2, dtype=torch.float64)
        place = Similarity(side / IMAGE_SIZE, unturned, middle - side / 2)
        return warp(image, place, IMAGE_SIZE, IMAGE_SIZE, smooth=False)
