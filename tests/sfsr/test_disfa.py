"""Twelve action units: of words, of blendshapes, of expressions; blends and ways; FineFace."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from comfyui_dense_face.errors import FacePackError
from comfyui_dense_face.faces.blendshapes import ARKIT_INDEX, ARKIT_NAMES
from comfyui_dense_face.sfsr.algebra import add, blend, mirror, travel
from comfyui_dense_face.sfsr.disfa import (
    AU_INDEX,
    AU_ORDER,
    STRONGEST,
    UnitIntensities,
    blend_intensities,
    lost_sentence,
    unit_intensities,
)
from comfyui_dense_face.sfsr.disfa_sources import (
    intensities_of,
    intensities_of_blendshapes,
    intensities_of_units,
    intensities_of_word,
    lost_units,
    word_table,
)
from comfyui_dense_face.sfsr.emotion_table import emotion_words
from comfyui_dense_face.sfsr.expression import from_values, neutral
from comfyui_dense_face.sfsr.words import expression_of_word
from published_bench import fineface, goldens
from torch import Tensor

# ---- words ------------------------------------------------------------------------------------


def test_all_words() -> None:
    table = word_table()
    assert list(table) == list(emotion_words()) and len(table) == 135
    codes = torch.stack([found.values for found in table.values()])
    assert bool(((codes >= 0) & (codes <= 5)).all() and (codes == codes.round()).all())
    assert bool((codes.amax(1) > 0).all())
    assert len({tuple(code) for code in codes.tolist()}) >= 125
    again = word_table()
    assert all(torch.equal(found.values, again[word].values) for word, found in table.items())
    assert all(found.lost == again[word].lost for word, found in table.items())


def test_what_words_lose() -> None:
    """As docs/reference/published_weights.md D7 counted it."""
    lost = Counter(unit for word in emotion_words() for unit in lost_units(word))
    counted = {7: 33, 43: 21, 24: 19, 14: 19, 64: 18, 10: 15}
    assert {unit: lost[unit] for unit in counted} == counted
    assert not set(lost) & set(AU_ORDER)
    assert lost_units("terror") == (27,) and lost_units("rage") == (7, 10, 23, 27)


def test_a_word_by_its_letters() -> None:
    assert emotion_words()["terror"].units == "1E 2D 4D 5E 20E 25D 27C"
    found = intensities_of_word("Terror")
    assert found.named() == {"AU1": 5, "AU2": 4, "AU4": 4, "AU5": 5, "AU20": 5, "AU25": 4}
    assert found.summary().endswith("AU25 4; AU27 is lost")
    half = intensities_of_word("terror", 0.5)
    torch.testing.assert_close(half.values, found.values / 2)
    assert float(intensities_of_word("terror", 1.5).values.max()) == STRONGEST
    assert not intensities_of_word("terror", 0).named()


def test_sides_are_merged_and_the_stronger_counts() -> None:
    found = intensities_of_units("L12D R12B U14A U15C 6A")
    assert found.named() == {"AU6": 1, "AU12": 4, "AU15": 3} and found.lost == (14,)


@pytest.mark.parametrize(
    ("lost", "says"),
    [
        ((), ""),
        ((7,), "AU7 is lost"),
        ((7, 24), "AU7 and AU24 are lost"),
        ((7, 10, 24), "AU7, AU10 and AU24 are lost"),
    ],
)
def test_what_is_lost_as_a_sentence(lost: tuple[int, ...], says: str) -> None:
    assert lost_sentence(lost) == says


# ---- blendshapes ------------------------------------------------------------------------------


def shapes(**values: float) -> Tensor:
    """Blendshapes by name; ``Both`` stands for left and right."""
    found = torch.zeros(len(ARKIT_NAMES))
    for name, value in values.items():
        sides = ("Left", "Right") if name.endswith("Both") else ("",)
        for side in sides:
            found[ARKIT_INDEX[name.removesuffix("Both") + side]] = value
    return found


@pytest.mark.parametrize(
    ("values", "units"),
    [
        ({}, {}),
        ({"browInnerUp": 0.4}, {1: 2.0}),
        ({"browOuterUpBoth": 1.0}, {2: 5.0}),
        ({"browOuterUpLeft": 1.0}, {2: 2.5}),
        ({"browDownBoth": 0.2}, {4: 1.0}),
        ({"eyeWideBoth": 0.6}, {5: 3.0}),
        ({"cheekSquintBoth": 0.5}, {6: 2.5}),
        ({"eyeSquintBoth": 0.8}, {}),
        ({"eyeSquintBoth": 0.8, "mouthSmileBoth": 0.5}, {6: 2.5, 12: 2.5}),
        ({"noseSneerBoth": 0.6}, {9: 3.0}),
        ({"mouthFrownBoth": 0.4}, {15: 2.0}),
        ({"mouthShrugLower": 0.4}, {17: 2.0}),
        ({"mouthStretchBoth": 0.4}, {20: 2.0}),
        ({"mouthLowerDownBoth": 0.4, "mouthUpperUpBoth": 0.2}, {25: 2.0}),
        ({"mouthUpperUpBoth": 0.6}, {25: 3.0}),
        ({"jawOpen": 0.04}, {26: 0.4}),
        ({"jawOpen": 0.2}, {25: 1.0, 26: 2.0}),
        ({"jawOpen": 0.9}, {25: 4.5, 26: 5.0}),
        ({"jawOpen": 1.7, "mouthSmileBoth": -1.0}, {25: 5.0, 26: 5.0}),
    ],
)
def test_units_of_blendshapes(values: dict[str, float], units: dict[int, float]) -> None:
    found = intensities_of_blendshapes(shapes(**values))
    torch.testing.assert_close(found.values, unit_intensities(units).values)
    assert found.lost == ()


def test_an_expression_carries_a_words_units() -> None:
    word = intensities_of_word("terror")
    plain = expression_of_word("terror")
    assert torch.equal(intensities_of(plain).values, word.values)
    assert intensities_of(plain).lost == (27,)
    seen = intensities_of_blendshapes(plain.face())
    assert not torch.equal(seen.values, word.values)
    half = intensities_of(blend([plain, neutral()], [1, 1]))
    torch.testing.assert_close(half.values, word.values / 2)
    assert torch.equal(intensities_of(mirror(plain)).values, word.values)
    assert not intensities_of(add(plain, plain, -1)).named()
    middle = intensities_of(travel(plain, neutral(), 3)[1])
    torch.testing.assert_close(middle.values, word.values / 2)
    smile = from_values({"mouthSmileLeft": 1.0, "mouthSmileRight": 1.0})
    assert intensities_of(smile).named() == {"AU12": 5}


# ---- blends and ways --------------------------------------------------------------------------


def test_blends_are_straight() -> None:
    start, end = intensities_of_word("terror"), intensities_of_word("bliss")
    two = blend_intensities([start, end], [3, 1])
    torch.testing.assert_close(two.values, 0.75 * start.values + 0.25 * end.values)
    assert two.lost == (27, 43)
    assert blend_intensities([start, end], [0, 2]).lost == end.lost


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: intensities_of_word("terrror"), "The closest are terror"),
        (lambda: intensities_of_word("terror", 1.6), r"intensity is 1\.6"),
        (lambda: intensities_of_word("terror", float("nan")), "intensity is nan"),
        (lambda: intensities_of_units("12F"), "'12F' is not an action unit"),
        (lambda: unit_intensities({7: 1.0}), "AU7 is none of the twelve units"),
        (lambda: unit_intensities({12: 5.5}), r"from 0 to 5\.5"),
        (lambda: unit_intensities({12: float("nan")}), "nan"),
        (lambda: UnitIntensities(torch.zeros(11), "x"), r"\[11\] numbers instead of 12"),
        (lambda: intensities_of_blendshapes(torch.zeros(52)), r"\[52\] blendshapes"),
        (lambda: intensities_of_blendshapes(torch.full((51,), float("nan"))), "cannot be used"),
        (lambda: blend_intensities([], []), "0 expressions"),
        (lambda: blend_intensities([unit_intensities({})], [0]), "blended by the weights 0"),
        (lambda: blend_intensities([unit_intensities({})], [1, 1]), "1 expressions"),
    ],
)
def test_wrong_inputs(make: object, says: str) -> None:
    assert callable(make)
    with pytest.raises(FacePackError, match=says):
        make()


# ---- FineFace ---------------------------------------------------------------------------------


def test_the_order_is_the_references() -> None:
    given = goldens("fineface")["in.au"]
    smile = unit_intensities({1: 2.5, 6: 2.5, 12: 5})
    assert torch.equal(given[0], smile.values)
    assert tuple(sorted(AU_INDEX)) == AU_ORDER and len(AU_ORDER) == 12


def test_constants_are_affine_in_the_units() -> None:
    adapter = fineface()
    faces = [intensities_of_word(word) for word in ("terror", "bliss")]
    units = adapter.intensities(faces)
    one = adapter.vectors(units)
    between = adapter.vectors(units.mean(0, keepdim=True))
    for layer, width in adapter.layers.items():
        assert one[layer].shape == (2, width)
        torch.testing.assert_close(between[layer], one[layer].mean(0, keepdim=True))
        assert bool((adapter.absent()[layer] != 0).any())
    assert adapter.hint is None and adapter.width == 128


@pytest.mark.parametrize(
    ("units", "says"),
    [
        (torch.zeros(12), r"shape \[12\]"),
        (torch.zeros(1, 11), "Give 12 for each face"),
        (torch.full((1, 12), 5.1), "outside 0 to 5"),
        (torch.full((1, 12), float("nan")), "outside 0 to 5"),
    ],
)
def test_units_that_do_not_fit(units: Tensor, says: str) -> None:
    with pytest.raises(FacePackError, match=says):
        fineface().vectors(units)
    with pytest.raises(FacePackError, match="there is no expression"):
        fineface().intensities([])
