"""Arc2Face's reference adapter on a diffusers UNet.

    prompt's half    A(q(h), k([h ; r]), v([h ; r]))
    other half       A(q(h), k(h), v(h))

h is a self-attention's input, r what the same layer read of a reference image: the bank, taken
once by the unmodified UNet at timestep 0. The adapter's LoRA acts in both halves.
Source: docs/reference/published_weights.md A7.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from ..sfsr.ip_adapter.lora import AdapterLora
from .attention import InstalledProcessors
from .ldm import attention_blocks
from .lora import FusedLoras

Bank = Mapping[str, Tensor]
"""Block (``input_blocks.1``) -> inputs of its self-attention [1 or B, M, C] in the reference."""


@torch.no_grad()
def reference_bank(
    unet: UNet2DConditionModel, latent: Tensor, context: Tensor
) -> dict[str, Tensor]:
    """The inputs of all self-attentions in one pass over a reference image.

    Args:
        unet: Without adapters.
        latent: [B, 4, h, w] of the VAE, scaled and without noise.
        context: [B, L, D], the person's prompt.
    """
    bank: dict[str, Tensor] = {}
    former = dict(unet.attn_processors)
    keeping: dict[str, Any] = dict(former)
    for block, name in _self_attentions(unet).items():
        keeping[name] = _Keep(bank, block, former[name])
    unet.set_attn_processor(keeping)
    try:
        unet(latent, torch.tensor(0), context)
    finally:
        unet.set_attn_processor(former)
    return bank


class InstalledReference(InstalledProcessors):
    """Bank and LoRA in a UNet until ``remove`` or the end of a ``with`` block.

    Args:
        bank: Of :func:`reference_bank` for this UNet; one row for all images or one for each.
        lora: Of the adapter (``sfsr.arc2face.reference_lora``).
        strength: Of the LoRA; 0 leaves it out.
        unprompted: Rows of the unconditional half, which come first and do not read the bank.

    Raises:
        IncompatibleError: The LoRA is in the weights already; the UNet is left alone.
    """

    def __init__(
        self,
        unet: UNet2DConditionModel,
        bank: Bank,
        lora: AdapterLora,
        strength: float = 1.0,
        unprompted: int = 0,
    ) -> None:
        super().__init__(unet)
        self._lora = FusedLoras(unet, [lora] if strength else [], strength)
        processors: dict[str, Any] = dict(self._former)
        for block, name in _self_attentions(unet).items():
            processors[name] = ReferenceProcessor(bank[block], self._former[name], unprompted)
        unet.set_attn_processor(processors)

    def remove(self) -> None:
        """Restore the UNet's original processors and weights."""
        self._lora.remove()
        super().remove()


class ReferenceProcessor:
    """One self-attention whose keys and values also come from the bank [1 or B, M, C]."""

    def __init__(self, bank: Tensor, former: Any, unprompted: int) -> None:
        self._bank, self._former, self._unprompted = bank, former, unprompted

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """[B, N, C] -> [B, N, C], with the signature of diffusers' processors."""
        split = self._unprompted
        own = hidden_states[split:]
        bank = self._bank.to(own).expand(len(own), -1, -1)
        prompted = self._former(attn, own, torch.cat([own, bank], 1), **kwargs)
        if not split:
            return prompted
        return torch.cat([self._former(attn, hidden_states[:split], None, **kwargs), prompted])


class _Keep:
    """Stores the input of one self-attention and changes nothing."""

    def __init__(self, bank: dict[str, Tensor], block: str, former: Any) -> None:
        self._bank, self._block, self._former = bank, block, former

    def __call__(self, attn: Any, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        self._bank[self._block] = hidden_states
        return self._former(attn, hidden_states, *args, **kwargs)


def _self_attentions(unet: UNet2DConditionModel) -> dict[str, str]:
    """Block -> name of its processor."""
    return {
        block: f"{transformer}.transformer_blocks.0.attn1.processor"
        for block, transformer in attention_blocks(unet).items()
    }
