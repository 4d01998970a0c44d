"""The tiny world's evaluator as a face recogniser (``faces.analyzers``)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ...faces.crops.similarity import Similarity
from ...faces.crops.warping import warp
from ...faces.face import Face
from ...faces.identity import Identity
from .analyzer import IMAGE_SIZE

EVALUATOR = "tiny-world-evaluator"

#: Side of a portrait over the height of the analyzer's face box in it: mean over held-out people.
PORTRAIT = 1.42
WHOLE = 0.6
"""If the portrait would exceed this fraction of the image's longer side, it is the whole image."""


class EvaluatorRecogniser:
    """Identities of the evaluator.

    Args:
        net: Identity head of the evaluator: [B, 3, 128, 128] in 0..1 -> [B, 128].
    """

    encoder = EVALUATOR

    def __init__(self, net: Callable[[Tensor], Tensor]) -> None:
        self._net = net

    def identify(self, image: Tensor, face: Face) -> Identity:
        """See ``faces.analyzers.Recogniser``; five points are not needed."""
        height, width = image.shape[-2:]
        face.require_size(width, height)
        return Identity.from_features(self._net(self._portrait(image, face)[None])[0], EVALUATOR)

    @staticmethod
    def _portrait(image: Tensor, face: Face) -> Tensor:
        """Crop the head as in portraits of the tiny world, or take the whole image if it is one."""
        left, top, right, bottom = face.box
        side = PORTRAIT * (bottom - top)
        if side > WHOLE * max(image.shape[-2:]):
            size = (IMAGE_SIZE, IMAGE_SIZE)
            return F.interpolate(image[None], size, mode="bilinear", antialias=True)[0]
        centre = torch.tensor([(left + right) / 2, (top + bottom) / 2], dtype=torch.float64)
        unturned = torch.eye(2, dtype=torch.float64)
        place = Similarity(side / IMAGE_SIZE, unturned, centre - side / 2)
        return warp(image, place, IMAGE_SIZE, IMAGE_SIZE, smooth=False)
