"""Compound embeddings, decoupled attention, balance and guidance by source."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from comfyui_dense_face.errors import IncompatibleError, InputError
from comfyui_dense_face.faces.identity import Identity
from comfyui_dense_face.sfsr.compound import CompoundEmbedding, CompoundTokens, without_identity
from comfyui_dense_face.sfsr.compound_inputs import CompoundLayout, expression_batch, identity_batch
from comfyui_dense_face.sfsr.expression import COUNT, Expression, from_values, neutral
from comfyui_dense_face.sfsr.guidance import SourceDropout, balance_weights, split_guidance
from comfyui_dense_face.sfsr.token_attention import TokenAttention, source_attention
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

LAYOUT = CompoundLayout({"arc": 16, "net": 8}, 6, "fec", tokens=4, width=12, hidden=10)
CHANNELS = {"input_blocks.1": 8, "middle_block": 16}


def person(encoder: str = "arc", size: int = 16, seed: int = 0) -> Identity:
    generator = torch.Generator().manual_seed(seed)
    return Identity(F.normalize(torch.randn(size, generator=generator), dim=0), encoder)


@pytest.fixture
def embedding() -> CompoundEmbedding:
    torch.manual_seed(0)
    return CompoundEmbedding(LAYOUT)


def tokens(embedding: CompoundEmbedding, people: Any = None, codes: Any = None) -> CompoundTokens:
    who = identity_batch(people or [[person()]], LAYOUT)
    return embedding(who, expression_batch(codes or [neutral()], LAYOUT))


# ---- tokens ------------------------------------------------------------------------------------


def test_both_sides_have_equally_many_and_equally_large_tokens(
    embedding: CompoundEmbedding,
) -> None:
    smile = from_values({"mouthSmileLeft": 1.0})
    made = tokens(embedding, [[person()], [person(seed=1), person("net", 8)]], [neutral(), smile])
    for side in (made.identity, made.expression):
        assert side.shape == (2, 4, 12)
        assert torch.allclose(side.square().mean(2), torch.ones(2, 4), atol=1e-3)


def test_half_a_smile_is_not_a_whole_one(embedding: CompoundEmbedding) -> None:
    codes = [from_values({"mouthSmileLeft": v}) for v in (0.0, 0.5, 1.0)]
    none, half, whole = tokens(embedding, [[person()]] * 3, codes).expression
    assert (none - half).abs().max() > 1e-3 and (half - whole).abs().max() > 1e-3


def test_unknown_is_not_zero_and_differences_are_cut(embedding: CompoundEmbedding) -> None:
    known = torch.ones(COUNT, dtype=torch.bool)
    known[0] = False
    partly = Expression(torch.zeros(COUNT), "test", known)
    below = Expression(torch.full((COUNT,), -0.5), "test")
    rest, unknown, cut = tokens(embedding, [[person()]] * 3, [neutral(), partly, below]).expression
    assert not torch.equal(rest, unknown) and torch.equal(rest, cut)


def test_learned_parts_count_where_they_are(embedding: CompoundEmbedding) -> None:
    learned = Expression(torch.zeros(COUNT), "test", learned=torch.ones(6), encoder="fec")
    rest, described = tokens(embedding, [[person()]] * 2, [neutral(), learned]).expression
    assert not torch.allclose(rest, described)
    without = CompoundLayout({"arc": 16}, tokens=2, width=4, hidden=4)
    assert expression_batch([learned], without).learned.shape == (1, 0)


def test_items_of_a_batch_do_not_meet(embedding: CompoundEmbedding) -> None:
    people = [[person()], [person(seed=1), person("net", 8)]]
    codes = [neutral(), from_values({"jawOpen": 1.0})]
    both = tokens(embedding, people, codes)
    alone = tokens(embedding, people[1:], codes[1:])
    assert torch.allclose(both.identity[1:], alone.identity, atol=1e-5)
    assert torch.allclose(both.expression[1:], alone.expression, atol=1e-5)


def test_everything_learns(embedding: CompoundEmbedding) -> None:
    learned = Expression(torch.zeros(COUNT), "test", learned=torch.ones(6), encoder="fec")
    made = tokens(embedding, [[person(), person("net", 8)]], [learned])
    (made.identity[..., 0].sum() + made.expression[..., 0].sum()).backward()
    for name, weight in embedding.named_parameters():
        assert weight.grad is not None and weight.grad.abs().sum() > 0, name


@pytest.mark.parametrize(
    ("people", "kind", "sentence"),
    [
        (
            [person("other")],
            IncompatibleError,
            "cannot use an identity of 16 numbers from 'other'",
        ),
        ([person("arc", 17)], IncompatibleError, "an identity of 17 numbers from 'arc'"),
        ([person("net", 8)], IncompatibleError, "the identity from 'arc' is missing"),
        ([], IncompatibleError, "the identity from 'arc' is missing"),
        ([person(), person(seed=1)], InputError, "two identities from arc"),
    ],
)
def test_identities_that_do_not_fit(people: list[Identity], kind: Any, sentence: str) -> None:
    with pytest.raises(kind, match=sentence):
        identity_batch([people], LAYOUT)


@pytest.mark.parametrize(
    ("trained", "measured"),
    [
        ("insightface/buffalo_l", "insightface/w600k_r50"),
        ("insightface/w600k_r50", "insightface/buffalo_l"),
    ],
)
def test_former_names_of_an_encoder(trained: str, measured: str) -> None:
    layout = CompoundLayout({trained: 16})
    now, former = person(measured), person(trained)
    batch = identity_batch([[now]], layout)
    assert torch.equal(batch.vectors[trained], identity_batch([[former]], layout).vectors[trained])
    with pytest.raises(InputError, match="two identities"):
        identity_batch([[now, former]], layout)


def test_learned_parts_that_do_not_fit() -> None:
    for size, encoder, sentence in ((6, "dln", "comes from 'dln'"), (5, "fec", "has 5 numbers")):
        code = Expression(torch.zeros(COUNT), "test", learned=torch.ones(size), encoder=encoder)
        with pytest.raises(IncompatibleError, match=sentence):
            expression_batch([code], LAYOUT)


@pytest.mark.parametrize(
    "layout",
    [
        {"identities": {}},
        {"identities": {"arc": 0}},
        {"identities": {"arc": 8}, "tokens": 0},
        {"identities": {"arc": 8}, "learned": 4},
        {"identities": {"arc": 8}, "learned_encoder": "fec"},
    ],
)
def test_layouts_that_cannot_be(layout: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        CompoundLayout(**layout)


def test_expression_without_the_identity_direction() -> None:
    generator = torch.Generator().manual_seed(0)
    face, who = torch.randn(2, 3, 4, 12, generator=generator)
    left = without_identity(face, who)
    assert torch.allclose(left @ who.mT, torch.zeros(3, 4, 4), atol=1e-4)
    assert torch.allclose(without_identity(left, who), left, atol=1e-5)
    assert torch.allclose(without_identity(who, who), torch.zeros(3, 4, 12), atol=1e-5)


# ---- attention ---------------------------------------------------------------------------------


def kv(seed: int = 0, batch: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    keys, values = torch.randn(2, batch, 4, 8, generator=generator)
    return keys, values


def test_keys_and_values_of_every_layer(embedding: CompoundEmbedding) -> None:
    attention = TokenAttention(CHANNELS, 12)
    made = attention.keys_values(tokens(embedding))
    assert list(made) == ["identity", "expression"]
    for layers in made.values():
        assert list(layers) == list(CHANNELS)
        for layer, (keys, values) in layers.items():
            assert keys.shape == values.shape == (1, 4, CHANNELS[layer])
            assert not values.any() and bool(keys.any())  # untrained: nothing is added
    assert all("." not in part for key in attention.state_dict() for part in key.split(".")[1:2])


def test_attention_of_a_source_by_its_definition() -> None:
    query = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(3))
    keys, values = kv()
    found = source_attention(query, (keys, values), 2)
    for head in range(2):
        part = slice(4 * head, 4 * head + 4)
        share = (query[..., part] @ keys[..., part].mT / 2).softmax(-1)
        assert torch.allclose(found[..., part], share @ values[..., part], atol=1e-5)


def test_weights_and_masks() -> None:
    query = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(3))
    whole = source_attention(query, kv(), 2)
    assert torch.equal(source_attention(query, kv(), 2, 0.0), torch.zeros_like(whole))
    assert torch.allclose(source_attention(query, kv(), 2, 0.5), whole / 2)
    absent = source_attention(query, kv(), 2, torch.tensor([0.0, 1.0]))
    assert not absent[0].any() and torch.equal(absent[1], whole[1])
    mask = torch.tensor([[1.0, 0, 0.5, 0, 0]])
    masked = source_attention(query, kv(), 2, mask=mask)
    assert not masked[:, [1, 3, 4]].any() and torch.allclose(masked[:, 2], whole[:, 2] / 2)


# ---- balance and guidance ----------------------------------------------------------------------


def test_balance() -> None:
    assert balance_weights(0) == (1, 1)
    assert balance_weights(-1) == (1, 0) and balance_weights(1) == (0, 1)
    assert balance_weights(0.25) == (0.75, 1)
    for wrong in (-1.1, 1.1, float("nan")):
        with pytest.raises(InputError, match="the balance is"):
            balance_weights(wrong)


def test_source_dropout_has_the_given_frequencies() -> None:
    identity, expression = SourceDropout().draw(20000, torch.Generator().manual_seed(0))
    assert float((~identity & expression).float().mean()) == pytest.approx(0.1, abs=0.01)
    assert float((identity & ~expression).float().mean()) == pytest.approx(0.1, abs=0.01)
    assert float((~identity & ~expression).float().mean()) == pytest.approx(0.05, abs=0.01)
    always = SourceDropout(0, 0, 0).draw(100, torch.Generator().manual_seed(0))
    assert bool(torch.stack(always).all())
    with pytest.raises(InputError, match="dropout probabilities are impossible"):
        SourceDropout(0.5, 0.5, 0.5)


@given(scale=st.floats(0, 9), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_equal_scales_are_the_usual_guidance(scale: float, seed: int) -> None:
    parts = torch.randn(4, 3, generator=torch.Generator().manual_seed(seed)).double()
    found = split_guidance(*parts, (scale, scale, scale))
    assert torch.allclose(found, parts[0] + scale * (parts[3] - parts[0]))


def test_scales_belong_to_their_sources() -> None:
    parts = torch.tensor([1.0, 3.0, 7.0, 15.0])
    assert split_guidance(*parts, (0, 0, 0)) == 1
    assert split_guidance(*parts, (1, 1, 0)) == 7
    assert split_guidance(*parts, (1, 1, 2)) == 23
    assert split_guidance(*parts, (1, 0, 1)) == 11
