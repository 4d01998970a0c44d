"""The placeholder of the person in a prompt."""

from __future__ import annotations

import pytest
from comfyui_dense_face.dense_face.prompt import spaced_prompt
from comfyui_dense_face.errors import InputError


@pytest.mark.parametrize(
    ("text", "spaced"),
    [
        ("a portrait of *", "a portrait of *"),
        ("A close-up photo of * .", "A close-up photo of * ."),
        ("a photo of *, smiling", "a photo of * , smiling"),
        ("*. A portrait", "* . A portrait"),
        ("a photo of (*:1.2) smiling", "a photo of ( * :1.2) smiling"),
        ("* beside *", "* beside *"),
    ],
)
def test_placeholder_is_set_apart(text: str, spaced: str) -> None:
    assert spaced_prompt(text) == spaced


@pytest.mark.parametrize("text", ["a*b", "of *s", "2*", "**", "é*"])
def test_glued_placeholder_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"touches another word.*apart from other words"):
        spaced_prompt(text)


@pytest.mark.parametrize("text", ["", "a portrait"])
def test_missing_placeholder_is_named(text: str) -> None:
    with pytest.raises(InputError, match="no \\* for the person"):
        spaced_prompt(text)
