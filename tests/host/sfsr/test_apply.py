"""SFSR on a MODEL of the real host: sources act, off changes nothing, images stay independent."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from in_host import Tiny, difference
from sfsr_in_host import apply, expressions, random_adapter
from torch import Tensor

CLOSE, SEEN = 1e-4, 1e-3
OPEN, SMILE, FROWN = {"jawOpen": 1.0}, {"mouthSmileLeft": 1.0}, {"mouthFrownLeft": 1.0}


@pytest.fixture(scope="module")
def adapter(tiny: Tiny) -> Any:
    return random_adapter(tiny)


@pytest.fixture(scope="module")
def base(tiny: Tiny) -> Tensor:
    return tiny.sample(tiny.model)


def one_step(tiny: Tiny, model: Any, positive: Any = None, **options: Any) -> Tensor:
    """Three images, one step: a single call of the network, nothing amplified."""
    positive = positive or tiny.prompt("a person")
    return tiny.sample(model, positive, tiny.prompt(""), batch=3, steps=1, **options)


def test_each_source_acts_and_the_base_stays(tiny: Tiny, adapter: Any, base: Tensor) -> None:
    both = tiny.sample(apply(tiny, adapter))
    identity = tiny.sample(apply(tiny, adapter, expression_weight=0.0))
    expression = tiny.sample(apply(tiny, adapter, identity_weight=0.0))
    for one, other in ((both, base), (identity, base), (expression, base), (both, identity)):
        assert difference(one, other) > SEEN
    assert torch.equal(tiny.sample(apply(tiny, adapter, expression=None)), identity)
    assert torch.equal(tiny.sample(apply(tiny, adapter, balance=-1.0)), identity)
    assert torch.equal(tiny.sample(apply(tiny, adapter, balance=1.0)), expression)
    assert torch.equal(tiny.sample(tiny.model), base)
    assert tiny.model.patches == {} and not any(tiny.model.wrappers.values())
    assert "patches_replace" not in tiny.model.model_options["transformer_options"]


NEVER = {
    f"{of}_{end}_percent": 0.5 for of in ("identity", "expression") for end in ("start", "end")
}
OFF: list[dict[str, Any]] = [
    {"identity_weight": 0.0, "expression_weight": 0.0},
    {"balance": -1.0, "identity_weight": 0.0},
    NEVER,
    {"mask": torch.zeros(1, 64, 64)},
]


@pytest.mark.parametrize("off", OFF, ids=["weights 0", "balance and weight", "never", "black mask"])
def test_off_is_bit_identical_to_absent(
    tiny: Tiny, adapter: Any, base: Tensor, off: dict[str, Any]
) -> None:
    assert torch.equal(tiny.sample(apply(tiny, adapter, **off)), base)


def test_the_half_without_prompt_gets_no_source(tiny: Tiny, adapter: Any) -> None:
    """With cfg 0 only that half counts; with cfg 1 there is none, and it still acts."""
    plain = tiny.sample(tiny.model, cfg=0.0, steps=1)
    assert difference(tiny.sample(apply(tiny, adapter), cfg=0.0, steps=1), plain) < 1e-6
    alone = tiny.sample(tiny.model, cfg=1.0, steps=1)
    assert difference(tiny.sample(apply(tiny, adapter), cfg=1.0, steps=1), alone) > SEEN


def test_percent_ranges_are_each_sources_own(tiny: Tiny, adapter: Any, base: Tensor) -> None:
    first_half = {"steps": 4, "start_step": 0, "last_step": 2, "force_full_denoise": False}
    late = {"identity_start_percent": 0.7, "expression_start_percent": 0.7}
    drawn = tiny.sample(apply(tiny, adapter, **late), **first_half)
    assert torch.equal(drawn, tiny.sample(tiny.model, **first_half))
    late_face = tiny.sample(apply(tiny, adapter, expression_start_percent=0.7), **first_half)
    identity = tiny.sample(apply(tiny, adapter, expression_weight=0.0), **first_half)
    assert torch.equal(late_face, identity) and difference(identity, drawn) > SEEN


@pytest.mark.parametrize("source", ["identity", "expression"])
def test_a_range_holds_its_ends_and_nothing_beyond(tiny: Tiny, adapter: Any, source: str) -> None:
    levels = tiny.model.get_model_object("model_sampling")
    first, last = (float(levels.percent_to_sigma(percent)) for percent in (0.3, 0.6))
    other = {"identity": "expression", "expression": "identity"}[source]
    ends = {f"{source}_start_percent": 0.3, f"{source}_end_percent": 0.6}
    model = apply(tiny, adapter, **{f"{other}_weight": 0.0}, **ends)
    sigmas = (1.001 * first, first, last, 0.999 * last)
    assert [tiny.acts_at(model, sigma) for sigma in sigmas] == [False, True, True, False]


def test_masks(tiny: Tiny, adapter: Any) -> None:
    whole = tiny.sample(apply(tiny, adapter))
    white = tiny.sample(apply(tiny, adapter, mask=torch.ones(1, 64, 64)))
    assert torch.equal(white, whole)
    mask = torch.zeros(1, 128, 128)
    mask[:, :, :64] = 1
    changed = tiny.sample(apply(tiny, adapter, mask=mask), steps=1) - tiny.sample(
        tiny.model, steps=1
    )
    assert changed.abs()[..., :8].mean() > 1.3 * changed.abs()[..., 8:].mean()


def two_prompts(tiny: Tiny) -> Any:
    return tiny.prompt("a person with red hair") + tiny.prompt("a person, smiling")


def areas(tiny: Tiny) -> Any:
    left, right = tiny.prompt("a person with red hair")[0], tiny.prompt("a blue background")[0]
    return [
        [left[0], {**left[1], "area": (16, 10, 0, 0)}],
        [right[0], {**right[1], "area": (16, 8, 0, 8)}],
    ]


def longer(tiny: Tiny) -> Any:
    return tiny.prompt("a portrait of a person with " + "red hair, " * 30)


@pytest.mark.parametrize("prompts", [two_prompts, areas, longer])
def test_expression_travel_in_a_batch(
    tiny: Tiny, adapter: Any, prompts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One person and three expressions at once equal three runs, also with split batches."""
    positive, faces = prompts(tiny), (OPEN, SMILE, FROWN)
    model = apply(tiny, adapter, expression=expressions(tiny, *faces))
    together = one_step(tiny, model, positive)
    alone = [
        one_step(tiny, apply(tiny, adapter, expression=expressions(tiny, face)), positive)
        for face in faces
    ]
    for i, drawn in enumerate(alone):
        assert difference(together[i], drawn[i]) < CLOSE
    assert difference(together[0], alone[1][0]) > SEEN
    monkeypatch.setattr(type(tiny.model.model), "memory_required", lambda *_, **__: 1e30)
    assert difference(one_step(tiny, model, positive), together) < CLOSE


