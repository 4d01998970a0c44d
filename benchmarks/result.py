"""Measured numbers and their targets, and how times and memory are measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

STATUS = Path("/proc/self/status")


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

    @classmethod
    def of(cls, what: str, runs: Sequence[float], unit: str, target: float | None = None) -> Result:
        """The median of several runs, with the smallest and the largest."""
        return cls(what, median(runs), unit, target, limits=(min(runs), max(runs)))

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


def seconds(function: Callable[[], object], runs: int = 3) -> list[float]:
    """Seconds of each of several runs, after a warm-up run."""
    function()
    found = []
    for _ in range(runs):
        start = time.perf_counter()
        function()
        found.append(time.perf_counter() - start)
    return found


def megabytes(name: str = "VmRSS") -> float:
    """Memory of this process: VmRSS (currently resident) or VmHWM (peak)."""
    lines = STATUS.read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))
