"""Decoupled cross-attention: the tokens of each source have keys and values of their own.

    out = A(q, text) + w_id * A(q, identity) + w_exp * A(q, expression)

as IP-Adapter (arXiv 2308.06721) does for one source. A source with weight 0, or absent for a
sample, contributes exactly nothing; that is also what training shows for "unconditional", so that
guidance can be split by source (``guidance``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .compound import CompoundTokens

IDENTITY, EXPRESSION = "identity", "expression"
SOURCES = (IDENTITY, EXPRESSION)

KeysValues = tuple[Tensor, Tensor]
"""Keys and values [B, n, C], computed once for all steps of a run."""


class SourceProjection(nn.Module):
    """Keys and values of one source in one attention layer."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.to_k = nn.Linear(width, channels, bias=False)
        self.to_v = nn.Linear(width, channels, bias=False)
        # An untrained adapter changes nothing; the values' gradient is not zero all the same.
        nn.init.zeros_(self.to_v.weight)

    def forward(self, tokens: Tensor) -> KeysValues:
        """Tokens [B, n, W] -> keys and values [B, n, C]."""
        return self.to_k(tokens), self.to_v(tokens)


class TokenAttention(nn.Module):
    """Keys and values of both sources for all cross-attentions of a UNet.

    Args:
        channels: Layer to its width C; a layer is called by its place in Stable Diffusion's own
            names (``input_blocks.1.1``).
        width: Of the tokens.
        sources: Those that there are; adapters of others know the identity alone.
    """

    def __init__(
        self, channels: Mapping[str, int], width: int, sources: Sequence[str] = SOURCES
    ) -> None:
        super().__init__()
        self.layers = tuple(channels)
        self.projections = nn.ModuleDict(
            {
                _key(layer): nn.ModuleDict(
                    {source: SourceProjection(width, count) for source in sources}
                )
                for layer, count in channels.items()
            }
        )

    def keys_values(self, tokens: CompoundTokens) -> dict[str, dict[str, KeysValues]]:
        """Layer to source to keys and values, for a whole run."""
        given = {IDENTITY: tokens.identity, EXPRESSION: tokens.expression}
        return {
            layer: {source: self.of(layer, source)(given[source]) for source in SOURCES}
            for layer in self.layers
        }

    def of_source(self, source: str, tokens: Tensor) -> dict[str, KeysValues]:
        """Layer to keys and values of one source."""
        return {layer: self.of(layer, source)(tokens) for layer in self.layers}

    def of(self, layer: str, source: str) -> nn.Module:
        """The projection of one source in one layer."""
        sources = self.projections[_key(layer)]
        return sources.get_submodule(source)


def source_attention(
    query: Tensor,
    keys_values: KeysValues,
    heads: int,
    weight: float | Tensor = 1.0,
    mask: Tensor | None = None,
) -> Tensor:
    """What one source adds to a layer's output [B, N, C], before its ``to_out``.

    Args:
        query: [B, N, C], the layer's own.
        keys_values: Of the source, [B, n, C] each.
        heads: Of the layer.
        weight: One for all, or [B]; 0 for samples in which the source is absent.
        mask: [B, N] or [1, N], 0..1 by place; None for everywhere.
    """
    q, k, v = (x.unflatten(2, (heads, -1)).transpose(1, 2) for x in (query, *keys_values))
    out = F.scaled_dot_product_attention(q, k.to(q), v.to(q)).transpose(1, 2).flatten(2)
    scale = torch.as_tensor(weight, dtype=out.dtype, device=out.device).reshape(-1, 1, 1)
    if mask is not None:
        scale = scale * mask[:, :, None].to(out)
    return scale * out


def _key(layer: str) -> str:
    # A module's name must not hold dots.
    return layer.replace(".", "_")
