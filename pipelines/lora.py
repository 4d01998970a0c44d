"""The LoRA of published adapters in the weights of a diffusers UNet, for a time.

While it is there, the weights are sums computed once (``AdapterLora.fused``), so a step costs
nothing more; the former weights are kept and put back, bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from ..errors import IncompatibleError
from ..sfsr.ip_adapter.lora import AdapterLora
from .ldm import attention_blocks

_PLACED: WeakKeyDictionary[UNet2DConditionModel, list[AdapterLora]] = WeakKeyDictionary()
"""What is in which UNet, so that nothing counts twice."""


class FusedLoras:
    """LoRAs in a UNet's weights; ``remove`` puts the former weights back."""

    def __init__(
        self, unet: UNet2DConditionModel, loras: Sequence[AdapterLora], strength: float
    ) -> None:
        placed = _PLACED.setdefault(unet, [])
        for number, lora in enumerate(loras):
            if any(_same(lora, other) for other in (*placed, *loras[:number])):
                raise IncompatibleError(
                    "the LoRA of this adapter is in the weights already and would count twice",
                    fix="Use the adapter once, or set the strength of its LoRA to 0",
                )
        self._unet, self._loras = unet, list(loras)
        self._former: dict[str, Tensor] = {}
        blocks = attention_blocks(unet)  # UNets of other sizes than SD1.5's, too
        names = {place: _weight_name(blocks, place) for lora in loras for place in lora.pairs}
        weights = {place: unet.get_parameter(name).data for place, name in names.items()}
        fused = weights
        for lora in loras:
            fused = lora.fused(fused, strength)
        for place, name in names.items():
            self._former[name] = weights[place]
            unet.get_parameter(name).data = fused[place]
        placed += self._loras

    def remove(self) -> None:
        """Put the former weights back."""
        for name, weight in self._former.items():
            self._unet.get_parameter(name).data = weight
        self._former.clear()
        placed = _PLACED.get(self._unet, [])
        placed[:] = [lora for lora in placed if all(lora is not own for own in self._loras)]


def fuse_loras(
    unet: UNet2DConditionModel, adapters: Sequence[Any], strength: float = 1.0
) -> FusedLoras:
    """Put the LoRAs of adapters that have one into a UNet's weights.

    Args:
        unet: With the layers of the adapters.
        adapters: Of any kind.
        strength: 1 as trained; at 0 the weights stay as they are.

    Raises:
        IncompatibleError: A LoRA is in the weights already; they are left alone.
    """
    found = [getattr(adapter, "lora", None) for adapter in adapters]
    loras = [lora for lora in found if isinstance(lora, AdapterLora) and lora.pairs and strength]
    return FusedLoras(unet, loras, strength)


def _weight_name(transformers: Mapping[str, str], place: str) -> str:
    """``input_blocks.1.1.transformer_blocks.0.attn1.to_q`` -> diffusers' name of the weight."""
    block, inner = place.split(".1.transformer_blocks.")
    return f"{transformers[block]}.transformer_blocks.{inner}.weight"


def _same(one: AdapterLora, other: AdapterLora) -> bool:
    """One weight is enough to know a LoRA again."""
    place, (down, _) = next(iter(one.pairs.items()))
    there = other.pairs.get(place)
    return there is not None and there[0].shape == down.shape and torch.equal(there[0], down)
