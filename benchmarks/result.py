"""Measured numbers beside what is promised."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """One measured number.

    Args:
        promise: Its limit (design of the pack), the lowest where ``more`` is better; None = none.
        spread: Smallest and largest of the runs, where there were several.
    """

    what: str
    value: float
    unit: str
    promise: float | None = None
    more: bool = False
    spread: tuple[float, float] | None = None

    @property
    def missed(self) -> bool:
        """Whether it breaks its promise."""
        if self.promise is None:
            return False
        return self.value < self.promise if self.more else self.value > self.promise

    def __str__(self) -> str:
        text = f"{self.what:<52}{self.value:9.3f} {self.unit:<12}"
        if self.spread is not None:
            low, high = (f"{value:.3f}" for value in self.spread)
            text += f"{low}-{high:<8}"
        if self.promise is None:
            return text.rstrip()
        sign, word = ("at least" if self.more else "at most"), ("MISSED" if self.missed else "ok")
        return f"{text} promised {sign} {self.promise:g}  {word}"
