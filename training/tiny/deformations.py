"""Renders with a malformed face: parts bent, smeared, repeated, or another face's.

What diffusion models get wrong in faces of this size, made on purpose: an eye that is missing or
has run, a second mouth, halves that do not belong together.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ...demo.networks.malformed import PATCHES

#: Patches where a face is deformed, eyes and mouth most often.
_PLACES = (0, 1, 6, 0, 1, 6, 5, 4)
_MOST = 2
"""Deformations per face: one or two."""


def deformed(images: Tensor, landmarks: Tensor, generator: torch.Generator) -> Tensor:
    """Malformed versions of images [N, 3, H, W] in 0..1 with landmarks [N, 68, 2] in 0..1."""
    deform = _Deform(images, landmarks, generator)
    return torch.stack([deform(number) for number in range(len(images))])


class _Deform:
    """Deforms single images; others of the batch provide foreign parts."""

    def __init__(self, images: Tensor, landmarks: Tensor, generator: torch.Generator) -> None:
        self.images, self.landmarks, self.generator = images, landmarks, generator
        apart = landmarks - landmarks.mean(1, keepdim=True)
        self.sizes = apart.square().sum(-1).mean(1).sqrt()
        across = (torch.arange(images.shape[-1]) + 0.5) / images.shape[-1]
        down = (torch.arange(images.shape[-2]) + 0.5) / images.shape[-2]
        y, x = torch.meshgrid(down, across, indexing="ij")
        self.places = torch.stack([x, y], -1)

    def __call__(self, number: int) -> Tensor:
        image = self.images[number]
        kinds: tuple[Callable[..., Tensor], ...] = (
            self._bent, self._foreign, self._smeared, self._repeated,
        )  # fmt: skip
        for _ in range(1 + self._below(_MOST)):
            size = self.sizes[number]
            centre = self._centre(number, _PLACES[self._below(len(_PLACES))], 0.075)
            radii = size * (torch.tensor([0.22, 0.18]) + torch.tensor([0.35, 0.3]) * self._unit(2))
            distance = ((self.places - centre) / radii).square().sum(-1)
            mask = (-distance.square()).exp()
            image = kinds[self._below(len(kinds))](image, number, centre, mask)
        return image

    def _bent(self, image: Tensor, number: int, _: Tensor, mask: Tensor) -> Tensor:
        far = self.sizes[number] * (0.35 + 0.5 * self._unit(1))
        angle = 2 * math.pi * self._unit(1)
        by = far * torch.cat([angle.cos(), angle.sin()])
        return self._sampled(image, self.places + mask[..., None] * by)

    def _foreign(self, image: Tensor, number: int, centre: Tensor, mask: Tensor) -> Tensor:
        """A part of another face, at the size of this one."""
        other = self._below(len(self.images))
        source = self._centre(other, _PLACES[self._below(len(_PLACES))], 0.25)
        scale = self.sizes[other] / self.sizes[number]
        part = self._sampled(self.images[other], (self.places - centre) * scale + source)
        return self._blended(image, part, mask)

    def _smeared(self, image: Tensor, _number: int, _: Tensor, mask: Tensor) -> Tensor:
        length = 9 + 2 * self._below(5)
        sides = [(length, length), (length, 3), (3, length)][self._below(3)]
        edges = (sides[1] // 2, sides[1] // 2, sides[0] // 2, sides[0] // 2)
        blurred = F.avg_pool2d(F.pad(image[None], edges, mode="replicate"), sides, 1)[0]
        return self._blended(image, blurred, mask)

    def _repeated(self, image: Tensor, number: int, centre: Tensor, mask: Tensor) -> Tensor:
        """Another place of the same face."""
        source = self._centre(number, self._below(len(PATCHES)), 0.3)
        part = self._sampled(image, self.places - centre + source)
        return self._blended(image, part, mask)

    def _blended(self, image: Tensor, part: Tensor, mask: Tensor) -> Tensor:
        weight = (0.6 + 0.4 * self._unit(1)) * mask
        return image + weight * (part - image)

    def _centre(self, number: int, patch: int, spread: float) -> Tensor:
        """A point [2] near a patch of a face, at most ``spread`` face sizes away along x and y."""
        point = self.landmarks[number, list(PATCHES[patch])].mean(0)
        return point + self.sizes[number] * spread * (2 * self._unit(2) - 1)

    @staticmethod
    def _sampled(image: Tensor, places: Tensor) -> Tensor:
        grid = (2 * places - 1)[None]
        return F.grid_sample(image[None], grid, padding_mode="border", align_corners=False)[0]

    def _unit(self, count: int) -> Tensor:
        return torch.rand(count, generator=self.generator)

    def _below(self, limit: int) -> int:
        return int(torch.randint(limit, (1,), generator=self.generator))
