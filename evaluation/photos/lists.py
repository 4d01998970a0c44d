"""Prompts and words of an evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from ...errors import InputError
from ...readers.files import read_text
from ...sfsr.emotion_table import find_word
from ...sfsr.expression import Expression
from ...sfsr.words import expression_of_word
from .problems import Problems

PROMPTS = (
    "a photo of a person",
    "a portrait photo of a person in a park, daylight",
    "a photo of a person at a desk in an office",
)
WORDS = ("joy", "sadness", "anger", "fear", "surprise", "disgust")


def entries(given: Sequence[str], file: Path | None, problems: Problems) -> list[str]:
    """What is given, then the lines of a text file; each once, without empty ones.

    Collects:
        InputError: The file cannot be read or holds no line.
    """
    lines: list[str] = []
    with problems.collect():
        if file is not None:
            lines = _lines(file)
    return list(dict.fromkeys(line.strip() for line in (*given, *lines) if line.strip()))


def expressions_by_word(
    words: Iterable[str], intensity: float, seed: int, problems: Problems
) -> dict[str, Expression]:
    """The expression of each word, by its spelling in the table.

    Collects:
        InputError: An unknown word, or an intensity out of range.
    """
    found: dict[str, Expression] = {}
    for word in words:
        with problems.collect():
            known = find_word(word).word
            found[known] = expression_of_word(known, intensity, seed)
    return found


def _lines(file: Path) -> list[str]:
    try:
        lines = read_text(file).splitlines()
    except (OSError, ValueError) as error:
        raise InputError(
            "the list cannot be read", where=str(file), fix="Give a UTF-8 text file"
        ) from error
    if not any(line.strip() for line in lines):
        raise InputError("the list is empty", where=str(file), fix="Write one entry on each line")
    return lines
