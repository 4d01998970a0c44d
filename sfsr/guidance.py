"""How strongly each source counts: balance, absence in training, guidance split by source."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InputError


def balance_weights(balance: float) -> tuple[float, float]:
    """Weights of identity and expression of one slider: at 0 both 1; -1 and 1 leave one alone.

    Raises:
        InputError: Outside -1..1.
    """
    if not -1 <= balance <= 1:
        raise InputError(
            f"the balance is {balance:g}",
            fix="Give -1 (identity alone) to 1 (expression alone)",
        )
    return min(1.0, 1 - balance), min(1.0, 1 + balance)


@dataclass(frozen=True)
class Absence:
    """How often training leaves sources out: identity alone, expression alone, both; sum <= 1."""

    identity: float = 0.1
    expression: float = 0.1
    both: float = 0.05

    def __post_init__(self) -> None:
        """Check the shares."""
        shares = (self.identity, self.expression, self.both)
        if min(shares) < 0 or sum(shares) > 1:
            raise InputError(
                f"these shares of absence cannot be: {', '.join(f'{s:g}' for s in shares)}",
                fix="Give shares of 0 or more that sum to 1 or less",
            )

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """For each of ``count`` samples whether identity and expression are present, [B] bool."""
        lot = torch.rand(count, generator=generator)
        both = lot < self.both
        identity = (lot >= self.both) & (lot < self.both + self.identity)
        expression = (lot >= self.both + self.identity) & (
            lot < self.both + self.identity + self.expression
        )
        return ~(both | identity), ~(both | expression)


def split_guidance(
    nothing: Tensor,
    text: Tensor,
    with_identity: Tensor,
    with_all: Tensor,
    scales: tuple[float, float, float],
) -> Tensor:
    """Guidance with a scale for each source; four predictions [B, ...] of one network.

    Each source counts by what it adds to those before it, as InstructPix2Pix does with two
    (arXiv 2211.09800, eq. 3). With three equal scales it is the usual guidance.

    Args:
        nothing: With the empty text and neither source.
        text: With the text; ``with_identity``: and the identity; ``with_all``: and the expression.
        scales: Of text, identity, expression.
    """
    of_text, of_identity, of_expression = scales
    return (
        nothing
        + of_text * (text - nothing)
        + of_identity * (with_identity - text)
        + of_expression * (with_all - with_identity)
    )
