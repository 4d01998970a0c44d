"""The PC-adapter on a diffusers UNet: attention processors for the run-time form.

Unlike the fused form: the base's weights are unchanged, every sample of a batch may have its
own identity, and the adapter receives gradients. Without the adapter (text-editing mode) the layers
run their original processors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from torch import Tensor

from ..dense_face.adapter import AdapterAttention, PCAdapter
from ..dense_face.attention_layers import AttentionLayer, layers_of_block
from ..errors import IncompatibleError, InputError
from .ldm import attention_blocks, unet_ldm_name

if TYPE_CHECKING:
    from typing_extensions import Self


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Scaled dot-product attention [B, H, N, D]; always in float32 on CPUs.

    There torch's half-precision kernel takes almost twice as long (measured at N 256, D 16).
    """
    if q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    with torch.autocast("cpu", enabled=False):
        out = F.scaled_dot_product_attention(q.float(), k.float(), v.float(), attn_mask=mask)
    return out.to(q.dtype)


class InstalledProcessors:
    """Attention processors installed in a UNet until ``remove`` or the end of a ``with`` block."""

    def __init__(self, unet: UNet2DConditionModel) -> None:
        self._unet = unet
        self._former = dict(unet.attn_processors)

    def remove(self) -> None:
        """Restore the UNet's original processors."""
        self._unet.set_attn_processor(dict(self._former))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()


class InstalledAdapter(InstalledProcessors):
    """An adapter installed in a UNet until ``remove`` or the end of a ``with`` block.

    Args:
        adapter: Called, not copied, so it can be trained through the UNet.
        identity: [B, D] for a batch of B (both halves of classifier-free guidance), [1, D] shared
            by all, or None for no identity. May be reassigned between calls.
        delta: Strength, the adapter's own if None. 0 runs the original processors.

    Raises:
        IncompatibleError: Blocks or widths of adapter and UNet differ; the UNet is unchanged.
    """

    def __init__(
        self,
        unet: UNet2DConditionModel,
        adapter: PCAdapter,
        identity: Tensor | None = None,
        delta: float | None = None,
    ) -> None:
        self.identity = identity
        self.delta = adapter.delta if delta is None else delta
        super().__init__(unet)
        unet.set_attn_processor(self._processors(adapter))

    def _processors(self, adapter: PCAdapter) -> dict[str, Any]:
        layers = {layer.key: layer for layer in adapter.layers}
        processors: dict[str, Any] = {}
        for name, former in self._former.items():
            module = name.removesuffix(".processor")
            key = unet_ldm_name(module, self._unet.config)
            attn = self._unet.get_submodule(module)
            layer = layers.pop(key, None)
            if layer is None or _widths(attn) != (layer.channels, layer.context_dim):
                raise _mismatch(key, layer, _widths(attn))
            maps = adapter.attention(layer.block, layer.cross)
            processors[name] = AdapterProcessor(self, maps, former)
        if layers:
            raise _mismatch(next(iter(layers)), next(iter(layers.values())), None)
        return processors


class AdapterProcessor:
    """Attention of one layer with the adapter's deltas on q, k and v (SD 1.x layers only)."""

    def __init__(self, installed: InstalledAdapter, maps: AdapterAttention, former: Any) -> None:
        self.installed, self.former, self._maps = installed, former, maps

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """[B, N, C] -> [B, N, C], with the signature of diffusers' processors."""
        delta = self.installed.delta
        if delta == 0:
            return self.former(
                attn, hidden_states, encoder_hidden_states, attention_mask, temb, **kwargs
            )
        batch = hidden_states.shape[0]
        q, k, v = self._maps.projected(
            (attn.to_q, attn.to_k, attn.to_v),
            hidden_states,
            encoder_hidden_states,
            self._identity(batch),
            delta,
        )
        mask = None
        if attention_mask is not None:
            mask = attn.prepare_attention_mask(attention_mask, k.shape[1], batch)
            mask = mask.view(batch, attn.heads, -1, mask.shape[-1])
        q, k, v = (t.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for t in (q, k, v))
        out = attend(q, k, v, mask)
        out = attn.to_out[0](out.transpose(1, 2).flatten(2))
        return attn.to_out[1](out)

    def query(self, attn: Any, hidden_states: Tensor) -> Tensor:
        """The layer's queries [B, N, C] with the adapter's delta; SFSR's sources use them too."""
        delta = self.installed.delta
        query = attn.to_q(hidden_states)
        if delta == 0:
            return query
        identity = self._identity(hidden_states.shape[0])
        return query + delta * self._maps.query(hidden_states, identity)

    def _identity(self, batch: int) -> Tensor | None:
        identity = self.installed.identity
        if identity is not None and identity.shape[0] not in (1, batch):
            raise InputError(
                f"{identity.shape[0]} identities were given for a batch of {batch}",
                fix="Give one identity, or one per sample of both guidance halves",
            )
        return identity


def layers_for(unet: UNet2DConditionModel) -> list[AttentionLayer]:
    """The layers of a new adapter for a UNet, in execution order (input, middle, output)."""
    layers: list[AttentionLayer] = []
    for block, transformer in attention_blocks(unet).items():
        attn = unet.get_submodule(f"{transformer}.transformer_blocks.0.attn2")
        layers += layers_of_block(block, *_widths(attn))
    return layers


def _widths(attn: Any) -> tuple[int, int]:
    return attn.to_q.weight.shape[0], attn.to_k.weight.shape[1]


def _mismatch(
    key: str, layer: AttentionLayer | None, unet: tuple[int, int] | None
) -> IncompatibleError:
    ours = "nothing" if layer is None else f"{layer.channels} from {layer.context_dim} channels"
    theirs = "nothing" if unet is None else f"{unet[0]} from {unet[1]} channels"
    return IncompatibleError(
        f"the adapter does not fit this UNet: it has {ours} where the UNet has {theirs}",
        where=key,
        fix="Use the base model that the adapter was trained on, or one of the same architecture",
    )
