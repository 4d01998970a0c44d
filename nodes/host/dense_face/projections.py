"""Run-time deltas at the projections of attention layers, in force for one call of the model.

They act before any attention patch, so that guidance which puts its own attention in the place of a
layer's (PAG, SAG) gets the same queries, keys and values as with the deltas in the weights.

Host objects used: ``weight_function`` of the layers of ``comfy.ops``, by which the host itself
applies LoRA to weights that it streams; ``ops.cast_bias_weight`` and ``ops.uncast_bias_weight``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import comfy.ops
from torch import Tensor, nn

from ..attention import WHERE, Extra, mask_at, moved_tokens, per_sample
from ..device_cache import DeviceCache
from ..runtime import SiteDelta

Sites = Mapping[tuple[str, str], SiteDelta]


@contextmanager
def deltas_everywhere(net: Any, sites: Sites, strength: float) -> Iterator[None]:
    """Let a UNet run with the deltas, scaled by ``strength``, while the block runs.

    A layer of the host adds them to its weight, which costs far less than a second product. One of
    another pack (GGUF) may not know of that way: its delta is computed beside it.
    """
    kept: list[tuple[Any, list[Any]]] = []
    handles: list[Any] = []
    try:
        for name, layer, linear in _projections(net, sites):
            functions = getattr(layer, "weight_function", None)
            if type(layer).__module__ == comfy.ops.__name__ and isinstance(functions, list):
                kept.append((layer, functions))
                layer.weight_function = [*functions, _added(linear, strength)]
            else:
                handles.append(layer.register_forward_hook(_beside(name, linear, strength)))
        yield
    finally:
        # In reverse: adapters on one layer nest.
        for layer, functions in reversed(kept):
            layer.weight_function = functions
        for handle in handles:
            handle.remove()


class MaskedSelfAttention:
    """The deltas of self-attentions under a mask: queries, keys and values all have a place.

    Args:
        mask: [M, H, W] in 0..1 over the whole image.
    """

    def __init__(self, sites: Sites, strength: float, mask: Tensor) -> None:
        self._sites = {place: site for place, site in sites.items() if site.is_self}
        self._strength = strength
        self._mask = mask
        self._cache = DeviceCache()

    @contextmanager
    def patched(self, net: Any) -> Iterator[Callable[..., tuple[Tensor, Tensor, Tensor]]]:
        """Let a UNet run with the masked deltas while the block runs.

        Yields:
            An ``attn1_patch``, to be put behind those of other packs: it sees which tokens reach
            the projections.
        """
        here: dict[str, Tensor] = {}

        def tokens(
            x: Tensor, context: Tensor, value: Tensor, extra: Extra
        ) -> tuple[Tensor, Tensor, Tensor]:
            for name, tensor in zip(("to_q", "to_k", "to_v"), (x, context, value), strict=True):
                small = mask_at(self._mask, tensor, extra, self._cache, WHERE)
                here[name] = per_sample(small, tensor, extra, "masks")
            return x, context, value

        handles = [
            layer.register_forward_hook(_beside(name, linear, self._strength, here))
            for name, layer, linear in _projections(net, self._sites)
        ]
        try:
            yield tokens
        finally:
            for handle in handles:
                handle.remove()

    def invalidate(self, *_: Any) -> None:
        """After a sampling: drop the mask's copies on the device."""
        self._cache.clear()


def _projections(net: Any, sites: Sites) -> Iterator[tuple[str, Any, nn.Module]]:
    """("to_q", "to_k" or "to_v"; the UNet's layer; our layer with its delta)."""
    for (block, attention), site in sites.items():
        module = net.get_submodule(f"{block}.1.transformer_blocks.0.{attention}")
        for name, linear in site.net.items():
            yield name, getattr(module, name), linear


def _added(linear: nn.Module, strength: float) -> Callable[[Tensor], Tensor]:
    """A ``weight_function``: the weight with the delta."""

    def merged(weight: Tensor) -> Tensor:
        delta, bias, stream = comfy.ops.cast_bias_weight(linear, weight, offloadable=True)
        try:
            return weight.add(delta, alpha=strength)
        finally:
            comfy.ops.uncast_bias_weight(linear, delta, bias, stream)

    return merged


def _beside(
    name: str, linear: nn.Module, strength: float, masks: Mapping[str, Tensor] | None = None
) -> Callable[..., Tensor]:
    """A forward hook: the projection with the delta, where a mask of its tokens says so."""

    def hook(_layer: nn.Module, inputs: tuple[Any, ...], out: Tensor) -> Tensor:
        delta = linear(inputs[0])
        if masks is not None:
            if masks[name].shape[1] != delta.shape[1]:
                raise moved_tokens(WHERE)
            delta = delta * masks[name]
        return out.add(delta, alpha=strength)

    return hook
