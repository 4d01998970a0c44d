"""Deliberate mistakes with Arc2Face: each changes a golden by what was measured for it.

The sizes are those of docs/reference/parity.md 12, to two digits; a mistake below the tolerances
would mean that the goldens cannot detect it.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from comfyui_dense_face.evaluation.parity import arc2face_outputs, published_unet
from comfyui_dense_face.evaluation.parity.published_outputs import Golden
from comfyui_dense_face.pipelines.arc2face import encode_prompt
from comfyui_dense_face.pipelines.text import encode_embeddings
from comfyui_dense_face.sfsr.arc2face.prompt import insert_identity
from comfyui_dense_face.sfsr.token_attention import source_attention
from published_bench import Layer, Run, block, distance, eps, fixture, goldens
from torch import Tensor, nn

EXACT, THROUGH_UNET = 1e-5, 1e-4
PROMPT, FLAME = "te.prompt.0", "eps.exp.mlp.cond.t981.s1"
WEAK, NEUTRAL = "eps.exp.mlp.cond.t981.s0.5", "eps.exp.mlp.uncond.t981.s1"
REFERENCE, UNCONDITIONAL = "eps.ref.cond.t981.l0.8.s1", "eps.ref.uncond.t981.l0.8.s1"
GIVEN = fixture("arc2face")


@dataclass(frozen=True)
class Mistake:
    """change: measured with the reference, relative."""

    says: str
    golden: str
    change: float
    make: Callable[[], Tensor]


# ---- text encoder -----------------------------------------------------------------------------

IDS = GIVEN.tensors["te.in.ids"].long()
VECTOR = GIVEN.tensors["te.in.id"][0]
EMBEDDING = torch.cat([VECTOR, torch.zeros(8)])


def _prompt(embedding: Tensor, number: int = 4, encoder: Any = None) -> Tensor:
    return encode_embeddings(
        encoder or GIVEN.text_encoder,
        IDS,
        lambda embeds: insert_identity(embeds, IDS, embedding, number),
    )


def _altered(change: Callable[[Any], None]) -> Callable[[], Tensor]:
    def make() -> Tensor:
        encoder = deepcopy(GIVEN.text_encoder)
        change(getattr(encoder, "text_model", encoder))
        return _prompt(EMBEDDING, encoder=encoder)

    return make


def _without_final_norm(model: Any) -> None:
    model.final_layer_norm = nn.Identity()


def _without_positions(model: Any) -> None:
    model.embeddings.position_embedding.weight.zero_()


def _exact_gelu(model: Any) -> None:
    model.encoder.layers[0].mlp.activation_fn = nn.GELU()


TEXT = [
    Mistake("not inserted", PROMPT, 0.6, lambda: encode_prompt(GIVEN.text_encoder, IDS)),
    Mistake("next position", PROMPT, 0.73, lambda: _prompt(EMBEDDING, 5)),
    Mistake("zeros in front", PROMPT, 0.54, lambda: _prompt(EMBEDDING.roll(8))),
    Mistake("not normalised", PROMPT, 0.96, lambda: _prompt(22 * EMBEDDING)),
    Mistake("no final norm", PROMPT, 0.49, _altered(_without_final_norm)),
    Mistake("no positions", PROMPT, 0.63, _altered(_without_positions)),
    Mistake("exact GELU", PROMPT, 0.0063, _altered(_exact_gelu)),
]


# ---- expression and reference -----------------------------------------------------------------


def _eps(says: str, golden: str, change: float, make: Callable[[Run], Run]) -> Mistake:
    """A mistake in a run of the reference's way."""

    def wrong() -> Tensor:
        read = Golden.read(golden)
        assert read is not None
        run = arc2face_outputs.run_of(GIVEN, read)
        ours = Run(run.keys_values, run.weight, lora=run.lora, strength=run.strength, bank=run.bank)
        return eps("arc2face", read.half, int(read.numbers["t"]), make(ours))

    return Mistake(says, golden, change, wrong)


def _tokens(make: Callable[[], Tensor]) -> Callable[[Run], Run]:
    return lambda run: replace(run, keys_values=GIVEN.flame("mlp").keys_values(make()))


def _numbers(change: Callable[[Tensor], Tensor]) -> Callable[[Run], Run]:
    return _tokens(lambda: GIVEN.flame("mlp").tokens(change(GIVEN.tensors["in.exp"][:1])))


def _without_norm() -> Tensor:
    adapter = GIVEN.flame("mlp")
    return adapter.embedding.proj(GIVEN.tensors["in.exp"][:1]).unflatten(1, (-1, adapter.width))


def _exchanged(run: Run) -> Run:
    one, two = block(5), block(7)
    kv = dict(run.keys_values)
    kv[one], kv[two] = kv[two], kv[one]
    return replace(run, keys_values=kv)


