"""Prompts of the tiny world: with a person in them, or with anybody."""

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
    "a close-up photo of *, smiling, in a forest". An empty text leaves everything open.

    Raises:
        InputError: The ``*`` touches another word, or stands beyond the last word that is read.
    """
    if PLACEHOLDER not in text:
        return f"{FACE}, {text.strip()}" if text.strip() else FACE
    spaced = spaced_prompt(text)
    if PLACEHOLDER not in words_of(spaced)[:MOST_WORDS]:
        raise InputError(
            f"the * stands beyond the {MOST_WORDS} words that are read",
            fix="Shorten the prompt or write the * earlier",
        )
    return spaced


def scene_prompt(text: str) -> str:
    """The prompt with anybody in place of the ``*``; an empty one shows somebody."""
    return text.replace(PLACEHOLDER, " a person ").strip() or SCENE


def faceless_prompt(text: str) -> str:
    """The prompt beside an expression that is given by numbers; an empty one leaves all open.

    It may say what is worn and where it is, not who it is or what the face does.
    """
    return text.replace(PLACEHOLDER, " a person ").strip()


def unread_words(text: str) -> list[str]:
    """Words that the tiny world does not know, or that stand beyond the last one it reads."""
    words = words_of(text)
    unknown = [word for word in words[:MOST_WORDS] if word not in WORD_INDEX]
    return unknown + words[MOST_WORDS:]
