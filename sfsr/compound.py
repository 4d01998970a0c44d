"""Compound embeddings of identity (recognisers) and expression (blendshapes, learned vector).

The paper calls both embeddings compound and balanced; how is not public. Here each source becomes
the same number of tokens of the same norm, so that 512 identity values do not outweigh 51
blendshapes. The same authors found in GaussianSwap (arXiv 2601.05511) that one recogniser is biased
and three are better, with ArcFace carrying most of the information.
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
    """Tokens for the UNet's cross-attention: identity and expression, each [B, n, W]."""

    identity: Tensor
    expression: Tensor


class CompoundEmbedding(nn.Module):
    """Identities and expressions -> tokens of the same number, width and norm.

    Blendshapes go through a biased linear layer before the first layer norm, which would otherwise
    turn half a smile into a full one. The last layer norm of both sources has no weights, so their
    tokens keep the same norm in training.
    """

    def __init__(self, layout: CompoundLayout) -> None:
        super().__init__()
        self.layout = layout
        self.identity_in = nn.ModuleList(
            _InputProjection(size, layout.hidden) for size in layout.identities.values()
        )
        self.blendshapes_in = _InputProjection(2 * COUNT, layout.hidden)
        self.learned_in = (
            _InputProjection(layout.learned, layout.hidden) if layout.learned else None
        )
        self.identity_out = _token_mlp(layout)
        self.expression_out = _token_mlp(layout)

    def forward(self, who: IdentityBatch, face: ExpressionBatch) -> CompoundTokens:
        """Tokens of both sources, each [B, n, W]."""
        return CompoundTokens(self.identity(who), self.expression(face))

    def identity(self, who: IdentityBatch) -> Tensor:
        """Identity tokens [B, n, W] from the encoders that are present."""
        parts = [
            who.present[name][:, None] * project(who.vectors[name])
            for name, project in zip(self.layout.identities, self.identity_in, strict=True)
        ]
        return self._tokens(self.identity_out, torch.stack(parts).sum(0))

    def expression(self, face: ExpressionBatch) -> Tensor:
        """Expression tokens [B, n, W]; unknown values are distinguished from zeros."""
        known = face.known.to(face.values)
        hidden = self.blendshapes_in(torch.cat([face.values * known, known], 1))
        if self.learned_in is not None:
            hidden = hidden + face.has_learned[:, None] * self.learned_in(face.learned)
        return self._tokens(self.expression_out, hidden)

    def _tokens(self, out: nn.Module, hidden: Tensor) -> Tensor:
        tokens = out(hidden).unflatten(1, (self.layout.tokens, self.layout.width))
        return F.layer_norm(tokens, (self.layout.width,))


class _InputProjection(nn.Module):
    """[B, D] -> [B, H]: linear, layer norm, GELU."""

    def __init__(self, size: int, hidden: int) -> None:
        super().__init__()
        self.linear = nn.Linear(size, hidden)
        self.norm = nn.LayerNorm(hidden)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.norm(self.linear(x)))


def _token_mlp(layout: CompoundLayout) -> nn.Module:
    hidden, tokens = layout.hidden, layout.tokens * layout.width
    return nn.Sequential(nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, tokens))


def without_identity(expression: Tensor, identity: Tensor) -> Tensor:
    """Remove from expression tokens [B, n, W] the subspace of identity tokens [B, m, W].

    A cheap substitute for FaceCrafter's loss that disentangles control and identity (arXiv
    2505.15313).
    """
    basis, _ = torch.linalg.qr(identity.float().mT)
    flat = expression.float()
    return (flat - (flat @ basis) @ basis.mT).to(expression)
