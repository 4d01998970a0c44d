"""Expression records and their algebra."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from comfyui_dense_face.errors import IncompatibleError, InputError
from comfyui_dense_face.faces.blendshapes import ARKIT_INDEX, ARKIT_NAMES
from comfyui_dense_face.faces.face import Face
from comfyui_dense_face.sfsr.algebra import add, blend, clamp, medoid, mirror, travel
from comfyui_dense_face.sfsr.expression import COUNT, Expression, from_face, from_values, neutral
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn


@st.composite
def expressions(draw: DrawFn) -> Expression:
    """Random values, some of them not known."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    values = torch.rand(COUNT, generator=generator)
    valid = torch.rand(COUNT, generator=generator) < draw(st.sampled_from([0.5, 1.0]))
    return Expression(values, "random", valid)


def smile(amount: float = 1.0, **more: Any) -> Expression:
    values = torch.zeros(COUNT)
    values[ARKIT_INDEX["mouthSmileLeft"]] = amount
    return Expression(values, "smile", **more)


# ---- the record --------------------------------------------------------------------------------


def test_unknown_values_are_zero() -> None:
    valid = torch.zeros(COUNT, dtype=torch.bool)
    valid[3] = True
    code = Expression(torch.ones(COUNT, dtype=torch.float64), "test", valid)
    assert code.values.dtype == torch.float32 and code.values.sum() == 1
    assert code.named() == {ARKIT_NAMES[3]: 1.0}
    assert code.strongest() == [(ARKIT_NAMES[3], 1.0)]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"values": torch.zeros(52)}, r"an expression has 51 numbers, got \[52\]"),
        ({"values": torch.full((51,), float("nan"))}, "values that are not finite"),
        ({"valid": torch.ones(51)}, "flags of type torch.float32"),
        ({"learned": torch.zeros(16)}, "needs the name of its network"),
        ({"encoder": "dln"}, "needs the name of its network"),
        ({"learned": torch.full((2,), float("inf")), "encoder": "x"}, "not finite"),
    ],
)
def test_records_are_checked(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        Expression(**{"values": torch.zeros(51), "source": "test", **change})


def test_learned_parts_bear_the_name_of_their_network() -> None:
    code = smile(learned=torch.ones(16), encoder="fec")
    code.require_encoder("fec")
    smile().require_encoder("fec")
    with pytest.raises(IncompatibleError, match="from 'fec', the adapter was trained with 'x'"):
        code.require_encoder("x")


def test_sliders() -> None:
    code = from_values({"jawOpen": 0.4})
    assert code.named()["jawOpen"] == pytest.approx(0.4) and bool(code.known.all())
    with pytest.raises(InputError, match=r"the blendshape jawOpen is 1\.2"):
        from_values({"jawOpen": 1.2})
    with pytest.raises(InputError, match="jawOpen is nan"):
        from_values({"jawOpen": float("nan")})
    with pytest.raises(InputError, match="there is no blendshape 'tongueOut'"):
        from_values({"tongueOut": 1})


def face(blendshapes: dict[str, float] | None) -> Face:
    points = torch.zeros(0, 2)
    return Face((64, 64), (8, 8, 56, 56), 1.0, points, "none", "test", blendshapes=blendshapes)


def test_expression_of_a_face() -> None:
    code = from_face(face({"jawOpen": 1.04, "mouthSmileLeft": -0.02, "_neutral": 0.5}))
    assert code.named() == {"jawOpen": 1.0, "mouthSmileLeft": 0.0}
    assert code.source == "image by test"
    for none in (None, {}):
        with pytest.raises(InputError, match="gives no expression"):
            from_face(face(none))


# ---- calculating -------------------------------------------------------------------------------


@given(one=expressions(), two=expressions(), weight=st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_blends_lie_between(one: Expression, two: Expression, weight: float) -> None:
    mixed = blend([one, two], [1 - weight, weight])
    both = one.known & two.known
    low, high = torch.minimum(one.values, two.values), torch.maximum(one.values, two.values)
    assert bool(((mixed.values >= low - 1e-6) & (mixed.values <= high + 1e-6))[both].all())
    if 0.01 < weight < 0.99:
        # What only one of them knows is taken from it alone.
        alone = one.known & ~two.known
        assert torch.allclose(mixed.values[alone], one.values[alone], atol=1e-6)
        assert torch.equal(mixed.known, one.known | two.known)


def test_blend_ignores_the_scale_of_weights_and_what_weighs_nothing() -> None:
    other = from_values({"jawOpen": 0.8})
    assert torch.allclose(
        blend([smile(), other], [1, 3]).values, blend([smile(), other], [0.2, 0.6]).values
    )
    alone = blend([smile(), other], [1, 0])
    assert torch.equal(alone.values, smile().values) and alone.source == "blend of 1 x smile"


@pytest.mark.parametrize("weights", [[1.0], [0.0, 0.0], [-1.0, 2.0], [float("nan"), 1.0]])
def test_weights_that_cannot_be_used(weights: list[float]) -> None:
    with pytest.raises(InputError, match="weights"):
        blend([smile(), neutral()], weights)


def test_blend_of_learned_parts() -> None:
    one = smile(learned=torch.tensor([1.0, 0]), encoder="fec")
    two = smile(learned=torch.tensor([0.0, 1]), encoder="fec")
    mixed = blend([one, two], [1, 3])
    assert mixed.encoder == "fec" and mixed.learned is not None
    assert mixed.learned.tolist() == [0.25, 0.75]
    assert blend([one, smile()], [1, 1]).learned is None
    with pytest.raises(IncompatibleError, match="different networks: dln, fec"):
        blend([one, smile(learned=torch.zeros(2), encoder="dln")], [1, 1])


@given(one=expressions(), two=expressions(), count=st.integers(2, 9))
@settings(max_examples=30, deadline=None)
def test_travel_is_a_straight_way(one: Expression, two: Expression, count: int) -> None:
    way = travel(one, two, count)
    assert len(way) == count and way[0] is one and way[-1] is two
    both = one.known & two.known
    steps = torch.stack([code.values for code in way]).diff(dim=0)[:, both]
    assert torch.allclose(steps, steps[:1].expand_as(steps), atol=1e-5)


def test_short_travels() -> None:
    start = smile()
    assert travel(start, neutral(), 1) == [start]
    with pytest.raises(InputError, match="a travel of 0 steps"):
        travel(start, neutral(), 0)


@given(code=expressions())
@settings(max_examples=30, deadline=None)
def test_mirror_twice_is_the_same(code: Expression) -> None:
    back = mirror(mirror(code))
    assert torch.equal(back.values, code.values) and torch.equal(back.known, code.known)


def test_mirror_exchanges_sides() -> None:
    values = {"mouthSmileLeft": 1.0, "jawOpen": 0.5, "jawLeft": 0.3, "eyeLookOutLeft": 0.2}
    named = {n: v for n, v in mirror(from_values(values)).named().items() if v}
    assert named == pytest.approx(
        {"mouthSmileRight": 1.0, "jawOpen": 0.5, "jawRight": 0.3, "eyeLookOutRight": 0.2}
    )


@given(one=expressions(), two=expressions(), amount=st.floats(-2, 2))
@settings(max_examples=30, deadline=None)
def test_adding_and_subtracting_undo_each_other(
    one: Expression, two: Expression, amount: float
) -> None:
    back = add(add(one, two, amount), two, -amount)
    assert torch.allclose(back.values, one.values, atol=1e-5)
    assert torch.equal(back.known, one.known | two.known)


def test_a_difference_may_be_negative_and_a_face_not() -> None:
    difference = add(neutral(), smile(0.5), -1.0)
    assert difference.named()["mouthSmileLeft"] == -0.5
    assert difference.face().min() == 0
    assert torch.equal(clamp(difference).values, torch.zeros(COUNT))
    with pytest.raises(InputError, match="the amount is nan"):
        add(smile(), smile(), float("nan"))


@given(one=expressions(), two=expressions())
@settings(max_examples=30, deadline=None)
def test_clamp_gives_what_a_face_can_do(one: Expression, two: Expression) -> None:
    code = clamp(add(one, two))
    assert float(code.values.min()) >= 0 and float(code.values.max()) <= 1
    for name in ("jaw", "mouth"):
        sides = code.values[[ARKIT_INDEX[f"{name}Left"], ARKIT_INDEX[f"{name}Right"]]]
        assert float(sides.min()) == 0
    assert torch.equal(clamp(code).values, code.values)


def test_medoid_is_in_the_middle() -> None:
    assert medoid([smile(0.0), smile(0.4), smile(1.0)]) == 1
    with pytest.raises(InputError, match="there are no expressions"):
        medoid([])
