"""Finding the alignment and channel order with which given features were computed.

Those of the features that Dense-Face was trained on are not released
(docs/reference/dense_face.md B2). They can be found from images, their features and the encoder's
weights: the right combination gives cosines near 1, the others do not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ...errors import IncompatibleError, InputError
from ..face import Face
from .aligned_recogniser import ALIGNMENTS, CHANNEL_ORDERS, FIVE_POINTS, encoder_input

#: Above this mean cosine the remaining difference is interpolation.
REPRODUCED = 0.95


@dataclass(frozen=True, eq=False)
class Pair:
    """An image [3, H, W] in 0..1, the face in it (None if none was found), its feature [D]."""

    image: Tensor
    face: Face | None
    feature: Tensor


@dataclass(frozen=True)
class Variant:
    """How well one channel order and alignment reproduce the features.

    cosines: One for each image that this alignment can use, -1..1.
    """

    channel_order: str
    alignment: str
    cosines: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean cosine; -1 if no image could be used."""
        return sum(self.cosines) / len(self.cosines) if self.cosines else -1.0

    @property
    def reproduces(self) -> bool:
        """Whether the features were computed in this way."""
        return bool(self.cosines) and self.mean >= REPRODUCED


@torch.inference_mode()
def calibrate(run: Callable[[Tensor], Tensor], pairs: Sequence[Pair]) -> list[Variant]:
    """Try all channel orders and alignments, best first.

    Args:
        run: The encoder: faces [1, 3, 112, 112] in -1..1 -> features [1, D].
        pairs: Images with their features; those without a face are tried as whole images only.

    Raises:
        InputError: There are no pairs.
        IncompatibleError: The given features have another length than the encoder's.
    """
    if not pairs:
        raise InputError("there are no images with features", fix="Give at least one pair")
    found = []
    for alignment in ALIGNMENTS:
        usable = [pair for pair in pairs if pair.face is not None or alignment != FIVE_POINTS]
        for order in CHANNEL_ORDERS:
            cosines = tuple(_cosine(run, pair, order, alignment) for pair in usable)
            found.append(Variant(order, alignment, cosines))
    return sorted(found, key=lambda variant: -variant.mean)


def _cosine(run: Callable[[Tensor], Tensor], pair: Pair, order: str, alignment: str) -> float:
    height, width = pair.image.shape[-2:]
    whole = Face((width, height), (0, 0, width, height), 1, torch.zeros(0, 2), "none", "image")
    features = run(encoder_input(pair.image, pair.face or whole, order, alignment))[0].cpu()
    if features.shape != pair.feature.shape:
        raise IncompatibleError(
            f"the encoder gives {len(features)} numbers, the features have {len(pair.feature)}",
            fix="Use features of the same encoder",
        )
    return float(F.cosine_similarity(features, pair.feature, dim=0))
