"""135 words for emotions, and the expression of each.

The words and their tree are those of Shaver, Schwartz, Kirson and O'Connor, J. Pers. Soc. Psychol.
52 (1987) 1061-1086, Fig. 1, as reproduced by Parrott (2001). ``emotions.csv`` gives each word its
action units. **Those are the authors' own priors**: the words with the basis ``prototype`` start
from the units that FACS tables print for the basic emotions (Ekman and Friesen), with intensities
of our own; all others are drafted by us, mixtures like those of Du, Tao and Martinez (PNAS 111,
2014, E1454) in mind. Most of the words have no face of their own: a code is a place to start from,
not a measurement. A picture of yours (``exemplars``) takes its place where you have one.
"""

from __future__ import annotations

import csv
import difflib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from ..errors import InputError
from ..faces.blendshapes import ARKIT_NAMES, mirrored_name
from .action_units import UnitMove, blendshapes_of, parse_units
from .expression import Expression

TABLE = Path(__file__).parent / "emotions.csv"
PRIMARIES = ("love", "joy", "surprise", "anger", "sadness", "fear")
STRONGEST = 1.5
VARIATION = 0.15


@dataclass(frozen=True)
class EmotionWord:
    """One of the 135 words.

    primary: One of :data:`PRIMARIES`; secondary: its cluster of 25. A word can bear the name of
        either: only the word is a key.
    units: Its action units; basis: ``authors``, or the published prototype they start from.
    """

    word: str
    primary: str
    secondary: str
    units: tuple[UnitMove, ...]
    basis: str


@cache
def emotion_words() -> dict[str, EmotionWord]:
    """The table by word, in the order of its tree."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        return {
            row["word"]: EmotionWord(
                row["word"],
                row["primary"],
                row["secondary"],
                parse_units(row["units"]),
                row["basis"],
            )
            for row in csv.DictReader(file)
        }


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


def expression_of_word(
    word: str, intensity: float = 1.0, seed: int = 0, variation: float = VARIATION
) -> Expression:
    """The expression of a word, in 0..1; the same arguments give the same numbers everywhere.

    Args:
        intensity: 0 (at rest) to 1.5; at 1 the units as the table has them. Nothing goes beyond 1.
        seed: Chooses the sides: to which side the face is crooked, where it smirks or looks. The
            same for all words, as a person's better side is.
        variation: Share by which one side moves less than the other, at most; 0 to 1.

    Raises:
        InputError: An unknown word, or an intensity or a variation out of range.
    """
    emotion = find_word(word)
    _within("intensity", intensity, STRONGEST)
    _within("variation", variation, 1.0)
    generator = torch.Generator().manual_seed(seed)
    left = bool(torch.rand(1, generator=generator) < 0.5)
    lag = variation * torch.rand(1, generator=generator)
    values = blendshapes_of(emotion.units, intensity, left)
    weaker = _side("Right" if left else "Left")
    return Expression(
        torch.where(weaker, values * (1 - lag), values),
        f"word {emotion.word}, intensity {intensity:g}, seed {seed}",
    )


def _side(side: str) -> torch.Tensor:
    """[51] bool: paired movements of one side; the gaze stays parallel."""
    return torch.tensor(
        [
            name.endswith(side) and "Look" not in name and mirrored_name(name) != name
            for name in ARKIT_NAMES
        ]
    )


def _within(name: str, value: float, most: float) -> None:
    if not 0 <= value <= most:
        raise InputError(f"the {name} is {value:g}", fix=f"Give a number from 0 to {most:g}")
