"""What a face does, as numbers: blendshapes, which of them are known, and where they come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import IncompatibleError, InputError
from ..faces.blendshapes import ARKIT_INDEX, ARKIT_NAMES
from ..faces.face import Face

COUNT = len(ARKIT_NAMES)


@dataclass(frozen=True, eq=False)
class Expression:
    """One expression; ARKit names, left and right are the person's own.

    Differences of expressions (``algebra.add`` with a negative amount) are expressions too: their
    values may be negative. :meth:`face` is what a face can do.

    Args:
        values: [51], finite; 0 at rest, 1 as far as it goes. 0 where not known.
        source: Where it comes from, for reports ("word bliss, intensity 1").
        valid: [51] bool: which values are known; all when left out.
        learned: [L] of a network that sees what blendshapes do not say; None without one.
        encoder: Name of that network; empty without one.

    Raises:
        InputError: Wrong shapes, or values that are not numbers.
    """

    values: Tensor
    source: str
    valid: Tensor | None = None
    learned: Tensor | None = None
    encoder: str = ""

    def __post_init__(self) -> None:
        """Check, and bring everything to the CPU."""
        values = self.values.detach().to("cpu", torch.float32)
        valid = self.valid
        valid = torch.ones(COUNT, dtype=torch.bool) if valid is None else valid.detach().cpu()
        learned = self.learned
        learned = None if learned is None else learned.detach().to("cpu", torch.float32)
        if values.shape != (COUNT,) or valid.shape != (COUNT,) or valid.dtype != torch.bool:
            raise InputError(
                f"an expression has {COUNT} numbers, got {list(values.shape)} "
                f"and {list(valid.shape)} marks of type {valid.dtype}",
                where=self.source,
                fix="Give one number for each ARKit blendshape without tongueOut",
            )
        if (learned is None) != (not self.encoder) or (learned is not None and learned.ndim != 1):
            raise InputError(
                "a learned vector and the name of its network belong together",
                where=self.source,
                fix="Give both, the vector with one dimension, or neither",
            )
        parts = [values] if learned is None else [values, learned]
        if not all(bool(part.isfinite().all()) for part in parts):
            raise InputError(
                "an expression has values that are not numbers",
                where=self.source,
                fix="Look at the node or file before",
            )
        object.__setattr__(self, "values", torch.where(valid, values, 0.0))
        object.__setattr__(self, "valid", valid)
        object.__setattr__(self, "learned", learned)

    @property
    def known(self) -> Tensor:
        """[51] bool: which values are known."""
        if self.valid is None:  # cannot be after __post_init__; for type checkers
            return torch.ones(COUNT, dtype=torch.bool)
        return self.valid

    def face(self) -> Tensor:
        """[51] in 0..1: what a face can do of it."""
        return self.values.clamp(0, 1)

    def named(self) -> dict[str, float]:
        """The known values by name."""
        return {name: float(self.values[i]) for name, i in ARKIT_INDEX.items() if self.known[i]}

    def strongest(self, count: int = 6) -> list[tuple[str, float]]:
        """The largest movements, largest first; those below 0.01 are left out."""
        order = self.values.abs().argsort(descending=True, stable=True)[:count].tolist()
        return [
            (ARKIT_NAMES[i], float(self.values[i])) for i in order if abs(self.values[i]) > 0.01
        ]

    def summary(self) -> str:
        """One line: where it comes from, its largest movements, and how much is not known."""
        moves = ", ".join(f"{name} {value:.2f}" for name, value in self.strongest()) or "at rest"
        unknown = COUNT - int(self.known.sum())
        return f"{self.source}: {moves}" + (f" ({unknown} not measured)" if unknown else "")

    def require_encoder(self, encoder: str) -> None:
        """Raise IncompatibleError, naming both, if the learned vector is another network's."""
        if self.learned is not None and self.encoder != encoder:
            raise IncompatibleError(
                f"the learned part of the expression was made by {self.encoder!r}, "
                f"the adapter was trained with {encoder!r}",
                where=self.source,
                fix="Measure the expression with the adapter's own network, or leave that part out",
            )


def neutral() -> Expression:
    """A face at rest."""
    return Expression(torch.zeros(COUNT), "neutral")


def from_values(values: Mapping[str, float], source: str = "sliders") -> Expression:
    """An expression of blendshapes by name; those not given are at rest.

    Raises:
        InputError: A name is unknown or a value outside 0..1.
    """
    vector = torch.zeros(COUNT)
    for name, value in values.items():
        if name not in ARKIT_INDEX:
            raise InputError(
                f"there is no blendshape {name!r}",
                where=source,
                fix="Use ARKit's names, such as jawOpen or mouthSmileLeft",
            )
        if not 0 <= value <= 1:
            raise InputError(
                f"the blendshape {name} is {value:g}",
                where=source,
                fix="Give a number from 0 (at rest) to 1 (as far as it goes)",
            )
        vector[ARKIT_INDEX[name]] = value
    return Expression(vector, source)


def from_face(face: Face, source: str = "image") -> Expression:
    """The expression that an analyzer saw; analyzers overshoot 0..1 a little, which is cut off.

    Raises:
        InputError: The analyzer measures no blendshapes.
    """
    if not face.blendshapes:
        raise InputError(
            "the analyzer measures no expression",
            where=face.source,
            fix="Use the landmarker, the host's face landmarks or the tiny world's analyzer",
        )
    seen = {name: v for name, v in face.blendshapes.items() if name in ARKIT_INDEX}
    vector, valid = torch.zeros(COUNT), torch.zeros(COUNT, dtype=torch.bool)
    for name, value in seen.items():
        vector[ARKIT_INDEX[name]] = value
        valid[ARKIT_INDEX[name]] = True
    return Expression(vector.clamp(0, 1), f"{source} by {face.source}", valid)
