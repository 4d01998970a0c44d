"""The LoRA inside FaceID files, as changes of the UNet's weights: W + strength * up @ down.

No alpha; on q, k, v and out of every attention, self and cross, in both halves of the guidance. Its
strength is independent of the adapter's weight: 1 is the reference, 0 for those who load the
separate LoRA file themselves, for it is the same again and must not count twice.
Source: docs/reference/published_weights.md C2, C3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .expected import LORA_NAMES
from .layout import IdentityLayout
from .places import attention_place


@dataclass(frozen=True, eq=False)
class AdapterLora:
    """pairs: Place of a weight below the UNet, in Stable Diffusion's own names
    (``input_blocks.1.1.transformer_blocks.0.attn1.to_q``), to (down [r, in], up [out, r]); in the
    file's dtype. Empty where there is none.
    """

    pairs: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)

    @property
    def rank(self) -> int:
        """0 where there is none."""
        return next((len(down) for down, _ in self.pairs.values()), 0)

    def delta(self, place: str, strength: float = 1.0) -> Tensor:
        """What is added to a weight [out, in], float32. KeyError for a place without one."""
        down, up = self.pairs[place]
        return strength * (up.float() @ down.float())

    def fused(self, weights: Mapping[str, Tensor], strength: float = 1.0) -> dict[str, Tensor]:
        """Weights by place, with the LoRA in those that it changes; the same tensors at 0.

        Places of the LoRA that are not among the weights are passed over.
        """
        together = dict(weights)
        if strength == 0:
            return together
        for place in self.pairs:
            weight = weights.get(place)
            if weight is not None:
                delta = self.delta(place, strength).to(weight.device)
                # The sum in float32: small deltas would vanish in half precision.
                together[place] = (weight.to(torch.float32) + delta).to(weight.dtype)
        return together


def lora_of(tensors: Mapping[str, Tensor], layout: IdentityLayout) -> AdapterLora:
    """The LoRA of a file that was checked (``expected.check_layout``)."""
    pairs: dict[str, tuple[Tensor, Tensor]] = {}
    for number in range(layout.target.attentions if layout.rank else 0):
        place = attention_place(number, layout.target)
        for theirs, ours in LORA_NAMES.items():
            key = f"ip_adapter.{number}.{theirs}_lora"
            pairs[f"{place}.{ours}"] = tensors[f"{key}.down.weight"], tensors[f"{key}.up.weight"]
    return AdapterLora(pairs)
