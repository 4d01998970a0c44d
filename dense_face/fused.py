"""The PC-adapter in its fused form: constant weight deltas and one query bias per identity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from .attention_layers import is_fused, sites_from_state_dict


@dataclass(frozen=True)
class FusedAdapter:
    """What the adapter amounts to, without the strength (docs/reference/dense_face.md A3).

    Args:
        weights: ``<block>.1.transformer_blocks.0.attn{1,2}.to_{q,k,v}.weight`` -> delta of the
            weight's own shape, in the stored dtype. ``attn2.to_q`` appears only for the middle
            block.
        bias_matrices: Block -> [C, D] float32; times the identity it gives the query bias.
        delta: The strength used when none is given.
    """

    weights: Mapping[str, Tensor]
    bias_matrices: Mapping[str, Tensor]
    delta: float

    def weight_deltas(self, delta: float | None = None) -> dict[str, Tensor]:
        """What to add to the base's weights (in float32, before any cast to half).

        Half precision would round away several percent of a delta that is 1 % of the weight.
        """
        strength = self.delta if delta is None else delta
        return {key: strength * weight.float() for key, weight in self.weights.items()}

    def query_bias(self, identity: Tensor, delta: float | None = None) -> dict[str, Tensor]:
        """Block -> bias [B, C] on the queries of its cross-attention, for identities [B, D]."""
        strength = self.delta if delta is None else delta
        return {
            block: strength * (identity.to(matrix) @ matrix.T)
            for block, matrix in self.bias_matrices.items()
        }


def fuse(tensors: Mapping[str, Tensor], delta: float) -> FusedAdapter:
    """Fold the tensors of an adapter, stored in either form; weights are shared, not copied.

    Raises:
        ModelFileError, IncompatibleError: As :func:`sites.sites_from_state_dict`.
    """
    sites, _ = sites_from_state_dict(tensors)
    fused = is_fused(tensors)
    weights: dict[str, Tensor] = {}
    matrices: dict[str, Tensor] = {}
    for site in sites:
        own = {name: tensors[f"{site.key}.{name}.weight"] for name in site.maps(fused)}
        weights[f"{site.key}.to_k.weight"] = own["per_k"]
        weights[f"{site.key}.to_v.weight"] = own["per_v"]
        if not site.takes_identity:
            weights[f"{site.key}.to_q.weight"] = own["per_q"]
        elif fused:
            matrices[site.block] = own["id_to_q"].float()
        else:
            matrices[site.block] = product(own["per_q"], own["feat_to_q"])
    return FusedAdapter(weights, matrices, delta)


def product(per_q: Tensor, feat_to_q: Tensor) -> Tensor:
    """``id_to_q`` [C, D], float32: what the two maps [C, C] and [C, D] are together."""
    return per_q.float() @ feat_to_q.float()
