"""Prompts with and without the person in them."""

from __future__ import annotations

import pytest
from comfyui_dense_face.pipelines.tiny.prompts import face_prompt, scene_prompt, unread_words


@pytest.mark.parametrize(
    ("text", "face", "scene"),
    [
        ("", "a close-up photo of *", "a close-up photo of a person"),
        ("  ", "a close-up photo of *", "a close-up photo of a person"),
        ("smiling", "a close-up photo of *, smiling", "smiling"),
        ("a photo of *, sad", "a photo of * , sad", "a photo of  a person , sad"),
    ],
)
def test_the_person_in_words(text: str, face: str, scene: str) -> None:
    assert face_prompt(text) == face
    assert scene_prompt(text) == scene


def test_unknown_words_are_refused() -> None:
    assert unread_words("a person, smiling, in a Spaceship") == ["spaceship"]
    assert unread_words("red " * 46 + "blue") == ["blue"]
