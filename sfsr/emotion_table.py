"""The 135 emotion words, their hierarchy and their action units, from ``emotions.csv``.

The words and their hierarchy are those of Shaver, Schwartz, Kirson and O'Connor (J. Pers. Soc.
Psychol. 52, 1987, 1061-1086, Fig. 1), as reproduced by Parrott (2001). **The action units are this
pack's own priors**: words with the basis ``prototype`` start from the units that FACS tables give
for the basic emotions (Ekman and Friesen), with our own intensities; the others were drafted by us
with compound emotions in mind (Du, Tao and Martinez, PNAS 111, 2014, E1454). Most words have no
typical face, so a code is a starting point and not a measurement.

``synonyms.csv`` leads from everyday words and phrases ("smile", "angry", "fed up") to the closest
of the 135. That choice is this pack's own, too.

Imports nothing heavy, because ComfyUI lists the words at its start.
"""

from __future__ import annotations

import csv
import difflib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..errors import InputError

TABLE = Path(__file__).parent / "emotions.csv"
SYNONYMS = Path(__file__).parent / "synonyms.csv"
PRIMARIES = ("love", "joy", "surprise", "anger", "sadness", "fear")


@dataclass(frozen=True)
class EmotionWord:
    """One of the 135 words.

    word: The word, the only unique key: it may equal the name of its primary or cluster.
    primary: One of :data:`PRIMARIES`.
    secondary: One of 25 clusters.
    units: Action units in the notation of ``action_units``.
    basis: ``authors``, or the published prototype that the units start from.
    """

    word: str
    primary: str
    secondary: str
    units: str
    basis: str


@cache
def emotion_words() -> dict[str, EmotionWord]:
    """The table by word, in the order of the hierarchy."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        return {row["word"]: EmotionWord(**row) for row in csv.DictReader(file)}


@cache
def synonyms() -> dict[str, str]:
    """Everyday word or phrase -> the closest of the 135 words."""
    with SYNONYMS.open(encoding="utf-8", newline="") as file:
        return {row["synonym"]: row["word"] for row in csv.DictReader(file)}


def find_word(word: str) -> EmotionWord:
    """Look up one of the words or synonyms, ignoring case.

    Raises:
        InputError: The word is unknown; the message names the closest ones.
    """
    name = word.strip().lower()
    found = emotion_words().get(synonyms().get(name, name))
    if found is None:
        raise InputError(
            f"{word!r} is not one of the {len(emotion_words())} words",
            fix=f"The closest are {', '.join(nearest_words(word))}",
        )
    return found


def nearest_words(word: str, count: int = 3) -> list[str]:
    """The words with the most similar spelling, or with such a synonym, closest first."""
    known = {**dict(zip(emotion_words(), emotion_words(), strict=True)), **synonyms()}
    # Several synonyms may lead to one word.
    closest = difflib.get_close_matches(word.strip().lower(), known, 10 * count, cutoff=0.0)
    return list(dict.fromkeys(known[name] for name in closest))[:count]
