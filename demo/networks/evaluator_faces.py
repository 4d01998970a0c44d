"""The tiny world's judge as a recogniser of faces (``faces.analyzers``): it only ever measures."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ...faces.face import Face
from ...faces.identity import Identity
from ...faces.similarity import Similarity
from ...faces.warping import warped
from .analyzer import PICTURE_SIZE

JUDGE = "tiny-world-judge"

#: Side of a portrait in heights of the box that the analyzer finds in it: mean of held-out people.
PORTRAIT = 1.42
WHOLE = 0.6
"""A head whose portrait would take this share of the picture's sides is alone in it."""


class JudgeOfFaces:
    """Says who a face is, as the judge sees it.

    Args:
        net: The judge's identity: [B, 3, 128, 128] in 0..1 -> [B, 128].
    """

    encoder = JUDGE

    def __init__(self, net: Callable[[Tensor], Tensor]) -> None:
        self._net = net

    def identify(self, picture: Tensor, face: Face) -> Identity:
        """Who a face found in a picture [3, H, W] in 0..1 is.

        Raises:
            InputError: The picture has another size than the one the face was found in.
        """
        height, width = picture.shape[-2:]
        face.require_size(width, height)
        return Identity.from_features(self._net(self._portrait(picture, face)[None])[0], JUDGE)

    @staticmethod
    def _portrait(picture: Tensor, face: Face) -> Tensor:
        """The head as portraits of the tiny world have it: the whole picture where it is one."""
        left, top, right, bottom = face.box
        side = PORTRAIT * (bottom - top)
        if side > WHOLE * max(picture.shape[-2:]):
            size = (PICTURE_SIZE, PICTURE_SIZE)
            return F.interpolate(picture[None], size, mode="bilinear", antialias=True)[0]
        middle = torch.tensor([(left + right) / 2, (top + bottom) / 2], dtype=torch.float64)
        unturned = torch.eye(2, dtype=torch.float64)
        place = Similarity(side / PICTURE_SIZE, unturned, middle - side / 2)
        return warped(picture, place, PICTURE_SIZE, PICTURE_SIZE, smooth=False)
