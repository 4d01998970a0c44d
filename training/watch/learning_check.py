"""Whether a run learns: its losses against those of the start, batch by batch.

The loss of a diffusion model varies far more between batches and noise levels than a few hundred
steps change it. With the same images, timesteps and noise on both sides, almost all of that cancels
out: what is left is the mean difference over its standard error.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

CLEAR = 3.0
"""Standard errors that make a difference clear: chance alone does so in less than 1 of 200 runs."""


@dataclass(frozen=True)
class Comparison:
    """Paired losses of two sets of weights.

    before, after: Means. difference: ``before - after``, better above 0. error: Its standard
    error.
    """

    before: float
    after: float
    difference: float
    error: float

    @property
    def learns(self) -> bool:
        """Whether the loss is clearly lower."""
        return self.difference > 0 and self.difference >= CLEAR * self.error

    @property
    def worsens(self) -> bool:
        """Whether it is clearly higher."""
        return self.difference < 0 and -self.difference >= CLEAR * self.error


def compare(before: Sequence[float], after: Sequence[float]) -> Comparison:
    """Compare the losses of the same batches under the same noise.

    Args:
        before, after: At least two each, in the same order.
    """
    differences = [one - other for one, other in zip(before, after, strict=True)]
    count = len(differences)
    mean = sum(differences) / count
    variance = sum((each - mean) ** 2 for each in differences) / (count - 1)
    return Comparison(sum(before) / count, sum(after) / count, mean, math.sqrt(variance / count))


def sentence(found: Comparison, step: int, rate: float, people: int) -> str:
    """What a person reads of a comparison.

    Args:
        rate: Peak learning rate. people: How many are held out, 0 if the images are trained on.
    """
    whose = "held-out loss" if people else "loss of the training images"
    numbers = (
        f"{whose} {found.before:.4g} at the start, {found.after:.4g} after {step} steps, "
        f"paired difference {found.difference:.2g} ± {found.error:.1g}"
    )
    if found.learns:
        return f"it learns: {numbers}"
    if found.worsens:
        return (
            f"it does not learn, it gets worse: {numbers}. Start anew with a lower rate, such as "
            f"{rate / 3:.1g}, and look whether images, captions and identities belong together"
        )
    return (
        f"it does not learn yet: {numbers}. If the next validation shows no fall either, start "
        f"anew with a higher rate, such as {3 * rate:.1g}, or larger batches (--accumulation), and "
        "look whether images, captions and identities belong together"
    )
