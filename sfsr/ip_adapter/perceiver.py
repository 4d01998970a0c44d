"""The perceiver of FaceID-Plus: a face's tokens ask the CLIP vision states of its image.

    c' = proj_in(c);  4 layers of  y += attn(c', y),  y += ff(y);  norm_out(proj_out(y))

Source: docs/reference/published_weights.md C2.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layout import HEAD_WIDTH, IdentityLayout


class FacePerceiver(nn.Module):
    """Tokens [B, n, W] and CLIP vision states [B, N, K] -> tokens [B, n, W].

    Names of the parameters are those of the files.
    """

    def __init__(self, layout: IdentityLayout) -> None:
        super().__init__()
        width = layout.width
        self.proj_in = nn.Linear(layout.clip_width, width)
        self.proj_out = nn.Linear(width, width)
        self.norm_out = nn.LayerNorm(width)
        self.layers = nn.ModuleList(
            nn.ModuleList([_Attention(width), _feed_forward(width, layout.inner)])
            for _ in range(layout.depth)
        )

    def forward(self, tokens: Tensor, clip: Tensor) -> Tensor:
        """[B, n, W]; ``clip`` are states before the last layer, class token first, not normed."""
        states = self.proj_in(clip)
        for layer in self.layers:
            attention, forward = cast("nn.ModuleList", layer)
            tokens = tokens + attention(states, tokens)
            tokens = tokens + forward(tokens)
        return self.norm_out(self.proj_out(tokens))


class _Attention(nn.Module):
    """The tokens ask the states and themselves; heads of 64 numbers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = max(1, width // HEAD_WIDTH)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_kv = nn.Linear(width, 2 * width, bias=False)
        self.to_out = nn.Linear(width, width, bias=False)

    def forward(self, states: Tensor, tokens: Tensor) -> Tensor:
        states, tokens = self.norm1(states), self.norm2(tokens)
        keys, values = self.to_kv(torch.cat([states, tokens], 1)).chunk(2, 2)
        q, k, v = (
            x.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for x in (self.to_q(tokens), keys, values)
        )
        out = F.scaled_dot_product_attention(q, k, v)
        return self.to_out(out.transpose(1, 2).flatten(2))


def _feed_forward(width: int, inner: int) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(width),
        nn.Linear(width, inner, bias=False),
        nn.GELU(),
        nn.Linear(inner, width, bias=False),
    )
