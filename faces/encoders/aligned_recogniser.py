"""Who a face is, whoever found it: a recogniser that reads faces cut to 112 x 112."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ...errors import InputError
from ..alignment import ALIGNED_SIZE, align_face
from ..face import Face
from ..identity import Identity

#: In which order a network reads colours. Of IR-SE50's it is not settled
#: (docs/reference/dense_face.md A4): its training images had red and blue swapped, its users mostly
#: give RGB.
CHANNEL_ORDERS = ("RGB", "BGR")
#: What is cut out: the face turned to the template by its five points, or the image as it is.
FIVE_POINTS, WHOLE_IMAGE = "five points", "whole picture"
ALIGNMENTS = (FIVE_POINTS, WHOLE_IMAGE)


class AlignedRecogniser:
    """A recogniser (``faces.analyzers``) around a network.

    Args:
        encoder: Name that its identities bear.
        run: Faces [1, 3, 112, 112] in -1..1 -> features [1, D], wherever the network lives.
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
        """Who a face in an image [3, H, W] in 0..1 is.

        Raises:
            InputError: The face has no points or comes from an image of another size.
        """
        face.require_size(image.shape[-1], image.shape[-2])
        features = self._run(encoder_input(image, face, self._order, self._alignment))
        return Identity.from_features(features[0], self.encoder)


def encoder_input(image: Tensor, face: Face, channel_order: str, alignment: str) -> Tensor:
    """A face of an image [3, H, W] in 0..1 as recognisers read it: [1, 3, 112, 112] in -1..1.

    Raises:
        InputError: The face has no points, and the alignment wants them.
    """
    if alignment == FIVE_POINTS:
        cut = align_face(image.float(), face.require_five())[None]
    else:
        size = (ALIGNED_SIZE, ALIGNED_SIZE)
        cut = F.interpolate(image[None].float(), size=size, mode="bilinear", antialias=True)
    if channel_order == "BGR":
        cut = cut.flip(1)
    return cut.clamp(0, 1) * 2 - 1
