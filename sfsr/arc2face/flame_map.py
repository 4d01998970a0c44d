"""From blendshapes to FLAME's numbers: a linear map, fitted on the user's machine.

    [expression 50 | jaw 3] = blendshapes [51] @ weight + bias

Eyelids follow the blinks (``flame.lids_and_jaw``). The coefficients are clamped to 3 standard
deviations either way, because the words' amounts reach beyond what photographs show.
Source: docs/reference/published_weights.md B2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from ...errors import IncompatibleError
from ...faces.flame import COEFFICIENTS, FLAME, JAW, jaw_within_range
from ...storage import read_format, write_weights
from ..expression import COUNT as BLENDSHAPES
from ..expression import Expression
from .flame import flame_expression

FORMAT = "sfsr-flame-map/1"
OUTPUTS = COEFFICIENTS + JAW
LARGEST = 3.0
"""Of a coefficient, in standard deviations."""
_FIT = "Fit one with denseface fit-flame"


@dataclass(frozen=True, eq=False)
class FlameMap:
    """The map, in float32.

    weight: [51, 53]. bias: [53]. about: How it was fitted, for reports.

    Raises:
        IncompatibleError: Other shapes, or values that are not finite.
    """

    weight: Tensor
    bias: Tensor
    about: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the shapes."""
        shapes = self.weight.shape, self.bias.shape
        finite = bool(self.weight.isfinite().all() and self.bias.isfinite().all())
        if shapes != ((BLENDSHAPES, OUTPUTS), (OUTPUTS,)) or not finite:
            raise IncompatibleError(
                f"a flame map has {BLENDSHAPES} x {OUTPUTS} and {OUTPUTS} finite numbers, got "
                f"{list(shapes[0])} and {list(shapes[1])}",
                fix=_FIT,
            )

    def numbers(self, face: Expression) -> Tensor:
        """Expression and jaw [53] of blendshapes; unknown ones count as at rest.

        Raises:
            IncompatibleError: The expression has no blendshapes.
        """
        face.require_blendshapes()
        expression, jaw = (face.face() @ self.weight + self.bias).split([COEFFICIENTS, JAW])
        return torch.cat([expression.clamp(-LARGEST, LARGEST), jaw_within_range(jaw)])

    def expression(self, face: Expression, intensity: float = 1.0) -> Expression:
        """The FLAME expression of blendshapes; ``intensity`` scales from the neutral face.

        Raises:
            IncompatibleError: The expression has no blendshapes.
        """
        return flame_expression(self.numbers(face), f"{face.source} by map", face, intensity)


def load_flame_map(path: str | Path) -> FlameMap:
    """The map in a file.

    Raises:
        ModelFileError: The file is missing, damaged, or another kind of file.
        IncompatibleError: It maps other numbers.
    """
    tensors, about = read_format(path, FORMAT, _FIT)
    empty = torch.zeros(0)
    return FlameMap(tensors.get("weight", empty), tensors.get("bias", empty), about)


def save_flame_map(path: str | Path, flame_map: FlameMap) -> None:
    """Write a map; raises InputError if the file cannot be written."""
    about = {**flame_map.about, "format": FORMAT, "encoder": FLAME}
    write_weights(path, {"weight": flame_map.weight, "bias": flame_map.bias}, about)
