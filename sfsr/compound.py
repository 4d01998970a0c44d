"""Compound embeddings: who (several recognisers) and which face (blendshapes and a learned vector).

The paper says that both sides are compound and balanced; how is not public. Here each side becomes
the same number of tokens of the same size, so that 512 numbers of identity do not drown 51 of
expression. That one recogniser alone is biased and three are better is the finding of the same
authors in GaussianSwap (arXiv 2601.05511), where ArcFace carries nearly all.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .compound_inputs import CompoundLayout, ExpressionBatch, IdentityBatch
from .expression import COUNT


@dataclass(frozen=True, eq=False)
class CompoundTokens:
    """What the UNet's attention reads: identity and expression, each [B, n, W]."""

    identity: Tensor
    expression: Tensor


class CompoundEmbedding(nn.Module):
    """Identities and expressions -> tokens of the same count, width and size.

    Blendshapes are not layer-normed themselves: half a smile would become a whole one. They pass a
    layer with a bias first. The last layer norm of both sides is without weights: it makes their
    tokens equally large, in training and after it.
    """

    def __init__(self, layout: CompoundLayout) -> None:
        super().__init__()
        self.layout = layout
        self.identity_in = nn.ModuleList(
            _Entrance(size, layout.hidden) for size in layout.identities.values()
        )
        self.blendshapes_in = _Entrance(2 * COUNT, layout.hidden)
        self.learned_in = _Entrance(layout.learned, layout.hidden) if layout.learned else None
        self.identity_out = _tokens_of(layout)
        self.expression_out = _tokens_of(layout)

    def forward(self, who: IdentityBatch, face: ExpressionBatch) -> CompoundTokens:
        """Both sides as tokens, identity and expression [B, n, W]."""
        return CompoundTokens(self.identity(who), self.expression(face))

    def identity(self, who: IdentityBatch) -> Tensor:
        """[B, n, W] of the encoders that are present; an absent one changes nothing."""
        parts = [
            who.present[name][:, None] * entrance(who.vectors[name])
            for name, entrance in zip(self.layout.identities, self.identity_in, strict=True)
        ]
        return self._tokens(self.identity_out, torch.stack(parts).sum(0))

    def expression(self, face: ExpressionBatch) -> Tensor:
        """[B, n, W]; values that are not known count as such, not as zero."""
        known = face.known.to(face.values)
        hidden = self.blendshapes_in(torch.cat([face.values * known, known], 1))
        if self.learned_in is not None:
            hidden = hidden + face.has_learned[:, None] * self.learned_in(face.learned)
        return self._tokens(self.expression_out, hidden)

    def _tokens(self, out: nn.Module, hidden: Tensor) -> Tensor:
        tokens = out(hidden).unflatten(1, (self.layout.tokens, self.layout.width))
        return F.layer_norm(tokens, (self.layout.width,))


class _Entrance(nn.Module):
    """[B, D] -> [B, H]: a layer, layer norm, GELU."""

    def __init__(self, size: int, hidden: int) -> None:
        super().__init__()
        self.linear = nn.Linear(size, hidden)
        self.norm = nn.LayerNorm(hidden)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.norm(self.linear(x)))


def _tokens_of(layout: CompoundLayout) -> nn.Module:
    hidden, tokens = layout.hidden, layout.tokens * layout.width
    return nn.Sequential(nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, tokens))


def without_identity(expression: Tensor, identity: Tensor) -> Tensor:
    """Expression tokens [B, n, W] less what lies in the directions of identity tokens [B, m, W].

    A cheap stand-in for FaceCrafter's loss that keeps control from identity (arXiv 2505.15313).
    """
    basis, _ = torch.linalg.qr(identity.float().mT)
    flat = expression.float()
    return (flat - (flat @ basis) @ basis.mT).to(expression)
