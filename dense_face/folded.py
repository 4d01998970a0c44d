"""The PC-adapter in its folded form: constant weight deltas and one query bias per identity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class FoldedAdapter:
    """What the adapter amounts to, without the strength (dense_face.md A3).

    Args:
        weights: ``<block>.1.transformer_blocks.0.attn{1,2}.to_{q,k,v}.weight`` -> delta of the
            weight's own shape, float32. ``attn2.to_q`` appears only for the middle block.
        bias_matrices: Block -> [C, D] float32; times the identity it gives the query bias.
        delta: The strength used when none is given.
    """

    weights: Mapping[str, Tensor]
    bias_matrices: Mapping[str, Tensor]
    delta: float

    def weight_deltas(self, delta: float | None = None) -> dict[str, Tensor]:
        """What to add to the base's weights (in float32, before any cast to half)."""
        strength = self.delta if delta is None else delta
        return {key: strength * weight for key, weight in self.weights.items()}

    def query_bias(self, identity: Tensor, delta: float | None = None) -> dict[str, Tensor]:
        """Block -> bias [B, C] on the queries of its cross-attention, for identities [B, D]."""
        strength = self.delta if delta is None else delta
        return {
            block: strength * (identity.to(matrix) @ matrix.T)
            for block, matrix in self.bias_matrices.items()
        }
