"""A face recogniser around an encoder of aligned 112 x 112 faces."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ...errors import InputError
from ..crops.alignment import ALIGNED_SIZE, align_face
from ..face import Face
from ..identity import Identity

#: Channel orders of encoders. IR-SE50's is ambiguous (docs/reference/dense_face.md A4): its
#: training images had red and blue swapped, but most users feed it RGB.
CHANNEL_ORDERS = ("RGB", "BGR")
#: What the encoder gets: the face aligned to the template by its five points, or the whole image.
FIVE_POINTS, WHOLE_IMAGE = "five points", "whole picture"
ALIGNMENTS = (FIVE_POINTS, WHOLE_IMAGE)


class AlignedRecogniser:
    """A recogniser (``faces.analyzers``) around a network.

    Args:
        encoder: Name of the encoder, stored in its identities.
        run: The encoder: faces [1, 3, 112, 112] in -1..1 -> features [1, D], any device.
        channel_order: One of :data:`CHANNEL_ORDERS`.
        alignment: One of :data:`ALIGNMENTS`.

    Raises:
        InputError: An option is unknown.
    """

    def __init__(
        self,
        encoder: str,
        run: Callable[[Tensor], Tensor],
        channel_order: str = "RGB",
        alignment: str = FIVE_POINTS,
    ) -> None:
        for value, known in ((channel_order, CHANNEL_ORDERS), (alignment, ALIGNMENTS)):
            if value not in known:
                raise InputError(f"{value!r} is unknown", fix=f"Use one of {', '.join(known)}")
        self.encoder, self._run = encoder, run
        self._order, self._alignment = channel_order, alignment

    @torch.inference_mode()
    def identify(self, image: Tensor, face: Face) -> Identity:
        """See ``faces.analyzers.Recogniser``."""
        face.require_size(image.shape[-1], image.shape[-2])
        features = self._run(encoder_input(image, face, self._order, self._alignment))
        return Identity.from_features(features[0], self.encoder)


def encoder_input(image: Tensor, face: Face, channel_order: str, alignment: str) -> Tensor:
    """The encoder's input for a face of an image [3, H, W] in 0..1: [1, 3, 112, 112] in -1..1.

    Raises:
        InputError: The alignment needs five points and the face has none.
    """
    if alignment == FIVE_POINTS:
        cut = align_face(image.float(), face.require_five())[None]
    else:
        size = (ALIGNED_SIZE, ALIGNED_SIZE)
        cut = F.interpolate(image[None].float(), size=size, mode="bilinear", antialias=True)
    if channel_order == "BGR":
        cut = cut.flip(1)
    return cut.clamp(0, 1) * 2 - 1
