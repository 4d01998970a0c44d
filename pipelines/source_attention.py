"""SFSR on a diffusers UNet: identity and expression in cross-attention, and the scene hint.

The sources may come from different adapters, published ones included. Adapters are called, not
copied, so they can be trained through the UNet. Existing processors (Dense-Face's adapter) keep
running; the sources attend with their queries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from ..errors import IncompatibleError
from ..sfsr.ip_adapter.places import layer_name
from ..sfsr.token_attention import SOURCES, LayerTokens, constant_attention, source_attention
from .attention import AdapterProcessor, InstalledProcessors
from .ldm import attention_blocks
from .lora import fuse_loras

INPAINTING_CHANNELS = 9
"""Of an inpainting UNet: the latent's four, and the scene's five."""


class SourceAdapter(Protocol):
    """What every adapter has, published or not."""

    @property
    def layers(self) -> Mapping[str, int]:
        """Block to width C of all cross-attentions."""
        ...

    @property
    def hint(self) -> nn.Module | None:
        """Background channels -> features behind the first convolution."""
        ...


BySource = Mapping[str, Mapping[str, LayerTokens]]
"""Source -> layer -> keys and values, or the constant vector of a single token."""


@dataclass(frozen=True, eq=False)
class SourceInputs:
    """The inputs of one UNet call, for a batch of B (both halves of guidance).

    tokens: Source -> layer -> tokens; rows are 1 or those of the batch after the first
        ``unprompted``.
    weights: Source -> weight, a number or [B]; 0 where it is absent. Sources not listed do
        not act.
    mask: [B or 1, h, w] in 0..1, where the sources act, stretched over the image; None: everywhere.
    background: [B or 1, 5, h, w] (``sfsr.background.background_channels``) or None.
    background_weight: A number or [B]; for the hint only.
    absent: Source -> layer -> tokens of the first ``unprompted`` rows, 1 row or as many; a source
        not listed adds nothing there.
    unprompted: Rows of the unconditional half, which come first; 0 where all rows have all sources.
    masks: Source -> its own mask, instead of ``mask``.
    """

    tokens: BySource = field(default_factory=dict)
    weights: Mapping[str, float | Tensor] = field(default_factory=dict)
    mask: Tensor | None = None
    background: Tensor | None = None
    background_weight: float | Tensor = 1.0
    absent: BySource = field(default_factory=dict)
    unprompted: int = 0
    masks: Mapping[str, Tensor | None] = field(default_factory=dict)


class InstalledSources(InstalledProcessors):
    """Adapters installed in a UNet until ``remove`` or the end of a ``with`` block.

    A scene's channels enter a UNet of nine channels through its first convolution, one of four
    through the hint of the first adapter that has one.

    Args:
        unet: The UNet whose cross-attention processors are wrapped.
        adapters: Those of all sources; each fits the UNet.
        source_inputs: May be reassigned between calls; the default changes nothing.
        lora_strength: Of a LoRA in an adapter's file, which goes into the UNet's weights; 1 as
            trained, 0 leaves it out.

    Raises:
        IncompatibleError: Layers or widths of an adapter and the UNet differ, or an adapter's LoRA
            is in the weights already; the UNet is left alone.
    """

    def __init__(
        self,
        unet: UNet2DConditionModel,
        adapters: Sequence[SourceAdapter],
        source_inputs: SourceInputs | None = None,
        lora_strength: float = 1.0,
    ) -> None:
        self.source_inputs = source_inputs or SourceInputs()
        super().__init__(unet)
        processors = self._processors(adapters)
        self._hint = next((each.hint for each in adapters if each.hint is not None), None)
        self._loras = fuse_loras(unet, adapters, lora_strength)
        unet.set_attn_processor(processors)
        if unet.config["in_channels"] == INPAINTING_CHANNELS:
            self._hook = unet.conv_in.register_forward_pre_hook(self._with_channels)
        else:
            self._hook = unet.conv_in.register_forward_hook(self._with_hint)

    def remove(self) -> None:
        """Restore the UNet's original processors, weights and convolution."""
        self._hook.remove()
        self._loras.remove()
        super().remove()

    def _processors(self, adapters: Sequence[SourceAdapter]) -> dict[str, Any]:
        processors: dict[str, Any] = dict(self._former)
        found = cross_attentions(self._unet)
        own = {layer: _width(attn) for layer, (_, attn) in found.items()}
        if any(dict(adapter.layers) != own for adapter in adapters):
            raise IncompatibleError(
                "the SFSR adapter does not fit this UNet: their cross-attention layers differ",
                fix="Use the adapter's own base model, or one of the same architecture",
            )
        for layer, (name, _) in found.items():
            processors[name] = SourceProcessor(self, layer, self._former[name])
        return processors

    def _with_hint(self, module: Any, given: Any, out: Tensor) -> Tensor | None:
        hint, background = self._hint, self.source_inputs.background
        if hint is None or background is None:
            return None
        weight = self.source_inputs.background_weight
        wide = weight.reshape(-1, 1, 1, 1).to(out) if isinstance(weight, Tensor) else weight
        return out + wide * hint(background).to(out)

    def _with_channels(self, module: Any, given: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        background = self.source_inputs.background
        if background is None:
            return None
        (x,) = given
        return (torch.cat([x, background.to(x).expand(len(x), -1, -1, -1)], 1),)


@runtime_checkable
class AttendedFirst(Protocol):
    """A processor that can stop before ``to_out``, so that nothing is computed twice."""

    def attended(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Queries, and the result before ``to_out``, each [B, N, C]."""
        ...


class SourceProcessor:
    """One layer's original attention plus the sources' attention before ``to_out``."""

    def __init__(self, installed: InstalledSources, layer: str, former: Any) -> None:
        self.installed, self.former, self._layer = installed, former, layer

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """[B, N, C] -> [B, N, C], with the signature of diffusers' processors."""
        weights = self.installed.source_inputs.weights
        acting = [source for source in SOURCES if source in weights and _acts(weights[source])]
        if acting and isinstance(self.former, AttendedFirst):
            query, out = self.former.attended(attn, hidden_states, encoder_hidden_states)
            for source in acting:
                out = out + self._added(source, query, attn.heads)
            return attn.to_out[0](out)
        out = self.former(attn, hidden_states, encoder_hidden_states, **kwargs)
        if not acting:
            return out
        if isinstance(self.former, AdapterProcessor):
            query = self.former.query(attn, hidden_states)
        else:
            query = attn.to_q(hidden_states)
        added = [self._added(source, query, attn.heads) for source in acting]
        # to_out is linear: its bias is in ``out`` already.
        added = torch.stack(added).sum(0)
        return out + F.linear(added, attn.to_out[0].weight.to(added))

    def _added(self, source: str, query: Tensor, heads: int) -> Tensor:
        """What a source adds to both halves, [B, N, C]."""
        inputs = self.installed.source_inputs
        present, absent = inputs.tokens[source][self._layer], inputs.absent.get(source)
        weight, mask = inputs.weights[source], inputs.masks.get(source, inputs.mask)
        if mask is not None:
            mask = _over(mask, query.shape[1])
        split = inputs.unprompted
        after = _source_output(
            query[split:], present, heads, _rows(weight, split, None), mask, split
        )
        if not split:
            return after
        first = query[:split]
        if absent is None:
            return torch.cat([torch.zeros_like(first), after])
        stands = absent[self._layer]
        return torch.cat(
            [_source_output(first, stands, heads, _rows(weight, 0, split), mask, 0), after]
        )


def layers_of(unet: UNet2DConditionModel) -> dict[str, int]:
    """The layers of an adapter for a UNet: layer -> width, in execution order."""
    return {layer: _width(attn) for layer, (_, attn) in cross_attentions(unet).items()}


def cross_attentions(unet: UNet2DConditionModel) -> dict[str, tuple[str, Any]]:
    """Layer (``sfsr.ip_adapter.places``) -> processor name and module."""
    found = {}
    for block, transformer in attention_blocks(unet).items():
        inside = list(unet.get_submodule(f"{transformer}.transformer_blocks").children())
        for index, each in enumerate(inside):
            name = f"{transformer}.transformer_blocks.{index}.attn2"
            layer = layer_name(block, index, len(inside))
            found[layer] = f"{name}.processor", each.get_submodule("attn2")
    return found


def _width(attn: Any) -> int:
    return attn.to_q.weight.shape[0]


def _acts(weight: float | Tensor) -> bool:
    return bool((weight != 0).any()) if isinstance(weight, Tensor) else weight != 0


def _rows(weight: float | Tensor, start: int, end: int | None) -> float | Tensor:
    return weight[start:end] if isinstance(weight, Tensor) and weight.numel() > 1 else weight


def _source_output(
    query: Tensor,
    tokens: LayerTokens,
    heads: int,
    weight: float | Tensor,
    mask: Tensor | None,
    start: int,
) -> Tensor:
    """What a source adds to rows of the batch, [b, N, C]; they begin at row ``start``."""
    count = len(query)
    if mask is not None and len(mask) > 1:
        mask = mask[start : start + count]
    if isinstance(tokens, Tensor):
        return constant_attention(tokens.to(query), weight, mask).expand_as(query)
    keys, values = (each.expand(count, -1, -1) for each in tokens)
    return source_attention(query, (keys, values), heads, weight, mask)


def _over(mask: Tensor, tokens: int) -> Tensor:
    """[B, h, w] -> [B, N], for a layer whose N tokens cover the same image."""
    height, width = mask.shape[-2:]
    shrink = round((height * width / tokens) ** 0.5)
    size = (-(-height // shrink), -(-width // shrink))
    return F.interpolate(mask[:, None].float(), size=size, mode="area").flatten(1)
