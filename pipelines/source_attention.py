"""SFSR on a diffusers UNet: identity and expression in cross-attention, and the scene hint.

The adapter is called, not copied, so it can be trained through the UNet. Existing processors
(Dense-Face's adapter) keep running; the sources attend with their queries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from torch import Tensor

from ..errors import IncompatibleError
from ..sfsr.adapter import SFSRAdapter
from ..sfsr.token_attention import SOURCES, KeysValues, source_attention
from .attention import AdapterProcessor, InstalledProcessors
from .ldm import attention_blocks


@dataclass(frozen=True, eq=False)
class SourceInputs:
    """The inputs of one UNet call, for a batch of B (both halves of guidance).

    keys_values: Layer -> source -> keys and values [B or 1, n, C].
    weights: Source -> weight, a number or [B]; 0 where it is absent. Sources not listed do
        not act.
    mask: [B or 1, h, w] in 0..1, where the sources act, stretched over the image; None: everywhere.
    background: [B or 1, 5, h, w] (``sfsr.background.background_channels``) or None.
    background_weight: A number or [B].
    """

    keys_values: Mapping[str, Mapping[str, KeysValues]] = field(default_factory=dict)
    weights: Mapping[str, float | Tensor] = field(default_factory=dict)
    mask: Tensor | None = None
    background: Tensor | None = None
    background_weight: float | Tensor = 1.0


class InstalledSources(InstalledProcessors):
    """An SFSR adapter installed in a UNet until ``remove`` or the end of a ``with`` block.

    Args:
        source_inputs: May be reassigned between calls; the default changes nothing.

    Raises:
        IncompatibleError: Layers or widths of adapter and UNet differ; the UNet is left alone.
    """

    def __init__(
        self,
        unet: UNet2DConditionModel,
        adapter: SFSRAdapter,
        source_inputs: SourceInputs | None = None,
    ) -> None:
        self.source_inputs = source_inputs or SourceInputs()
        self._adapter = adapter
        super().__init__(unet)
        unet.set_attn_processor(self._processors())
        self._hook = unet.conv_in.register_forward_hook(self._with_background)

    def remove(self) -> None:
        """Restore the UNet's original processors and convolution."""
        self._hook.remove()
        super().remove()

    def _processors(self) -> dict[str, Any]:
        processors: dict[str, Any] = dict(self._former)
        found = cross_attentions(self._unet)
        if {layer: _width(attn) for layer, (_, attn) in found.items()} != self._adapter.layers:
            raise IncompatibleError(
                "the SFSR adapter does not fit this UNet: their cross-attention layers differ",
                fix="Use the adapter's own base model, or one of the same architecture",
            )
        for layer, (name, _) in found.items():
            processors[name] = SourceProcessor(self, layer, self._former[name])
        return processors

    def _with_background(self, module: Any, given: Any, out: Tensor) -> Tensor | None:
        hint, background = self._adapter.hint, self.source_inputs.background
        if hint is None or background is None:
            return None
        weight = self.source_inputs.background_weight
        wide = weight.reshape(-1, 1, 1, 1).to(out) if isinstance(weight, Tensor) else weight
        return out + wide * hint(background).to(out)


class SourceProcessor:
    """One layer's original attention plus the sources' attention before ``to_out``."""

    def __init__(self, installed: InstalledSources, layer: str, former: Any) -> None:
        self._installed, self._layer, self._former = installed, layer, former

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """[B, N, C] -> [B, N, C], with the signature of diffusers' processors."""
        out = self._former(attn, hidden_states, encoder_hidden_states, **kwargs)
        source_inputs = self._installed.source_inputs
        weights, mask = source_inputs.weights, source_inputs.mask
        acting = [source for source in SOURCES if source in weights and _acts(weights[source])]
        if not acting:
            return out
        if isinstance(self._former, AdapterProcessor):
            query = self._former.query(attn, hidden_states)
        else:
            query = attn.to_q(hidden_states)
        here = source_inputs.keys_values[self._layer]
        mask = None if mask is None else _over(mask, query.shape[1])
        added = [source_attention(query, here[s], attn.heads, weights[s], mask) for s in acting]
        # to_out is linear: its bias is in ``out`` already.
        added = torch.stack(added).sum(0)
        return out + F.linear(added, attn.to_out[0].weight.to(added))


def layers_of(unet: UNet2DConditionModel) -> dict[str, int]:
    """The layers of a new SFSR adapter for a UNet: block -> width, in execution order."""
    return {layer: _width(attn) for layer, (_, attn) in cross_attentions(unet).items()}


def cross_attentions(unet: UNet2DConditionModel) -> dict[str, tuple[str, Any]]:
    """LDM block name (``input_blocks.1``) -> processor name and module."""
    found = {}
    for block, transformer in attention_blocks(unet).items():
        name = f"{transformer}.transformer_blocks.0.attn2"
        found[block] = f"{name}.processor", unet.get_submodule(name)
    return found


def _width(attn: Any) -> int:
    return attn.to_q.weight.shape[0]


def _acts(weight: float | Tensor) -> bool:
    return bool((weight != 0).any()) if isinstance(weight, Tensor) else weight != 0


def _over(mask: Tensor, tokens: int) -> Tensor:
    """[B, h, w] -> [B, N], for a layer whose N tokens cover the same image."""
    height, width = mask.shape[-2:]
    shrink = round((height * width / tokens) ** 0.5)
    size = (-(-height // shrink), -(-width // shrink))
    return F.interpolate(mask[:, None].float(), size=size, mode="area").flatten(1)
