"""Measured numbers and their targets."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """One measured number.

    Args:
        target: A maximum, or a minimum where ``more`` is better; None = none.
        limits: Smallest and largest of the runs, where there were several.
    """

    what: str
    value: float
    unit: str
    target: float | None = None
    more: bool = False
    limits: tuple[float, float] | None = None

    @property
    def missed(self) -> bool:
        """Whether the target is missed."""
        if self.target is None:
            return False
        return self.value < self.target if self.more else self.value > self.target

    def __str__(self) -> str:
        text = f"{self.what:<52}{self.value:9.3f} {self.unit:<12}"
        if self.limits is not None:
            low, high = (f"{value:.3f}" for value in self.limits)
            text += f"{low}-{high:<8}"
        if self.target is None:
            return text.rstrip()
        sign, word = ("at least" if self.more else "at most"), ("MISSED" if self.missed else "ok")
        return f"{text} target {sign} {self.target:g}  {word}"
