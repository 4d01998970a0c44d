"""Where, and in which steps, face-generation mode draws in a joint sampling.

Masks: 1 = face-generation mode, 0 = text-editing mode.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from ....dense_face.blending import area_resize
from ....errors import IncompatibleError
from ....faces.masks.compositing import feather


class BlendMask(Protocol):
    """The weight of face-generation mode in every step; text-editing mode has the rest.

    :meth:`at` is called after both modes have run, so that a mask can be predicted from what they
    computed (``predicted_blend_mask.py``).
    """

    @property
    def always(self) -> int | None:
        """1 or 0 if one mode is known beforehand to draw everything in all steps."""
        ...

    def alone(self, sigma: float) -> int | None:
        """1 or 0 if one mode draws all of this step; the other is then not computed."""
        ...

    def at(self, sigma: float, scene: Tensor, face: Tensor) -> Tensor:
        """The mask [B or 1, 1, h, w] in 0..1 of a step, given both clean latents [B, 4, h, w]."""
        ...


class FixedBlendMask:
    """A given mask within a range of steps.

    Args:
        mask: [M, H, W] in 0..1 over the whole image, 1 = face-generation mode draws; M is 1 or
            the number of images in the batch.
        sigmas: Highest and lowest noise level at which it holds; outside them the mask is 0.
        feather: Cells of the latent over which the edge fades, inside the mask.
    """

    def __init__(self, mask: Tensor, sigmas: tuple[float, float], feather: float = 0.0) -> None:
        self._mask = mask
        self._high, self._low = sigmas
        self._feather = feather
        self._small: dict[tuple[int, ...], Tensor] = {}
        self._everywhere = _uniform(mask)

    @property
    def always(self) -> int | None:
        """1 or 0 if one mode draws everything in all steps."""
        if self._everywhere == 0 or self._high < self._low:
            return 0
        whole = self._everywhere == 1 and self._high == float("inf") and self._low == 0
        return 1 if whole else None

    def alone(self, sigma: float) -> int | None:
        """See :class:`BlendMask`."""
        return self._everywhere if self._low <= sigma <= self._high else 0

    def at(self, sigma: float, scene: Tensor, face: Tensor) -> Tensor:
        """See :class:`BlendMask`.

        Raises:
            IncompatibleError: The masks are neither one nor one for each image.
        """
        size = tuple(scene.shape[-2:])
        if size not in self._small:
            # In double precision wholly white cells stay exactly 1.
            resized = area_resize(self._mask.double().cpu(), *size).float()[:, None]
            self._small = {size: feather(resized, self._feather)}
        small = self._small[size]
        if small.shape[0] not in (1, scene.shape[0]):
            raise IncompatibleError(
                f"there are {small.shape[0]} masks for a batch of {scene.shape[0]} images",
                where="Joint Guider",
                fix="Give one for all images or exactly one per image",
            )
        return small


def _uniform(mask: Tensor) -> int | None:
    """0 or 1 if the mask has that value everywhere, else None."""
    for value in (0, 1):
        if bool(torch.all(mask == value)):
            return value
    return None
