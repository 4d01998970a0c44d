"""The fused PC-adapter: constant weight deltas, and one query bias per identity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from .attention_layers import ID_TO_Q, is_fused, layers_from_state_dict


@dataclass(frozen=True)
class FusedAdapter:
    """The adapter as weight deltas and query biases (docs/reference/dense_face.md A3).

    The strength is not multiplied in.

    Args:
        weights: ``<block>.1.transformer_blocks.0.attn{1,2}.to_{q,k,v}.weight`` -> delta of the same
            shape as the weight, in the stored dtype. ``attn2.to_q`` is present only for the middle
            block.
        bias_matrices: Block -> [C, D] float32; the query bias is this matrix times the identity.
        delta: Default strength.
    """

    weights: Mapping[str, Tensor]
    bias_matrices: Mapping[str, Tensor]
    delta: float

    def query_bias(self, identity: Tensor, delta: float | None = None) -> dict[str, Tensor]:
        """Block -> bias [B, C] for the queries of its cross-attention, for identities [B, D]."""
        strength = self.delta if delta is None else delta
        return {
            block: strength * (identity.to(matrix) @ matrix.T)
            for block, matrix in self.bias_matrices.items()
        }


def fuse(tensors: Mapping[str, Tensor], delta: float) -> FusedAdapter:
    """Fuse the tensors of an adapter, stored in either form; weights are shared, not copied.

    Raises:
        ModelFileError, IncompatibleError: As :func:`layers_from_state_dict`.
    """
    layers, _ = layers_from_state_dict(tensors)
    fused = is_fused(tensors)
    weights: dict[str, Tensor] = {}
    matrices: dict[str, Tensor] = {}
    for layer in layers:
        own = {name: tensors[f"{layer.key}.{name}.weight"] for name in layer.projections(fused)}
        weights[f"{layer.key}.to_k.weight"] = own["per_k"]
        weights[f"{layer.key}.to_v.weight"] = own["per_v"]
        if not layer.takes_identity:
            weights[f"{layer.key}.to_q.weight"] = own["per_q"]
        elif fused:
            matrices[layer.block] = own["id_to_q"].float()
        else:
            matrices[layer.block] = fuse_query(own["per_q"], own["feat_to_q"])
    return FusedAdapter(weights, matrices, delta)


def fuse_query(per_q: Tensor, feat_to_q: Tensor) -> Tensor:
    """``id_to_q`` [C, D] float32, the product of ``per_q`` [C, C] and ``feat_to_q`` [C, D]."""
    return per_q.float() @ feat_to_q.float()


def unfuse(fused: FusedAdapter) -> dict[str, Tensor]:
    """The tensors of a fused adapter by their stored names: the inverse of :func:`fuse`."""
    names = {key: key.replace(".to_", ".per_") for key in fused.weights}
    layer = f"1.transformer_blocks.0.attn2{ID_TO_Q}"
    return {
        **{names[key]: weight for key, weight in fused.weights.items()},
        **{f"{block}.{layer}": matrix for block, matrix in fused.bias_matrices.items()},
    }
