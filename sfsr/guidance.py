"""Strength of each source: balance, dropout in training, guidance split by source."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InputError


def balance_weights(balance: float) -> tuple[float, float]:
    """Weights of identity and expression: both 1 at 0, only one of them at -1 and 1.

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
class SourceDropout:
    """Probability of dropping the identity only, the expression only, or both, in training."""

    identity: float = 0.1
    expression: float = 0.1
    both: float = 0.05

    def __post_init__(self) -> None:
        """Check the probabilities."""
        chances = (self.identity, self.expression, self.both)
        if min(chances) < 0 or sum(chances) > 1:
            raise InputError(
                f"dropout probabilities are impossible: {', '.join(f'{p:g}' for p in chances)}",
                fix="Give numbers of 0 or more that sum to 1 or less",
            )

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Whether identity and expression are present in each of ``count`` samples, [B] bool."""
        u = torch.rand(count, generator=generator)
        both = u < self.both
        identity = (u >= self.both) & (u < self.both + self.identity)
        expression = (u >= self.both + self.identity) & (
            u < self.both + self.identity + self.expression
        )
        return ~(both | identity), ~(both | expression)


def split_guidance(
    nothing: Tensor,
    text: Tensor,
    with_identity: Tensor,
    with_all: Tensor,
    scales: tuple[float, float, float],
) -> Tensor:
    """Guidance with a scale for each source, from four predictions [B, ...] of one network.

    Each scale applies to what its source adds to the previous ones, as InstructPix2Pix does for two
    (arXiv 2211.09800, eq. 3). Three equal scales give classifier-free guidance.

    Args:
        nothing: Prediction with the empty text and neither source.
        text: With the text.
        with_identity: With text and identity.
        with_all: With text, identity and expression.
        scales: Of text, identity, expression.
    """
    of_text, of_identity, of_expression = scales
    return (
        nothing
        + of_text * (text - nothing)
        + of_identity * (with_identity - text)
        + of_expression * (with_all - with_identity)
    )
