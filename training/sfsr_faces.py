"""Training data of SFSR adapters, shared by the tiny world and photographs."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Protocol

import torch
from torch import Tensor

from ..sfsr.compound_inputs import ExpressionBatch
from .data.batches import Batch

#: Probability that a training sample has an empty caption.
NO_CAPTION = 0.5
#: Probability that half of the known blendshapes of a sample are hidden.
HALF_KNOWN = 0.1


@dataclass(frozen=True, eq=False)
class SFSRFaces:
    """B images of faces, on one device.

    latents: Scaled latents [B, 4, h, w].
    people: Identities [B, D], unit norm.
    values, known: Blendshapes [B, 51] in 0..1, 0 where unknown; and whether they are known, bool.
    context: Hidden states of the captions [B, L, W].
    background: Mask and latents of the scenes without the faces [B, 5, h, w]
        (``sfsr.background``).
    heads: [B, 1, h, w], 1 = the person's own head, to be replaced.
    features: Fraction of each cell that is eye, brow or mouth [B, 1, h, w].
    hints: Pose images [B, 3, S, S] in 0..1; None if there are none.
    five: Eyes, nose and mouth corners [B, 5, 2] in 0..1; None if the reader does not need them.
    """

    latents: Tensor
    people: Tensor
    values: Tensor
    known: Tensor
    context: Tensor
    background: Tensor
    heads: Tensor
    features: Tensor
    hints: Tensor | None = None
    five: Tensor | None = None

    def __len__(self) -> int:
        return len(self.latents)

    def __getitem__(self, rows: slice | Tensor) -> SFSRFaces:
        picked: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        for name, tensor in picked.items():
            picked[name] = None if tensor is None else tensor[rows]
        return SFSRFaces(**picked)

    @property
    def expression(self) -> ExpressionBatch:
        """The blendshapes, without a learned vector."""
        nothing = self.values.new_zeros(len(self), 0)
        return ExpressionBatch(self.values, self.known, nothing, torch.zeros_like(self.known[:, 0]))


class FaceSource(Protocol):
    """Draws the images of a step.

    empty_context: Hidden states of the empty prompt [1, L, W].
    """

    @property
    def empty_context(self) -> Tensor: ...

    def draw(self, generator: torch.Generator, batch: Batch | None = None) -> SFSRFaces:
        """At least two images, determined by the generator of the step.

        Args:
            batch: Of the data set; None for a source that has its own images.
        """
        ...


@dataclass(frozen=True, eq=False)
class FaceReading:
    """Identities [B, D], unit norm, and blendshapes [B, 51] read from B images."""

    identity: Tensor
    blendshapes: Tensor


class FaceReader(Protocol):
    """A frozen, differentiable network that reads faces; an ``nn.Module``.

    reliability: Of each blendshape [51] in 0..1; None if it reads no blendshapes.
    """

    reliability: Tensor | None

    def __call__(self, images: Tensor, faces: SFSRFaces, generator: torch.Generator) -> FaceReading:
        """Read images [n, 3, H, W] in 0..1 whose faces are in the same places as ``faces``.

        ``n`` is a multiple of ``len(faces)``; image ``i`` corresponds to face ``i % len(faces)``.
        """
        ...


def half_known(known: Tensor, generator: torch.Generator) -> Tensor:
    """``known`` [B, 51] with about half of the values hidden in some rows."""
    some = torch.rand(len(known), 1, generator=generator) < HALF_KNOWN
    lot = torch.rand(known.shape, generator=generator) < 0.5
    return known & ~(some & lot).to(known.device)
