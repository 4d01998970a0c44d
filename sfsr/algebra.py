"""Arithmetic on expressions: blend, travel, mirror, add and subtract.

A value that is unknown in one expression is taken from those in which it is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..errors import IncompatibleError, InputError
from ..faces.blendshapes import ARKIT_INDEX, ARKIT_NAMES, mirrored_name
from .disfa import STRONGEST, UnitIntensities, blend_intensities
from .disfa_sources import intensities_of
from .expression import Expression

_ONE_SIDED = {"jawLeft": "jawRight", "mouthLeft": "mouthRight"}


def blend(expressions: Sequence[Expression], weights: Sequence[float]) -> Expression:
    """Weighted mean; the weights need not sum to 1.

    Args:
        expressions: One or more.
        weights: One for each expression, 0 or more, not all 0.

    Raises:
        InputError: No expressions, or an unsuitable number or value of weights.
        IncompatibleError: Their learned vectors come from different networks.
    """
    if not expressions or len(expressions) != len(weights):
        raise InputError(
            f"{len(weights)} weights for {len(expressions)} expressions",
            fix="Give one weight for each expression",
        )
    factors = torch.tensor(weights, dtype=torch.float64)
    if not bool((factors.isfinite() & (factors >= 0)).all()) or float(factors.sum()) == 0:
        raise InputError(
            f"these weights cannot be used: {', '.join(f'{w:g}' for w in weights)}",
            fix="Give numbers of 0 or more, one of them above 0",
        )
    known = torch.stack([one.known for one in expressions])
    each = torch.where(known, factors[:, None], 0.0)
    total = each.sum(0)
    # An expression of weight 0 is ignored even where no other one has a value.
    valid = total > 0
    values = torch.stack([one.values for one in expressions]).double()
    mean = (each * values).sum(0) / torch.where(valid, total, 1.0)
    learned, encoder = _learned(expressions, factors / factors.sum())
    parts = [f"{w:g} x {one.source}" for w, one in zip(weights, expressions, strict=True) if w]
    units = None
    if _carry_units(expressions, weights):
        units = blend_intensities([intensities_of(one) for one in expressions], weights)
    source = f"blend of {' and '.join(parts)}"
    return Expression(mean.float(), source, valid, learned, encoder, units)


def travel(start: Expression, end: Expression, count: int) -> list[Expression]:
    """``count`` expressions, evenly spaced from one to the other, both included.

    The paper's "expression travel": linear interpolation between two codes. A single step is the
    start.

    Raises:
        InputError: ``count`` is below 1.
        IncompatibleError: Their learned vectors come from different networks.
    """
    if count < 1:
        raise InputError(f"a travel of {count} steps", fix="Give 1 or more")
    fractions = torch.linspace(0, 1, count, dtype=torch.float64).tolist()
    ends = {0.0: start, 1.0: end}  # the ends exactly, with their learned vectors
    return [ends.get(f) or blend([start, end], [1 - f, f]) for f in fractions]


def mirror(expression: Expression) -> Expression:
    """Swap the person's left and right; a learned vector is dropped.

    Raises:
        IncompatibleError: There is nothing but a learned vector.
    """
    expression.require_blendshapes()
    order = torch.tensor([ARKIT_INDEX[mirrored_name(name)] for name in ARKIT_NAMES])
    return Expression(
        expression.values[order],
        f"mirrored {expression.source}",
        expression.known[order],
        units=expression.units,  # which know no sides
    )


def add(expression: Expression, other: Expression, amount: float = 1.0) -> Expression:
    """``expression + amount * other``, not clamped; a negative amount subtracts.

    Values unknown in ``other`` leave those of the first unchanged.

    Raises:
        InputError: The amount is not finite.
        IncompatibleError: Their learned vectors come from different networks.
    """
    if not torch.isfinite(torch.tensor(amount)):
        raise InputError(f"the amount is {amount}", fix="Give a number")
    learned, encoder = _learned([expression, other], torch.tensor([1.0, amount]).double())
    source = f"{expression.source} {'+' if amount >= 0 else '-'} {abs(amount):g} x {other.source}"
    units = None
    if _carry_units([expression, other], [1.0, amount]):
        one, two = intensities_of(expression), intensities_of(other)
        total = (one.values + amount * two.values).clamp(0, STRONGEST)
        units = UnitIntensities(total, source, tuple(sorted({*one.lost, *two.lost})))
    return Expression(
        expression.values + amount * other.values,
        source,
        expression.known | other.known,
        learned,
        encoder,
        units,
    )


def clamp(expression: Expression) -> Expression:
    """Clamp to what a face can do: 0..1, and no jaw or mouth that moves both ways at once."""
    values = expression.values.clone()
    for left, right in _ONE_SIDED.items():
        one, two = ARKIT_INDEX[left], ARKIT_INDEX[right]
        both = torch.minimum(values[one], values[two]).clamp(min=0)
        values[one] -= both
        values[two] -= both
    return replace(expression, values=values.clamp(0, 1))


def medoid(expressions: Sequence[Expression]) -> int:
    """Index of the expression with the least mean absolute difference to all others.

    Blendshapes are compared; the learned vectors where there are none.

    Raises:
        InputError: There are none.
    """
    if not expressions:
        raise InputError("there are no expressions", fix="Give one or more")
    values = torch.stack([_compared(one) for one in expressions])
    return int(torch.cdist(values, values, p=1).sum(1).argmin())


def _compared(one: Expression) -> Tensor:
    return one.values if one.learned is None or bool(one.known.any()) else one.learned


def _carry_units(expressions: Sequence[Expression], weights: Sequence[float]) -> bool:
    """Whether action units are known of one that counts; the others' come from blendshapes."""
    return any(one.units is not None and w for one, w in zip(expressions, weights, strict=True))


def _learned(expressions: Sequence[Expression], weights: Tensor) -> tuple[Tensor | None, str]:
    """Weighted sum of the learned vectors; None unless every weighted expression has one."""
    counting = [(one, w) for one, w in zip(expressions, weights.tolist(), strict=True) if w]
    if not counting or any(one.learned is None for one, _ in counting):
        return None, ""
    encoders = sorted({one.encoder for one, _ in counting})
    if len(encoders) > 1:
        raise IncompatibleError(
            f"learned vectors of different networks: {', '.join(encoders)}",
            fix="Measure all expressions with the same one",
        )
    parts = [w * one.learned for one, w in counting if one.learned is not None]
    return torch.stack(parts).sum(0).float(), encoders[0]
