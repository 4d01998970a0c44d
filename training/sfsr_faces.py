"""What SFSR learns from, wherever the faces come from: the tiny world, or photographs."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Protocol

import torch
from torch import Tensor

from ..sfsr.compound_inputs import ExpressionBatch

#: Chances that a training sample comes without words, and that half of an expression's values are
#: not known.
NO_WORDS, HALF_KNOWN = 0.5, 0.1


@dataclass(frozen=True, eq=False)
class SFSRFaces:
    """B images of faces, on one device.

    latents: Scaled [B, 4, h, w].
    people: Identities [B, D], unit norm.
    values, known: What the faces do [B, 51], in 0..1 and 0 where it is not known, and bool.
    context: The words' hidden states [B, L, W].
    background: The scenes without these faces [B, 5, h, w] (``sfsr.background``).
    heads: [B, 1, h, w], 1 = the own head, where another one may come.
    features: How much of each cell is eye, brow or mouth [B, 1, h, w].
    hints: Pose images [B, 3, S, S] in 0..1; None where nothing is told of the pose.
    five: Eyes, nose, corners of the mouth [B, 5, 2] in 0..1 of the image; None where the reader
        does not ask for them.
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
        """What the faces do, without a learned vector."""
        nothing = self.values.new_zeros(len(self), 0)
        return ExpressionBatch(self.values, self.known, nothing, torch.zeros_like(self.known[:, 0]))


class FaceSource(Protocol):
    """Draws the images of a step.

    wordless: Hidden states of the empty prompt [1, L, W].
    """

    @property
    def wordless(self) -> Tensor: ...

    def draw(self, generator: torch.Generator) -> SFSRFaces:
        """Two images or more; another step's generator gives others."""
        ...


@dataclass(frozen=True, eq=False)
class Seen:
    """Who is seen in B images [B, D], unit norm, and what the faces do [B, 51]."""

    identity: Tensor
    blendshapes: Tensor


class FaceReader(Protocol):
    """Networks that look at images while gradients pass. Frozen; an ``nn.Module``.

    legible: How much of each blendshape it can read [51], 0..1; None for one that reads none.
    """

    legible: Tensor | None

    def __call__(self, images: Tensor, faces: SFSRFaces, generator: torch.Generator) -> Seen:
        """Look at images [n, 3, H, W] in 0..1 whose faces stand where those of ``faces`` do.

        ``n`` is a multiple of their number: the same faces over and over.
        """
        ...


def half_known(known: Tensor, generator: torch.Generator) -> Tensor:
    """[B, 51] bool with half of what is known left out in some rows."""
    some = torch.rand(len(known), 1, generator=generator) < HALF_KNOWN
    lot = torch.rand(known.shape, generator=generator) < 0.5
    return known & ~(some & lot).to(known.device)
