"""The adapter's weight deltas computed at run time, in layers of their own.

Needed where the deltas vary over time or position, and where the base model's weights are
quantised and cannot be patched. Queries, keys and values of a layer share one input, so their
deltas form one matrix: a single multiplication per layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import comfy.ops
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .memory import compute_dtypes, managed


class SiteDelta:
    """The deltas of one attention layer, before the strength.

    Args:
        net: ``joint`` maps the input of keys and values (in self-attention also of queries);
            ``query`` maps x in a cross-attention without an identity (the middle block).
        patcher: The host's patcher of the whole run-time adapter.
        is_self: Whether the layer is a self-attention.
    """

    def __init__(self, net: nn.ModuleDict, patcher: Any, is_self: bool) -> None:
        self.net, self.patcher, self.is_self = net, patcher, is_self

    def __call__(
        self, x: Tensor, context: Tensor, value: Tensor
    ) -> tuple[Tensor | None, Tensor, Tensor]:
        """Inputs of the projections [B, N, C] -> what to add to q (None: nothing), k and v."""
        joint = self.net["joint"]
        parts = 3 if self.is_self else 2
        from_context = joint(context)
        # They differ only where another pack replaces the inputs of keys or values.
        from_value = from_context if value is context else joint(value)
        query = None
        if self.is_self:
            query = (from_context if context is x else joint(x)).chunk(parts, -1)[0]
        elif "query" in self.net:
            query = self.net["query"](x)
        return query, from_context.chunk(parts, -1)[-2], from_value.chunk(parts, -1)[-1]


def build_deltas(weights: Mapping[str, Tensor]) -> dict[tuple[str, str], SiteDelta]:
    """(block, "attn1" or "attn2") -> deltas of a fused adapter, all in one managed network."""
    sites: dict[tuple[str, str], dict[str, Tensor]] = {}
    for key, weight in weights.items():
        layer, projection, _ = key.rsplit(".", 2)
        block, _, attention = layer.partition(".1.transformer_blocks.0.")
        sites.setdefault((block, attention), {})[projection] = weight
    stored = next(iter(weights.values())).dtype
    dtype, _ = compute_dtypes(sum(w.numel() for w in weights.values()), stored)
    matrices = {site: _joined(site[1], parts) for site, parts in sites.items()}
    root = nn.ModuleDict({_name(site): _linears(parts, dtype) for site, parts in matrices.items()})
    tensors = {
        f"{_name(site)}.{name}.weight": weight
        for site, parts in matrices.items()
        for name, weight in parts.items()
    }
    patcher = managed(root, tensors)
    return {
        site: SiteDelta(root[_name(site)], patcher, is_self=site[1] == "attn1")  # type: ignore[arg-type]
        for site in matrices
    }


def site_mask(mask: Tensor, height: int, width: int) -> Tensor:
    """A mask [M, H, W] at the resolution of a layer, as [M, height * width, 1]."""
    small = F.interpolate(mask[:, None].float(), size=(height, width), mode="area")
    return small.flatten(1)[:, :, None]


def _joined(attention: str, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    order = ("to_q", "to_k", "to_v") if attention == "attn1" else ("to_k", "to_v")
    joined = {"joint": torch.cat([parts[name] for name in order])}
    if attention == "attn2" and "to_q" in parts:
        joined["query"] = parts["to_q"]
    return joined


def _linears(parts: Mapping[str, Tensor], dtype: torch.dtype) -> nn.ModuleDict:
    # manual_cast: the layers follow the dtype of the hidden state.
    linear = partial(comfy.ops.manual_cast.Linear, bias=False, dtype=dtype)
    return nn.ModuleDict({name: linear(w.shape[1], w.shape[0]) for name, w in parts.items()})


def _name(site: tuple[str, str]) -> str:
    """A module name: these cannot contain dots."""
    return f"{site[0].replace('.', '_')}_{site[1]}"
