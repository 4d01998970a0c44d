"""Twelve action units of a word, of blendshapes (photo, sliders), of an ``Expression``.

Source: docs/reference/published_weights.md D7. Words: the letters A to E of ``emotions.csv`` are
DISFA's levels 1 to 5. Blendshapes: rules of our own after the units' names; the publication labels
photos by a network.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import InputError
from ..faces.blendshapes import ARKIT_INDEX
from .action_units import INTENSITIES, MAX_INTENSITY, parse_units
from .disfa import AU_INDEX, AU_ORDER, STRONGEST, UnitIntensities, unit_intensities
from .emotion_table import emotion_words, find_word
from .expression import Expression

_LEVELS = {amount: float(i + 1) for i, amount in enumerate(INTENSITIES.values())}
_JAW_MOVES = 0.05
"""Below it an opened jaw parts no lips."""
_JAW_DROP = 0.5
"""Opening of the jaw at AU26's full intensity, as in ``action_units.UNITS``."""


def intensities_of_word(word: str, intensity: float = 1.0) -> UnitIntensities:
    """The twelve units of one of the 135 words; the same every time, on every machine.

    Sides are merged: a unit of one side moves both, the stronger side counts.

    Args:
        intensity: 0 (at rest) to 1.5; at 1 the letters as the table has them. Nothing exceeds 5.

    Raises:
        InputError: An unknown word, or an intensity out of range.
    """
    emotion = find_word(word)
    if not 0 <= intensity <= MAX_INTENSITY:
        raise InputError(
            f"the intensity is {intensity:g}", fix=f"Give a number from 0 to {MAX_INTENSITY:g}"
        )
    found = intensities_of_units(emotion.units)
    values = (found.values * intensity).clamp(max=STRONGEST)
    return UnitIntensities(values, f"word {emotion.word}, intensity {intensity:g}", found.lost)


def intensities_of_units(text: str) -> UnitIntensities:
    """The same of units as they are written in the table: ``6D 12E U14A``.

    Raises:
        InputError: Something in it is no unit.
    """
    levels: dict[int, float] = {}
    for move in parse_units(text):
        levels[move.unit] = max(levels.get(move.unit, 0.0), _LEVELS[move.amount])
    kept = {unit: level for unit, level in levels.items() if unit in AU_INDEX}
    return unit_intensities(kept, text, [unit for unit in levels if unit not in AU_INDEX])


def lost_units(word: str) -> tuple[int, ...]:
    """The units of a word that the twelve cannot say, ascending.

    Raises:
        InputError: An unknown word.
    """
    return intensities_of_word(word).lost


def word_table() -> dict[str, UnitIntensities]:
    """All 135 words in the table's order, for documentation."""
    return {word: intensities_of_word(word) for word in emotion_words()}


def intensities_of_blendshapes(values: Tensor, source: str = "blendshapes") -> UnitIntensities:
    """The twelve units of ARKit's blendshapes [51], cut to 0..1; both sides' mean, times 5.

    AU6 is seldom reported as ``cheekSquint``: an eye that narrows while the mouth smiles counts.

    Raises:
        InputError: Another number of values, or values that are not numbers.
    """
    if values.shape != (len(ARKIT_INDEX),) or not bool(values.isfinite().all()):
        raise InputError(
            f"{list(values.shape)} blendshapes that cannot be used",
            where=source,
            fix=f"Give {len(ARKIT_INDEX)} numbers",
        )
    face = values.detach().to("cpu", torch.float32).clamp(0, 1)

    def one(name: str) -> float:
        return float(face[ARKIT_INDEX[name]])

    def both(name: str) -> float:
        return (one(f"{name}Left") + one(f"{name}Right")) / 2

    jaw, smile = one("jawOpen"), both("mouthSmile")
    fractions = {
        1: one("browInnerUp"),
        2: both("browOuterUp"),
        4: both("browDown"),
        5: both("eyeWide"),
        6: max(both("cheekSquint"), min(both("eyeSquint"), smile)),
        9: both("noseSneer"),
        12: smile,
        15: both("mouthFrown"),
        17: one("mouthShrugLower"),
        20: both("mouthStretch"),
        25: max(both("mouthLowerDown"), both("mouthUpperUp"), jaw if jaw > _JAW_MOVES else 0.0),
        26: jaw / _JAW_DROP,
    }
    return unit_intensities({u: STRONGEST * min(1.0, fractions[u]) for u in AU_ORDER}, source)


def intensities_of(expression: Expression) -> UnitIntensities:
    """The twelve units of an expression: those that it carries, else those of its blendshapes.

    Blendshapes that are not known count as at rest.

    Raises:
        IncompatibleError: It has neither, but numbers of a network alone (a FLAME expression).
    """
    if expression.units is not None:
        return expression.units
    expression.require_blendshapes()
    return intensities_of_blendshapes(expression.face(), expression.source)
