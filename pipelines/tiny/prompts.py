"""Prompts of the tiny world, with and without the ``*`` for a person."""

from __future__ import annotations

from ...demo.vocabulary import CONTEXT_LENGTH, WORD_INDEX, words_of
from ...dense_face.prompt import PLACEHOLDER, spaced_prompt
from ...errors import InputError

FACE = f"a close-up photo of {PLACEHOLDER}"
SCENE = "a close-up photo of a person"
MOST_WORDS = CONTEXT_LENGTH - 2


def face_prompt(text: str) -> str:
    """The prompt with a ``*`` for the person.

    Without one, the text describes an image of the person: "smiling, in a forest" becomes
    "a close-up photo of *, smiling, in a forest". An empty text gives "a close-up photo of *".

    Raises:
        InputError: The ``*`` touches another word, or lies beyond the token limit.
    """
    if PLACEHOLDER not in text:
        return f"{FACE}, {text.strip()}" if text.strip() else FACE
    spaced = spaced_prompt(text)
    if PLACEHOLDER not in words_of(spaced)[:MOST_WORDS]:
        raise InputError(
            f"the * comes after the first {MOST_WORDS} words, which are all that is read",
            fix="Shorten the prompt or move the * forward",
        )
    return spaced


def scene_prompt(text: str) -> str:
    """The prompt with "a person" in place of the ``*``; :data:`SCENE` if empty."""
    return text.replace(PLACEHOLDER, " a person ").strip() or SCENE


def faceless_prompt(text: str) -> str:
    """The prompt for SFSR, whose identity and expression come from tokens; may be empty.

    It describes clothes and place, not the person or the expression.
    """
    return text.replace(PLACEHOLDER, " a person ").strip()


def unread_words(text: str) -> list[str]:
    """Words outside the tiny world's vocabulary or beyond its token limit."""
    words = words_of(text)
    unknown = [word for word in words[:MOST_WORDS] if word not in WORD_INDEX]
    return unknown + words[MOST_WORDS:]