def _added(layer: Layer, run: Run) -> Tensor:
    kv = run.keys_values[block(layer.number)]
    return source_attention(layer.query, kv, layer.heads, run.weight)


def _after_out(layer: Layer, plain: Layer, run: Run) -> Tensor:
    return layer.out(layer.text) + _added(layer, run)


def _one_softmax(layer: Layer, plain: Layer, run: Run) -> Tensor:
    ours = run.keys_values[block(layer.number)]
    k, v = (torch.cat(pair, 1) for pair in zip(layer.keys_values, ours, strict=True))
    return layer.out(source_attention(layer.query, (k, v), layer.heads))


def _keys_for_values(run: Run) -> Run:
    return replace(run, keys_values={b: (v, k) for b, (k, v) in run.keys_values.items()})


def _lids_and_jaw(numbers: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    expression, lids, jaw = numbers.split([50, 2, 3], 1)
    return expression, lids, jaw


def _jaw_first(numbers: Tensor) -> Tensor:
    expression, lids, jaw = _lids_and_jaw(numbers)
    return torch.cat([expression, jaw, lids], 1)


def _expression_last(numbers: Tensor) -> Tensor:
    return numbers.roll(5, 1)


def _at_rest(numbers: Tensor) -> Tensor:
    return F.pad(numbers[:, :50], (0, 5))


EXPRESSION = [
    _eps("left out", FLAME, 0.37, lambda run: replace(run, keys_values={})),
    _eps("weight ignored", WEAK, 0.21, lambda run: replace(run, weight=1.0)),
    _eps("no LayerNorm", FLAME, 0.11, _tokens(_without_norm)),
    _eps("jaw before eyelids", FLAME, 0.014, _numbers(_jaw_first)),
    _eps("expression last", FLAME, 0.51, _numbers(_expression_last)),
    _eps("eyelids and jaw zero", FLAME, 0.021, _numbers(_at_rest)),
    _eps("numbers 5 and 7 exchanged", FLAME, 0.16, _exchanged),
    _eps("added after to_out", FLAME, 0.59, lambda run: replace(run, combine=_after_out)),
    _eps("one softmax", FLAME, 0.33, lambda run: replace(run, combine=_one_softmax)),
    _eps("keys and values exchanged", FLAME, 0.47, _keys_for_values),
    _eps("uncond: zero tokens", NEUTRAL, 0.33, _tokens(lambda: torch.zeros(1, 4, 128))),
    _eps("uncond: none", NEUTRAL, 0.33, lambda run: replace(run, keys_values={})),
    _eps("uncond: the expression", NEUTRAL, 0.51, _numbers(lambda numbers: numbers)),
]


def _bank(half: str = "cond", t: int = 0, run: Run | None = None) -> dict[int, Tensor]:
    """The reference's pass, perhaps a wrong one."""
    bank: dict[int, Tensor] = {}

    def stored(given: Any, number: int, hidden: Tensor, context: Tensor, of: Any) -> Tensor:
        if number % 2 == 0:
            bank[number] = hidden
        return published_unet.attended(given, number, hidden, context, of)

    published_unet.predicted_noise(GIVEN, half, t, run or Run(), stored, "in.ref_latent")
    return bank


def _with_bank(make: Callable[[Run], dict[int, Tensor]]) -> Callable[[Run], Run]:
    return lambda run: replace(run, bank=make(run))


ADAPTED = [
    _eps("bank left out", REFERENCE, 0.09, lambda run: replace(run, bank={})),
    _eps("LoRA left out", REFERENCE, 0.22, lambda run: replace(run, strength=0.0)),
    _eps("LoRA at 1", REFERENCE, 0.079, lambda run: replace(run, strength=1.0)),
    _eps("bank in the uncond half", UNCONDITIONAL, 0.089, _with_bank(lambda run: _bank())),
    _eps("sampling timestep", REFERENCE, 0.0023, _with_bank(lambda run: _bank(t=981))),
    _eps("empty prompt", REFERENCE, 0.028, _with_bank(lambda run: _bank("uncond"))),
    _eps(
        "LoRA in the reference, too",
        REFERENCE,
        0.021,
        _with_bank(lambda run: _bank(run=Run(lora=run.lora, strength=run.strength))),
    ),
]


@pytest.mark.parametrize(
    "mistake", [*TEXT, *EXPRESSION, *ADAPTED], ids=lambda each: f"{each.golden}: {each.says}"
)
def test_a_mistake_is_seen(mistake: Mistake) -> None:
    with torch.no_grad():
        change = distance(mistake.make(), goldens("arc2face")[mistake.golden])
    assert change > (THROUGH_UNET if mistake.golden.startswith("eps") else EXACT)
    assert change == pytest.approx(mistake.change, rel=0.07)
