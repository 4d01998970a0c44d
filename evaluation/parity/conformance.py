"""Conformance: recomputes every golden value of a fixture and compares.

Differences are relative to the golden's largest value; ``golden_outputs`` computes the values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ...errors import FacePackError, InputError, ModelFileError
from .fixture import Fixture
from .golden_outputs import PARTS, outputs

TOLERANCE = 1e-4


@dataclass(frozen=True)
class Row:
    """One golden: largest difference over its largest value; infinite if not comparable."""

    name: str
    difference: float

    @property
    def passed(self) -> bool:
        """Whether the difference is below the tolerance."""
        return self.difference < TOLERANCE


def check_conformance(folder: str | Path, prefixes: Sequence[str] = ()) -> list[Row]:
    """Recompute every golden of a fixture folder, in float32 on the CPU.

    Goldens that are not computed here, and computed values that the folder lacks, count as
    infinitely different.

    Args:
        prefixes: Check only these parts (``eps.``, ``ref.``: the keys of ``PARTS``); all if empty.

    Raises:
        InputError: A prefix is not a part.
        FacePackError: The folder cannot be read or its inputs do not fit its networks.
    """
    unknown = [prefix for prefix in prefixes if prefix not in PARTS]
    if unknown:
        raise InputError(
            f"the fixture has no part {unknown[0]!r}", fix=f"Choose from {', '.join(PARTS)}"
        )
    selected = tuple(prefixes or PARTS)
    fixture = Fixture.read(folder)
    goldens = fixture.goldens()
    if prefixes:
        goldens = {name: golden for name, golden in goldens.items() if name.startswith(selected)}
    try:
        with torch.no_grad():
            found = dict(outputs(fixture, selected))
    except FacePackError:
        raise
    except (KeyError, RuntimeError, ValueError) as error:
        reason = f"lacks {error}" if isinstance(error, KeyError) else f"does not fit: {error}"
        raise ModelFileError(
            f"the fixture {reason}", where=str(folder), fix="Copy the fixture again"
        ) from error
    names = [*goldens, *(name for name in found if name not in goldens)]
    return [Row(name, _difference(found.get(name), goldens.get(name))) for name in names]


def _difference(found: Tensor | None, golden: Tensor | None) -> float:
    if found is None or golden is None or found.shape != golden.shape:
        return math.inf
    if golden.numel() == 0:
        return 0.0
    golden = golden.double()
    largest = float(golden.abs().max())
    difference = float((found.double() - golden).abs().max())
    relative = difference / largest if largest else difference
    return relative if math.isfinite(relative) else math.inf
