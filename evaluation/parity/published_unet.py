"""The network of a published fixture with adapters in its attentions.

    y = to_out( A(q, text) + weight * A(q, face) + unit_weight * c )

c is FineFace's constant of a layer. What is added comes before ``to_out``, so that its bias counts
once. Source: docs/reference/published_weights.md A7, C2, D7.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...pipelines import reference
from ...sfsr.ip_adapter.lora import AdapterLora
from ...sfsr.ip_adapter.places import attention_place
from ...sfsr.token_attention import KeysValues, constant_attention, source_attention
from .published_fixture import PublishedFixture

Attend = Callable[[PublishedFixture, int, Tensor, Tensor, "Run"], Tensor]
"""(fixture, number, hidden [B, N, C], context [B, T, W], run) -> output of an attention."""


@dataclass(frozen=True)
class Run:
    """What adapters do in one call of the UNet.

    keys_values: Block to keys and values of the face's tokens; vectors: block to FineFace's
    constants [1, C]; bank: number of a self-attention to the reference's states [1, N, C], which
    its keys and values also read. What is left out changes nothing.
    """

    keys_values: Mapping[str, KeysValues] = field(default_factory=dict)
    weight: float = 1.0
    vectors: Mapping[str, Tensor] = field(default_factory=dict)
    unit_weight: float = 1.0
    lora: AdapterLora = field(default_factory=AdapterLora)
    strength: float = 1.0
    bank: Mapping[int, Tensor] = field(default_factory=dict)


def attended(
    fixture: PublishedFixture, number: int, hidden: Tensor, context: Tensor, run: Run
) -> Tensor:
    """The output [B, N, C] of one attention, before the residual."""
    heads, block = fixture.attention(number).heads, fixture.block(number)
    projected = projections(fixture, number, run)
    (q, _), (k, _), (v, _), (out, bias) = projected
    query = F.linear(hidden, q)
    if number in run.bank:
        context = torch.cat([context, run.bank[number]], 1)
    total = source_attention(query, (F.linear(context, k), F.linear(context, v)), heads)
    if number % 2:
        if block in run.keys_values:
            total = total + source_attention(query, run.keys_values[block], heads, run.weight)
        if block in run.vectors:
            total = total + constant_attention(run.vectors[block], run.unit_weight)
    return F.linear(total, out, bias)


def projections(
    fixture: PublishedFixture, number: int, run: Run
) -> list[tuple[Tensor, Tensor | None]]:
    """Weight and bias of to_q, to_k, to_v and to_out of an attention, the LoRA in them."""
    attn, place = fixture.attention(number), attention_place(number, fixture.target)
    parts = {"to_q": attn.to_q, "to_k": attn.to_k, "to_v": attn.to_v, "to_out.0": attn.to_out[0]}
    weights = {f"{place}.{name}": part.weight for name, part in parts.items()}
    fused = run.lora.fused(weights, run.strength)
    return [(fused[f"{place}.{name}"], part.bias) for name, part in parts.items()]


@torch.no_grad()
def predicted_noise(
    fixture: PublishedFixture,
    half: str,
    t: int,
    run: Run,
    attend: Attend = attended,
    latent: str = "in.x",
) -> Tensor:
    """eps [1, 4, h, w] of one half of the guidance at a timestep, for an input of the fixture."""
    unet = fixture.unet
    former = dict(unet.attn_processors)
    numbers = range(fixture.target.attentions)
    ours = {fixture.attention(n): _Processor(fixture, n, run, attend) for n in numbers}
    for attn, processor in ours.items():
        attn.set_processor(processor)
    try:
        return unet(fixture.tensors[latent], torch.tensor(t), fixture.text(half)).sample
    finally:
        unet.set_attn_processor(former)


def reference_bank(fixture: PublishedFixture) -> dict[int, Tensor]:
    """What all self-attentions read of the reference's latent: number to [1, N, C].

    The unmodified network once at timestep 0, with the identity's context.
    """
    latent, context = fixture.tensors["in.ref_latent"], fixture.text("cond")
    bank = reference.reference_bank(fixture.unet, latent, context)
    return {2 * i: bank[layer] for i, layer in enumerate(fixture.target.layers)}


@torch.no_grad()
def single_attention(
    fixture: PublishedFixture, half: str, number: int, run: Run, attend: Attend = attended
) -> Tensor:
    """One attention alone, on the fixture's own hidden states."""
    hidden = fixture.tensors[f"in.h.n{number}"]
    return attend(fixture, number, hidden, fixture.text(half) if number % 2 else hidden, run)


class _Processor:
    """Puts a run into one attention of diffusers."""

    def __init__(self, fixture: PublishedFixture, number: int, run: Run, attend: Attend) -> None:
        self._attend = lambda hidden, context: attend(fixture, number, hidden, context, run)

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        **_: Any,
    ) -> Tensor:
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        return self._attend(hidden_states, context)
