"""The 135 words: their tree, their codes, and errors for unknown ones."""

from __future__ import annotations

import csv
from itertools import combinations, pairwise

import pytest
import torch
from comfyui_dense_face.errors import InputError
from comfyui_dense_face.faces.blendshapes import ARKIT_INDEX, ARKIT_NAMES
from comfyui_dense_face.sfsr.action_units import UNITS, blendshapes_of, parse_units
from comfyui_dense_face.sfsr.emotion_table import (
    PRIMARIES,
    TABLE,
    emotion_words,
    find_word,
    nearest_words,
    synonyms,
)
from comfyui_dense_face.sfsr.words import expression_of_word
from hypothesis import given, settings
from hypothesis import strategies as st

WORDS = sorted(emotion_words())
words = st.sampled_from(WORDS)
seeds = st.integers(0, 2**64 - 1)
intensities = st.floats(0, 1.5)


def test_tree_of_shaver_and_others() -> None:
    """135 words as keys, 25 clusters, so many in each of the six primaries."""
    table = emotion_words()
    assert len(table) == 135
    with TABLE.open(encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == 135  # no word twice
    counts = {p: sum(e.primary == p for e in table.values()) for p in PRIMARIES}
    assert counts == {
        "love": 16, "joy": 33, "surprise": 3, "anger": 29, "sadness": 37, "fear": 17,
    }  # fmt: skip
    clusters = {(e.primary, e.secondary) for e in table.values()}
    assert len(clusters) == 25 and ("anger", "disgust") in clusters
    assert all(word == word.strip().lower() and word.isalpha() for word in table)


def test_every_word_names_its_source() -> None:
    bases = {e.word: e.basis for e in emotion_words().values()}
    own = [word for word, basis in bases.items() if basis == "authors"]
    assert len(own) == 127
    for word, basis in bases.items():
        if word not in own:
            stated = {int(unit) for unit in basis.split()[1].split("+")}
            assert basis.startswith("prototype ")
            assert stated <= {move.unit for move in parse_units(emotion_words()[word].units)}, word


def test_every_word_has_a_code_of_its_own() -> None:
    codes = {word: expression_of_word(word, seed=3).face() for word in WORDS}
    for one, two in combinations(WORDS, 2):
        assert (codes[one] - codes[two]).abs().max() > 0.02, (one, two)


def test_codes_use_what_faces_here_can_do() -> None:
    """Every unit in the table is known, and every blendshape that units name exists."""
    used = {move.unit for e in emotion_words().values() for move in parse_units(e.units)}
    assert used <= set(UNITS)
    for unit in UNITS:
        moved = blendshapes_of(parse_units(f"{unit}E"))
        assert 0 < moved.max() <= 1
    codes = [expression_of_word(word, seed=seed).values for word in WORDS for seed in range(6)]
    total = torch.stack(codes).amax(0)
    never = {ARKIT_NAMES[i] for i in range(len(ARKIT_NAMES)) if total[i] == 0}
    # No emotion here moves the jaw sideways or forwards, or purses the lips.
    assert never == {
        "jawForward", "jawLeft", "jawRight", "mouthClose", "mouthLeft", "mouthRight", "mouthPucker",
    }  # fmt: skip


@given(word=words, intensity=intensities, seed=seeds, variation=st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_codes_are_in_range_and_the_same_every_time(
    word: str, intensity: float, seed: int, variation: float
) -> None:
    code = expression_of_word(word, intensity, seed, variation)
    again = expression_of_word(word.upper() + " ", intensity, seed, variation)
    assert torch.equal(code.values, again.values) and bool(code.known.all())
    assert float(code.values.min()) >= 0 and float(code.values.max()) <= 1
    if intensity > 0.1 and variation < 0.9:
        assert float(code.values.max()) > 0.01


@given(word=words, seed=seeds)
@settings(max_examples=20, deadline=None)
def test_intensity_makes_it_stronger(word: str, seed: int) -> None:
    codes = [expression_of_word(word, i, seed).values for i in (0.0, 0.5, 1.0, 1.5)]
    assert not codes[0].any()
    for weak, strong in pairwise(codes):
        assert bool((strong >= weak).all()) and strong.sum() > weak.sum()


def test_golden_numbers() -> None:
    """A code written down: graphs of last year make the same face."""
    named = {n: v for n, v in expression_of_word("joy", variation=0).named().items() if v}
    assert named == pytest.approx({
        "cheekSquintLeft": 0.5, "cheekSquintRight": 0.5, "eyeSquintLeft": 0.2,
        "eyeSquintRight": 0.2, "jawOpen": 0.05, "mouthLowerDownLeft": 0.15,
        "mouthLowerDownRight": 0.15, "mouthSmileLeft": 0.75, "mouthSmileRight": 0.75,
        "mouthUpperUpLeft": 0.1, "mouthUpperUpRight": 0.1,
    })  # fmt: skip


def test_seed_chooses_the_sides() -> None:
    sides = set()
    for seed in range(12):
        code = expression_of_word("contempt", seed=seed).named()
        left, right = code["mouthSmileLeft"], code["mouthSmileRight"]
        assert min(left, right) == 0 < max(left, right)
        smile = expression_of_word("joy", seed=seed).named()
        larger = "left" if smile["mouthSmileLeft"] > smile["mouthSmileRight"] else "right"
        assert (left > right) == (larger == "left")  # the same side in every word
        sides.add(larger)
    assert sides == {"left", "right"}
    even = expression_of_word("joy", seed=5, variation=0).named()
    assert even["mouthSmileLeft"] == even["mouthSmileRight"]


def test_gaze_turns_both_eyes() -> None:
    for seed in range(8):
        code = expression_of_word("alienation", seed=seed).named()
        left = code["eyeLookOutLeft"], code["eyeLookInRight"]
        right = code["eyeLookInLeft"], code["eyeLookOutRight"]
        assert sorted([left, right]) == [(0, 0), pytest.approx((0.5, 0.5))]


def test_seed_does_not_touch_the_global_generator() -> None:
    state = torch.random.get_rng_state()
    expression_of_word("joy", seed=9)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_synonyms_lead_to_the_words() -> None:
    words = emotion_words()
    assert len(synonyms()) >= 400
    assert set(synonyms().values()) == set(words), "every word can be found by an everyday one"
    assert not set(synonyms()) & set(words)
    assert all(synonym == synonym.strip().lower() for synonym in synonyms())


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("smile", "joy"), ("Happy", "happiness"), (" angry ", "anger"), ("fed up", "exasperation")],
)
def test_everyday_words(typed: str, meant: str) -> None:
    assert find_word(typed).word == meant
    code = expression_of_word(typed)
    assert torch.equal(code.values, expression_of_word(meant).values)
    assert meant in code.source


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("hapiness", "happiness"), ("Raptous", "rapture"), ("smyle", "joy"), ("", "")],
)
def test_unknown_words_name_the_nearest(typed: str, meant: str) -> None:
    with pytest.raises(InputError, match="is not one of the 135 words") as message:
        find_word(typed)
    assert len(nearest_words(typed)) == 3
    assert meant in str(message.value).split("closest are")[1]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"intensity": 1.6}, r"the intensity is 1.6. Give a number from 0 to 1.5"),
        ({"intensity": -0.1}, "the intensity is -0.1"),
        ({"intensity": float("nan")}, "the intensity is nan"),
        ({"variation": 2.0}, "the variation is 2"),
    ],
)
def test_numbers_out_of_range(arguments: dict[str, float], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        expression_of_word("joy", **arguments)


@pytest.mark.parametrize("text", ["12", "12F", "X12A", "99A", "12 A"])
def test_what_is_no_unit(text: str) -> None:
    with pytest.raises(InputError, match="is not an action unit"):
        parse_units(text)


def test_sides_of_units() -> None:
    left, right = blendshapes_of(parse_units("L12D")), blendshapes_of(parse_units("R12D"))
    assert left[ARKIT_INDEX["mouthSmileLeft"]] == 0.75 and left.sum() == 0.75
    assert right[ARKIT_INDEX["mouthSmileRight"]] == 0.75 and right.sum() == 0.75
    away = blendshapes_of(parse_units("R61E"))
    assert away[ARKIT_INDEX["eyeLookOutRight"]] == away[ARKIT_INDEX["eyeLookInLeft"]] == 1
