"""Twelve action units with DISFA's intensities, as FineFace reads them.

Order AU 1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26; 0 (absent) to 5 (FACS' E). What the adapter adds
is linear in them, and so are blends.
Source: docs/reference/published_weights.md D7.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InputError

AU_ORDER = (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)
AU_INDEX: dict[int, int] = {unit: i for i, unit in enumerate(AU_ORDER)}
COUNT = len(AU_ORDER)
STRONGEST = 5.0
_WHERE = "action units"


@dataclass(frozen=True, eq=False)
class UnitIntensities:
    """What a face does, in twelve units.

    Args:
        values: [12] in 0..5, in the order of :data:`AU_ORDER`.
        source: Where they come from, for reports.
        lost: Units that the source has and the twelve have not, ascending.

    Raises:
        InputError: Wrong shape, or numbers outside 0..5.
    """

    values: Tensor
    source: str
    lost: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Check, and bring the numbers to float32 on the CPU."""
        values = self.values.detach().to("cpu", torch.float32)
        if values.shape != (COUNT,):
            raise InputError(
                f"{list(values.shape)} numbers instead of {COUNT}",
                where=self.source,
                fix="Give one intensity for each of the twelve action units",
            )
        if not bool(((values >= 0) & (values <= STRONGEST)).all()):  # also catches NaN
            raise InputError(
                f"intensities from {float(values.min()):g} to {float(values.max()):g}",
                where=self.source,
                fix=f"Give numbers from 0 (absent) to {STRONGEST:g}",
            )
        object.__setattr__(self, "values", values)

    def named(self) -> dict[str, float]:
        """The units that move: ``{"AU12": 5.0}``."""
        return {f"AU{u}": float(self.values[i]) for u, i in AU_INDEX.items() if self.values[i]}

    def summary(self) -> str:
        """One line: source, units, and what is lost."""
        moves = ", ".join(f"{name} {value:.3g}" for name, value in self.named().items())
        lost = lost_sentence(self.lost)
        return f"{self.source}: {moves or 'at rest'}" + (f"; {lost}" if lost else "")


def unit_intensities(
    units: Mapping[int, float], source: str = "sliders", lost: Sequence[int] = ()
) -> UnitIntensities:
    """Intensities by unit; units that are not named are absent.

    Raises:
        InputError: A unit that is none of the twelve, or an intensity outside 0..5.
    """
    values = torch.zeros(COUNT)
    for unit, intensity in units.items():
        if unit not in AU_INDEX:
            raise InputError(
                f"AU{unit} is none of the twelve units",
                where=source,
                fix=f"Use {', '.join(f'AU{known}' for known in AU_ORDER)}",
            )
        values[AU_INDEX[unit]] = intensity
    return UnitIntensities(values, source, tuple(sorted(set(lost))))


def lost_sentence(lost: Sequence[int]) -> str:
    """``AU7 and AU24 are lost``; empty where nothing is."""
    if not lost:
        return ""
    *others, last = (f"AU{unit}" for unit in lost)
    return f"{', '.join(others)} and {last} are lost" if others else f"{last} is lost"


def blend_intensities(
    parts: Sequence[UnitIntensities], weights: Sequence[float]
) -> UnitIntensities:
    """Weighted mean; the weights need not sum to 1.

    Raises:
        InputError: Nothing to blend, another number of weights, or weights that are below 0, not
            finite, or all 0.
    """
    fractions = torch.tensor(list(weights), dtype=torch.float64)
    usable = bool((fractions.isfinite() & (fractions >= 0)).all()) and float(fractions.sum()) > 0
    if not parts or len(parts) != len(weights) or not usable:
        raise InputError(
            f"{len(parts)} expressions cannot be blended by the weights "
            f"{', '.join(f'{w:g}' for w in weights) or 'none'}",
            where=_WHERE,
            fix="Give one weight of 0 or more for each expression, one of them above 0",
        )
    fractions = fractions / fractions.sum()
    values = (fractions[:, None] * torch.stack([part.values for part in parts]).double()).sum(0)
    acting = [(w, part) for w, part in zip(weights, parts, strict=True) if w]
    lost = sorted({unit for _, part in acting for unit in part.lost})
    source = " and ".join(f"{w:g} x {part.source}" for w, part in acting)
    return UnitIntensities(values.clamp(0, STRONGEST).float(), f"blend of {source}", tuple(lost))
