"""The adapter's weight deltas computed at run time, in layers of their own.

Needed where the deltas vary over time or position, and where the base model's weights are
quantised and cannot be patched.
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
        net: ``to_q``, ``to_k`` and ``to_v``; a cross-attention that receives the identity has no
            ``to_q``.
        patcher: The host's patcher of the whole run-time adapter.
        is_self: Whether the layer is a self-attention.
    """

    def __init__(self, net: nn.ModuleDict, patcher: Any, is_self: bool) -> None:
        self.net, self.patcher, self.is_self = net, patcher, is_self

    def __call__(
        self, x: Tensor, context: Tensor, value: Tensor
    ) -> tuple[Tensor | None, Tensor, Tensor]:
        """Inputs of the projections [B, N, C] -> what to add to q (None: nothing), k and v."""
        query = self.net["to_q"](x) if "to_q" in self.net else None
        return query, self.net["to_k"](context), self.net["to_v"](value)


def build_deltas(weights: Mapping[str, Tensor]) -> dict[tuple[str, str], SiteDelta]:
    """(block, "attn1" or "attn2") -> deltas of a fused adapter, all in one managed network."""
    sites: dict[tuple[str, str], dict[str, Tensor]] = {}
    for key, weight in weights.items():
        layer, projection, _ = key.rsplit(".", 2)
        block, _, attention = layer.partition(".1.transformer_blocks.0.")
        sites.setdefault((block, attention), {})[projection] = weight
    stored = next(iter(weights.values())).dtype
    dtype, _ = compute_dtypes(sum(w.numel() for w in weights.values()), stored)
    root = nn.ModuleDict({_name(site): _linears(parts, dtype) for site, parts in sites.items()})
    tensors = {
        f"{_name(site)}.{name}.weight": weight
        for site, parts in sites.items()
        for name, weight in parts.items()
    }
    patcher = managed(root, tensors)
    return {
        site: SiteDelta(root[_name(site)], patcher, is_self=site[1] == "attn1")  # type: ignore[arg-type]
        for site in sites
    }


def site_mask(mask: Tensor, height: int, width: int) -> Tensor:
    """A mask [M, H, W] at the resolution of a layer, as [M, height * width, 1]."""
    small = F.interpolate(mask[:, None].float(), size=(height, width), mode="area")
    return small.flatten(1)[:, :, None]


def _linears(parts: Mapping[str, Tensor], dtype: torch.dtype) -> nn.ModuleDict:
    # manual_cast: the layers follow the dtype of the hidden state.
    linear = partial(comfy.ops.manual_cast.Linear, bias=False, dtype=dtype)
    return nn.ModuleDict({name: linear(w.shape[1], w.shape[0]) for name, w in parts.items()})


def _name(site: tuple[str, str]) -> str:
    """A module name: these cannot contain dots."""
    return f"{site[0].replace('.', '_')}_{site[1]}"
