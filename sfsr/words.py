"""The expression of a word from its action units; ``exemplars`` takes it from images instead."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import InputError
from ..faces.blendshapes import ARKIT_NAMES, mirrored_name
from .action_units import MAX_INTENSITY, blendshapes_of, parse_units
from .disfa_sources import intensities_of_word
from .emotion_table import find_word
from .expression import Expression

VARIATION = 0.15


def expression_of_word(
    word: str, intensity: float = 1.0, seed: int = 0, variation: float = VARIATION
) -> Expression:
    """The expression of a word, in 0..1; deterministic in its arguments.

    Args:
        word: One of the 135 words.
        intensity: 0 (at rest) to 1.5, a factor on the units of the table; values are clamped to 1.
        seed: Chooses the stronger side, and the side of one-sided units. It is the same side for
            all words, as in a real person.
        variation: 0 to 1, the largest fraction by which the weaker side moves less.

    Raises:
        InputError: An unknown word, or an intensity or a variation out of range.
    """
    emotion = find_word(word)
    _within("intensity", intensity, MAX_INTENSITY)
    _within("variation", variation, 1.0)
    generator = torch.Generator().manual_seed(seed)
    left = bool(torch.rand(1, generator=generator) < 0.5)
    lag = variation * torch.rand(1, generator=generator)
    values = blendshapes_of(parse_units(emotion.units), intensity, left)
    weaker = _side("Right" if left else "Left")
    return Expression(
        torch.where(weaker, values * (1 - lag), values),
        f"word {emotion.word}, intensity {intensity:g}, seed {seed}",
        units=intensities_of_word(word, intensity),
    )


def _side(side: str) -> Tensor:
    """[51] bool: paired blendshapes of one side, without gaze, so that the eyes stay parallel."""
    return torch.tensor(
        [
            name.endswith(side) and "Look" not in name and mirrored_name(name) != name
            for name in ARKIT_NAMES
        ]
    )


def _within(name: str, value: float, most: float) -> None:
    if not 0 <= value <= most:
        raise InputError(f"the {name} is {value:g}", fix=f"Give a number from 0 to {most:g}")
