"""FLAME expressions: their numbers, ranges and arithmetic, and who refuses them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from comfyui_dense_face.errors import FacePackError, IncompatibleError, InputError
from comfyui_dense_face.faces.flame import COUNT, FLAME
from comfyui_dense_face.sfsr.algebra import add, blend, mirror, travel
from comfyui_dense_face.sfsr.arc2face.flame import flame_expression, flame_numbers, parse_flame
from comfyui_dense_face.sfsr.compound_inputs import CompoundLayout, expression_batch
from comfyui_dense_face.sfsr.disfa_sources import intensities_of
from comfyui_dense_face.sfsr.expression import Expression, from_values
from comfyui_dense_face.sfsr.words import expression_of_word
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor


def numbers(seed: int = 0, lids: float = 0.4, opening: float = 0.2, side: float = 0.1) -> Tensor:
    chance = torch.Generator().manual_seed(seed)
    rest = torch.tensor([lids, lids / 2, opening, side, -side])
    return torch.cat([torch.randn(50, generator=chance), rest])


def test_an_expression_carries_its_numbers() -> None:
    face = flame_expression(numbers())
    assert face.encoder == FLAME and not face.known.any() and not face.values.any()
    assert torch.equal(flame_numbers(face), numbers())
    assert face.summary() == "FLAME numbers: 55 numbers of smirk/em1"


def test_eyelids_and_jaw_of_another_face() -> None:
    wink = from_values({"eyeBlinkLeft": 0.75, "jawOpen": 0.5, "jawLeft": 0.5})
    given = numbers()
    found = flame_numbers(flame_expression(given[:50], face=wink))
    assert torch.equal(found[:50], given[:50])
    assert found[50:].tolist() == pytest.approx([0.75, 0, 0.15, 0.05, 0])
    with_jaw = flame_numbers(flame_expression(torch.cat([given[:50], given[52:]]), face=wink))
    assert with_jaw[50:].tolist() == pytest.approx([0.75, 0, 0.2, 0.1, -0.1])
    assert torch.equal(flame_numbers(flame_expression(given, face=wink)), given)
    assert not flame_numbers(flame_expression(given[:50]))[50:].any()


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 999), st.floats(0, 3))
def test_intensity_scales_from_neutral(seed: int, amount: float) -> None:
    found = flame_numbers(flame_expression(numbers(seed), intensity=amount))
    assert torch.allclose(found[:50], amount * numbers(seed)[:50])
    assert found[50:52].min() >= 0 and found[50:52].max() <= 1
    assert found[52] >= 0 and found[53:].abs().max() <= 0.2 + 1e-6


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (torch.zeros(51), r"shape \[51\]"),
        (torch.zeros(1, 55), r"shape \[1, 55\]"),
        (torch.full((55,), float("nan")), "out of range"),
        (numbers(lids=1.1), "out of range"),
        (numbers(opening=-0.1), "out of range"),
        (numbers(side=0.25), "out of range"),
    ],
)
def test_other_numbers_are_refused(given: Tensor, says: str) -> None:
    with pytest.raises(InputError, match=says):
        flame_expression(given)


def test_text() -> None:
    assert parse_flame("[0.5, -1e-2;\n3]").tolist() == pytest.approx([0.5, -0.01, 3])
    assert parse_flame("  ").tolist() == [0.0] * COUNT
    with pytest.raises(InputError, match="cannot be read"):
        parse_flame("jaw 0.2")


def test_travel_blend_and_sum() -> None:
    one, two = flame_expression(numbers(1)), flame_expression(numbers(2))
    middle = travel(one, two, 3)[1]
    assert torch.allclose(flame_numbers(middle), (numbers(1) + numbers(2)) / 2)
    mixed = flame_numbers(blend([one, two], [3, 1]))
    assert torch.allclose(mixed, 0.75 * numbers(1) + 0.25 * numbers(2))
    beyond = flame_numbers(add(one, one, 9))
    assert beyond[50] == 1 and torch.allclose(beyond[:50], 10 * numbers(1)[:50], atol=1e-5)


REFUSED: dict[str, Callable[[Expression], Any]] = {
    "action units": intensities_of,
    "own adapter": lambda face: expression_batch([face], CompoundLayout({"a": 512})),
    "face mesh": Expression.blendshapes,
    "mirror": mirror,
    "eyelids of it": lambda face: flame_expression(torch.zeros(50), face=face),
    "blend with a word": lambda face: blend([face, expression_of_word("joy")], [1, 1]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_reads_blendshapes_refuses_it(name: str) -> None:
    with pytest.raises(IncompatibleError, match=r"numbers of smirk/em1 and no blendshapes"):
        REFUSED[name](flame_expression(numbers()))


def test_what_carries_no_numbers_is_refused() -> None:
    with pytest.raises(FacePackError, match=r"blendshapes and no FLAME numbers \(word joy"):
        flame_numbers(expression_of_word("joy"))
    other = Expression(torch.zeros(51), "test", learned=torch.zeros(COUNT), encoder="other")
    with pytest.raises(IncompatibleError, match="other"):
        flame_numbers(other)
