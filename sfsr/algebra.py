"""Calculating with expressions: blends, ways from one to another, mirrors, sums and differences.

A value that is not known in one of the expressions is taken from those in which it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..errors import IncompatibleError, InputError
from ..faces.blendshapes import ARKIT_INDEX, ARKIT_NAMES, mirrored_name
from .expression import Expression

_ONE_SIDED = {"jawLeft": "jawRight", "mouthLeft": "mouthRight"}


def blend(expressions: Sequence[Expression], weights: Sequence[float]) -> Expression:
    """Weighted mean; the weights need not sum to 1.

    Args:
        weights: One for each expression, 0 or more, not all 0.

    Raises:
        InputError: No expressions, another number of weights, or weights that cannot be used.
        IncompatibleError: Their learned parts were made by different networks.
    """
    if not expressions or len(expressions) != len(weights):
        raise InputError(
            f"{len(weights)} weights for {len(expressions)} expressions",
            fix="Give one weight for each expression",
        )
    shares = torch.tensor(weights, dtype=torch.float64)
    if not bool((shares.isfinite() & (shares >= 0)).all()) or float(shares.sum()) == 0:
        raise InputError(
            f"these weights cannot be used: {', '.join(f'{w:g}' for w in weights)}",
            fix="Give numbers of 0 or more, one of them above 0",
        )
    known = torch.stack([one.known for one in expressions])
    each = torch.where(known, shares[:, None], 0.0)
    total = each.sum(0)
    # An expression of weight 0 says nothing, not even in places that no other one knows.
    valid = total > 0
    values = torch.stack([one.values for one in expressions]).double()
    mean = (each * values).sum(0) / torch.where(valid, total, 1.0)
    learned, encoder = _learned(expressions, shares / shares.sum())
    parts = [f"{w:g} x {one.source}" for w, one in zip(weights, expressions, strict=True) if w]
    return Expression(mean.float(), f"blend of {' and '.join(parts)}", valid, learned, encoder)


def travel(start: Expression, end: Expression, count: int) -> list[Expression]:
    """``count`` expressions, evenly spaced from one to the other, both included.

    The paper's "expression travel": a straight line between two codes. One step is the start alone.

    Raises:
        InputError: ``count`` is below 1.
        IncompatibleError: Their learned parts were made by different networks.
    """
    if count < 1:
        raise InputError(f"a way of {count} steps", fix="Give 1 or more")
    shares = torch.linspace(0, 1, count, dtype=torch.float64).tolist()
    ends = {0.0: start, 1.0: end}  # exactly, with all that is known of them
    return [ends.get(share) or blend([start, end], [1 - share, share]) for share in shares]


def mirror(expression: Expression) -> Expression:
    """The person's left and right exchanged; a learned part does not survive it."""
    order = torch.tensor([ARKIT_INDEX[mirrored_name(name)] for name in ARKIT_NAMES])
    return Expression(
        expression.values[order], f"mirrored {expression.source}", expression.known[order]
    )


def add(expression: Expression, other: Expression, amount: float = 1.0) -> Expression:
    """``expression + amount * other``, not clamped; a negative amount subtracts.

    Unknown values of ``other`` leave those of the first as they are.

    Raises:
        InputError: The amount is not finite.
        IncompatibleError: Their learned parts were made by different networks.
    """
    if not torch.isfinite(torch.tensor(amount)):
        raise InputError(f"the amount is {amount}", fix="Give a number")
    learned, encoder = _learned([expression, other], torch.tensor([1.0, amount]).double())
    sign = "+" if amount >= 0 else "-"
    return Expression(
        expression.values + amount * other.values,
        f"{expression.source} {sign} {abs(amount):g} x {other.source}",
        expression.known | other.known,
        learned,
        encoder,
    )


def clamp(expression: Expression) -> Expression:
    """What a face can do: values cut to 0..1, and no jaw or mouth that goes both ways at once."""
    values = expression.values.clone()
    for left, right in _ONE_SIDED.items():
        one, two = ARKIT_INDEX[left], ARKIT_INDEX[right]
        both = torch.minimum(values[one], values[two]).clamp(min=0)
        values[one] -= both
        values[two] -= both
    return replace(expression, values=values.clamp(0, 1))


def medoid(expressions: Sequence[Expression]) -> int:
    """Number of the expression that is nearest to all others (mean absolute difference).

    Raises:
        InputError: There are none.
    """
    if not expressions:
        raise InputError("there are no expressions", fix="Give one or more")
    values = torch.stack([one.values for one in expressions])
    return int(torch.cdist(values, values, p=1).sum(1).argmin())


def _learned(expressions: Sequence[Expression], weights: Tensor) -> tuple[Tensor | None, str]:
    """The learned parts summed by weight; none unless all that count have one."""
    counting = [(one, w) for one, w in zip(expressions, weights.tolist(), strict=True) if w]
    if not counting or any(one.learned is None for one, _ in counting):
        return None, ""
    encoders = sorted({one.encoder for one, _ in counting})
    if len(encoders) > 1:
        raise IncompatibleError(
            f"learned parts of different networks: {', '.join(encoders)}",
            fix="Measure all expressions with the same one",
        )
    parts = [w * one.learned for one, w in counting if one.learned is not None]
    return torch.stack(parts).sum(0).float(), encoders[0]
