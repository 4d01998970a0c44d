"""FLAME expressions: 55 numbers, [expression 50 | eyelids 2 | jaw 3], as SMIRK estimates them.

    expression  FLAME 2020 coefficients; 1 is one standard deviation
    eyelids     the person's left, right; 0 open, 1 closed
    jaw         rotation about x (opening, >= 0), y and z (within 0.2), in radians

An :class:`~..expression.Expression` carries them as its learned vector, so they blend, travel and
add like any other. All zeros is the neutral face.
Source: docs/reference/published_weights.md A6, B2.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...errors import IncompatibleError, InputError
from ...faces.blendshapes import ARKIT_INDEX
from ..expression import COUNT as BLENDSHAPES
from ..expression import Expression

FLAME = "smirk/em1"
"""Name of these numbers' encoder in an expression."""
COEFFICIENTS, LIDS, JAW = 50, 2, 3
COUNT = COEFFICIENTS + LIDS + JAW
_JAW_SIDE = 0.2
_JAW_OPENING = 0.3
"""Radians at jawOpen 1; 0.25 to 0.35 in published material."""
_JAW_SHIFT = 0.1
"""Radians about y at jawLeft 1."""


def flame_expression(
    numbers: Tensor,
    source: str = "FLAME numbers",
    face: Expression | None = None,
    intensity: float = 1.0,
) -> Expression:
    """A FLAME expression; its blendshapes are unknown.

    Args:
        numbers: [55]; or [53], expression and jaw; or [50], the expression alone. What is left out
            is that of ``face``.
        source: For reports.
        face: Its blendshapes give eyelids and jaw where ``numbers`` has none; without one the eyes
            are open and the mouth is closed.
        intensity: Scales all 55 from the neutral face; eyelids and jaw are clamped afterwards.

    Raises:
        InputError: Another number of values, values that are not finite, or eyelids or a jaw out
            of range.
        IncompatibleError: ``face`` has no blendshapes.
    """
    given = numbers.detach().to("cpu", torch.float32)
    if given.ndim != 1 or len(given) not in (COUNT, COUNT - LIDS, COEFFICIENTS):
        raise InputError(
            f"a FLAME expression of shape {list(given.shape)}",
            where=source,
            fix="Give 55 numbers (expression 50, eyelids 2, jaw 3), 53 (expression, jaw) or 50",
        )
    lids, jaw = lids_and_jaw(face)
    if len(given) == COUNT:
        lids = given[COEFFICIENTS : COEFFICIENTS + LIDS]
    if len(given) > COEFFICIENTS:
        jaw = given[-JAW:]
    full = torch.cat([given[:COEFFICIENTS], lids, jaw])
    if not torch.equal(full, _within_range(full)):  # not equal for NaN, either
        raise InputError(
            "the FLAME expression has eyelids, a jaw or other numbers out of range",
            where=source,
            fix="Give eyelids of 0 to 1, then the jaw in radians: 0 or more about x, -0.2 to 0.2 "
            "about y and z",
        )
    unknown = torch.zeros(BLENDSHAPES, dtype=torch.bool)
    scaled = _within_range(intensity * full)
    return Expression(torch.zeros(BLENDSHAPES), source, unknown, scaled, FLAME)


def parse_flame(text: str) -> Tensor:
    """Numbers from a text, separated by spaces, commas or lines; 55 zeros if it is empty.

    Raises:
        InputError: It holds something else.
    """
    words = text.replace(",", " ").replace(";", " ").strip("[]() \n\t").split()
    try:
        return torch.tensor([float(word) for word in words] or [0.0] * COUNT)
    except ValueError as error:
        raise InputError(
            f"the FLAME numbers cannot be read: {error}",
            fix="Write them as 0.3, -1.2, ... without names",
        ) from error


def flame_numbers(expression: Expression) -> Tensor:
    """The 55 numbers of an expression, clamped to the range of eyelids and jaw.

    Sums and differences may leave that range; the first 50 have none.

    Raises:
        IncompatibleError: It carries none, such as the expression of a word.
    """
    if expression.learned is None or len(expression.learned) != COUNT:
        raise IncompatibleError(
            "this expression holds blendshapes and no FLAME numbers",
            where=expression.source,
            fix="Use Expression from FLAME for Arc2Face's expression adapter, or FineFace for "
            "this expression",
        )
    expression.require_encoder(FLAME)
    return _within_range(expression.learned)


def lids_and_jaw(face: Expression | None) -> tuple[Tensor, Tensor]:
    """Eyelids [2] and jaw [3] from blendshapes, by rules of our own; zeros without a face.

    IncompatibleError if the face has no blendshapes.

    Both follow eyeBlink, jawOpen, jawLeft and jawRight. The other 50 numbers have no meaning one
    by one and cannot be derived in this way.
    """
    if face is None:
        return torch.zeros(LIDS), torch.zeros(JAW)
    face.require_blendshapes()
    values = face.face()

    def one(name: str) -> Tensor:
        return values[ARKIT_INDEX[name]]

    lids = torch.stack([one("eyeBlinkLeft"), one("eyeBlinkRight")])
    side = _JAW_SHIFT * (one("jawLeft") - one("jawRight"))
    return lids, torch.stack([_JAW_OPENING * one("jawOpen"), side, torch.zeros(())])


def _within_range(numbers: Tensor) -> Tensor:
    expression, lids, jaw = numbers.split([COEFFICIENTS, LIDS, JAW])
    opening, sides = jaw[:1].clamp(min=0), jaw[1:].clamp(-_JAW_SIDE, _JAW_SIDE)
    return torch.cat([expression, lids.clamp(0, 1), opening, sides])
