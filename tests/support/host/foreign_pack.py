"""A stand-in for the Apply node of packs that use the attention slots (IP-Adapter and the like)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

BLOCK = ("input", 1)


class StandIn:
    """The patch object of those packs: callbacks that add to ``out``."""

    def __init__(self, callback: Any, **options: Any) -> None:
        self.callbacks = [(callback, options)]

    def add(self, callback: Any, **options: Any) -> None:
        self.callbacks.append((callback, options))

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, extra: dict[str, Any]) -> Tensor:
        from comfy.ldm.modules.attention import optimized_attention

        out = optimized_attention(q, k, v, extra["n_heads"])
        for callback, options in self.callbacks:
            out = out + callback(out, q, k, v, extra, **options)
        return out


def foreign_residual(
    out: Tensor, q: Tensor, k: Tensor, v: Tensor, extra: dict[str, Any], **options: Any
) -> Tensor:
    """Depends on q: a pack that hands on the unmodified q is found out."""
    return 0.5 * torch.tanh(q)


def foreign_node(model: Any) -> Any:
    """What the Apply node of such a pack does: take the free slot, or add to the occupant."""
    patched = model.clone()
    options = patched.model_options["transformer_options"]
    occupant = options.get("patches_replace", {}).get("attn2", {}).get(BLOCK)
    arguments = {"sigma_start": 999999999.9, "sigma_end": 0.0}
    if occupant is None:
        patched.set_model_attn2_replace(StandIn(foreign_residual, **arguments), *BLOCK)
    else:
        occupant.add(foreign_residual, **arguments)
    return patched
