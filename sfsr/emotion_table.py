"""The 135 words, their tree and their action units, as they stand in ``emotions.csv``.

The words and their tree are those of Shaver, Schwartz, Kirson and O'Connor (J. Pers. Soc. Psychol.
52, 1987, 1061-1086, Fig. 1), as reproduced by Parrott (2001). **The action units are the authors'
own priors**: the words with the basis ``prototype`` start from the units that FACS tables print for
the basic emotions (Ekman and Friesen), with intensities of our own; all others are drafted by us,
mixtures like those of Du, Tao and Martinez (PNAS 111, 2014, E1454) in mind. Most of the words have
no face of their own: a code is a place to start from, not a measurement.

Imports nothing heavy: the host lists the words at its start.
"""

from __future__ import annotations

import csv
import difflib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..errors import InputError

TABLE = Path(__file__).parent / "emotions.csv"
PRIMARIES = ("love", "joy", "surprise", "anger", "sadness", "fear")


@dataclass(frozen=True)
class EmotionWord:
    """One of the 135 words.

    primary: One of :data:`PRIMARIES`; secondary: its cluster of 25. A word can bear the name of
        either: only the word is a key.
    units: Its action units, written as in ``action_units``.
    basis: ``authors``, or the published prototype that the units start from.
    """

    word: str
    primary: str
    secondary: str
    units: str
    basis: str


@cache
def emotion_words() -> dict[str, EmotionWord]:
    """The table by word, in the order of its tree."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        return {row["word"]: EmotionWord(**row) for row in csv.DictReader(file)}


def find_word(word: str) -> EmotionWord:
    """The word, in whatever case.

    Raises:
        InputError: There is no such word; the sentence names the nearest ones.
    """
    found = emotion_words().get(word.strip().lower())
    if found is None:
        raise InputError(
            f"{word!r} is none of the {len(emotion_words())} words",
            fix=f"The nearest are {', '.join(nearest_words(word))}",
        )
    return found


def nearest_words(word: str, count: int = 3) -> list[str]:
    """The words that are spelled most alike, nearest first."""
    return difflib.get_close_matches(word.strip().lower(), emotion_words(), count, cutoff=0.0)
