"""FLAME expressions: 55 numbers, [expression 50 | eyelids 2 | jaw 3] (``faces.flame``).

An :class:`~..expression.Expression` carries them as its learned vector, so they blend, travel and
add like any other. All zeros is the neutral face.
Source: docs/reference/published_weights.md A6, B2.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...errors import IncompatibleError, InputError
from ...faces.blendshapes import ARKIT_INDEX
from ...faces.flame import COEFFICIENTS, COUNT, FLAME, JAW, LIDS, within_range
from ..expression import COUNT as BLENDSHAPES
from ..expression import Expression

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
    if not torch.equal(full, within_range(full)):  # not equal for NaN, either
        raise InputError(
            "the FLAME expression has eyelids, a jaw or other numbers out of range",
            where=source,
            fix="Give eyelids of 0 to 1, then the jaw in radians: 0 or more about x, -0.2 to 0.2 "
            "about y and z",
        )
    unknown = torch.zeros(BLENDSHAPES, dtype=torch.bool)
    scaled = within_range(intensity * full)
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
            fix="For Arc2Face's expression adapter measure a photo with SMIRK (Load SMIRK, "
            "--smirk) or map blendshapes (FLAME map in Expression from FLAME, --flame-map); or "
            "use FineFace",
        )
    expression.require_encoder(FLAME)
    return within_range(expression.learned)


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
