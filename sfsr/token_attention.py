"""Decoupled cross-attention: separate keys and values for the tokens of each source.

    out = A(q, text) + w_id * A(q, identity) + w_exp * A(q, expression)

as IP-Adapter (arXiv 2308.06721) does for one source. A source with weight 0, or absent from a
sample, contributes exactly nothing. Training drops sources in the same way, so that guidance can be
split by source (``guidance``).
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
LayerTokens = KeysValues | Tensor
"""A source in one layer: keys and values, or the constant vector [B, C] of a single token."""


class SourceProjection(nn.Module):
    """Keys and values of one source in one attention layer."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.to_k = nn.Linear(width, channels, bias=False)
        self.to_v = nn.Linear(width, channels, bias=False)
        # An untrained adapter changes nothing, but the gradient of to_v is not zero.
        nn.init.zeros_(self.to_v.weight)

    def forward(self, tokens: Tensor) -> KeysValues:
        """Tokens [B, n, W] -> keys and values [B, n, C]."""
        return self.to_k(tokens), self.to_v(tokens)


class TokenAttention(nn.Module):
    """Keys and values of both sources for all cross-attentions of a UNet.

    Args:
        channels: Layer -> width C; a layer is named by its block in the LDM layout
            (``input_blocks.1``).
        width: Channels W of the tokens.
        sources: The sources; adapters of other authors have the identity only.
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
        """Source -> layer -> keys and values."""
        return {
            IDENTITY: self.source_keys_values(IDENTITY, tokens.identity),
            EXPRESSION: self.source_keys_values(EXPRESSION, tokens.expression),
        }

    def source_keys_values(self, source: str, tokens: Tensor) -> dict[str, KeysValues]:
        """Layer -> keys and values of one source, from its tokens [B, n, W]."""
        return {layer: self.projection(layer, source)(tokens) for layer in self.layers}

    def projection(self, layer: str, source: str) -> nn.Module:
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
    """Contribution of one source to a layer's output [B, N, C], before ``to_out``.

    Args:
        query: The layer's query [B, N, C].
        keys_values: Of the source, [B, n, C] each.
        heads: Number of heads.
        weight: A number, or [B] with 0 for samples without the source.
        mask: [B, N] or [1, N] in 0..1 by position; None for everywhere.
    """
    q, k, v = (x.unflatten(2, (heads, -1)).transpose(1, 2) for x in (query, *keys_values))
    out = F.scaled_dot_product_attention(q, k.to(q), v.to(q)).transpose(1, 2).flatten(2)
    scale = torch.as_tensor(weight, dtype=out.dtype, device=out.device).reshape(-1, 1, 1)
    if mask is not None:
        scale = scale * mask[:, :, None].to(out)
    return scale * out


def constant_attention(
    vector: Tensor, weight: float | Tensor = 1.0, mask: Tensor | None = None
) -> Tensor:
    """What a source of a single token adds: the softmax of one key is 1, so queries do not matter.

    Args:
        vector: The token's value [B or 1, C].
        weight: One for all, or [B].
        mask: [B or 1, N] in 0..1 by place; None for everywhere.

    Returns:
        [B or 1, 1, C], to be broadcast over all places, or [B or 1, N, C] with a mask.
    """
    scale = torch.as_tensor(weight, dtype=vector.dtype, device=vector.device).reshape(-1, 1, 1)
    if mask is not None:
        scale = scale * mask[:, :, None].to(vector)
    return scale * vector[:, None]


def _key(layer: str) -> str:
    # Module names must not contain dots.
    return layer.replace(".", "_")