def test_people_and_expressions_each_have_their_image(tiny: Tiny, adapter: Any) -> None:
    people, faces = tiny.people(3), (OPEN, SMILE, FROWN)
    options: dict[str, Any] = {"keep_identity_out": True}
    model = apply(tiny, adapter, people=people, expression=expressions(tiny, *faces), **options)
    together = one_step(tiny, model)
    for i, face in enumerate(faces):
        who = type(people)((people.identities[i],))
        alone = apply(tiny, adapter, people=who, expression=expressions(tiny, face), **options)
        assert difference(together[i], one_step(tiny, alone)[i]) < CLOSE
    plain = apply(tiny, adapter, people=people, expression=expressions(tiny, *faces))
    assert difference(one_step(tiny, plain), together) > SEEN


def test_without_an_identity_there_is_none_to_keep_out(tiny: Tiny, adapter: Any) -> None:
    plain, kept = (
        one_step(tiny, apply(tiny, adapter, identity=None, keep_identity_out=out))
        for out in (False, True)
    )
    assert torch.equal(plain, kept)


def test_several_encoders(tiny: Tiny) -> None:
    both = random_adapter(tiny, identities={"tiny-world": 512, "other": 512})
    further = tiny.people(seed=8, encoder="other")
    one = tiny.sample(apply(tiny, both), steps=1)
    two = tiny.sample(apply(tiny, both, identity_2=further), steps=1)
    assert difference(two, one) > SEEN
    with pytest.raises(ValueError, match=r"identities are those of 2 and 3 people"):
        people = tiny.people(2)
        apply(tiny, both, people=people, identity_2=tiny.people(3, encoder="other"))


def test_nothing_is_made_twice_on_a_warm_graph(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter, people, faces = random_adapter(tiny), tiny.people(), expressions(tiny)
    inputs: dict[str, Any] = {"people": people, "expression": faces}
    apply(tiny, adapter, **inputs)

    def again(*_: Any, **__: Any) -> None:
        raise AssertionError("made again")

    attention = type(adapter.adapter.attention)
    monkeypatch.setattr(attention, "source_keys_values", again)
    apply(tiny, adapter, identity_weight=0.7, **inputs)


# ---- errors, each one sentence ------------------------------------------------------------------


def test_mismatched_counts_are_refused(tiny: Tiny, adapter: Any) -> None:
    two = expressions(tiny, OPEN, SMILE)
    with pytest.raises(ValueError, match="2 expressions for a batch of 3 images"):
        one_step(tiny, apply(tiny, adapter, expression=two))
    with pytest.raises(ValueError, match="2 expressions for 3 identities"):
        people = tiny.people(3)
        apply(tiny, adapter, people=people, expression=two, keep_identity_out=True)


def test_identity_of_another_encoder(tiny: Tiny, adapter: Any) -> None:
    with pytest.raises(ValueError, match=r"from 'ir-se50'.*tiny-world"):
        apply(tiny, adapter, people=tiny.people(encoder="ir-se50"))


def test_model_of_another_kind(tiny: Tiny) -> None:
    big = random_adapter(tiny)
    big.adapter.layers["input_blocks.1"] = 320
    with pytest.raises(ValueError, match=r"at input_blocks.1 it is 320 wide, the model has 64"):
        apply(tiny, big)
