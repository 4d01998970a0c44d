"""Means over people with their standard error."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

Row = dict[str, float | None]
"""Metrics of one image; None where one could not be measured."""


@dataclass(frozen=True)
class Mean:
    """Mean over people of each person's mean over images.

    standard_error: Over people; None with one person only. people: How many were measured.
    """

    mean: float
    standard_error: float | None
    people: int

    def __str__(self) -> str:
        if self.standard_error is None:
            return f"{self.mean:.3f}"
        return f"{self.mean:.3f} ± {self.standard_error:.3f}"


Summary = dict[str, Mean | None]


def summarised(rows: Iterable[tuple[str, Row]]) -> Summary:
    """Each metric of images of (person, metrics), in the order of the first row.

    Everybody counts once, whatever the number of their images: those of one person are not
    independent. None where nobody could be measured.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for person, row in rows:
        for name, value in row.items():
            people = found.setdefault(name, {})
            if value is not None:
                people.setdefault(person, []).append(value)
    return {name: _mean(people) for name, people in found.items()}


def as_json(summary: Summary) -> dict[str, dict[str, float | int | None] | None]:
    """JSON values of a summary."""
    return {name: None if mean is None else asdict(mean) for name, mean in summary.items()}


def _mean(people: Mapping[str, list[float]]) -> Mean | None:
    means = [statistics.fmean(values) for values in people.values()]
    if not means:
        return None
    error = statistics.stdev(means) / len(means) ** 0.5 if len(means) > 1 else None
    return Mean(statistics.fmean(means), error, len(means))
