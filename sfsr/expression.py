"""An expression: blendshapes, which of them are known, and their source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import IncompatibleError, InputError
from ..faces.blendshapes import ARKIT_INDEX, ARKIT_NAMES
from ..faces.face import Face
from ..faces.flame import FLAME
from .disfa import UnitIntensities

COUNT = len(ARKIT_NAMES)


@dataclass(frozen=True, eq=False)
class Expression:
    """One expression in ARKit blendshapes; left and right are the person's.

    Differences (``algebra.add`` with a negative amount) are expressions too, with negative values;
    :meth:`face` clamps to 0..1.

    Args:
        values: [51], finite; 0 at rest, 1 at full intensity, 0 where unknown.
        source: Where it comes from, for reports ("word bliss, intensity 1").
        valid: [51] bool, which values are known; all by default.
        learned: [L] from a network that captures more than blendshapes; None without one.
        encoder: Name of that network; empty without one.
        units: The twelve action units where they are known better than from blendshapes: a word's.

    Raises:
        InputError: Wrong shapes, or values that are not finite.
    """

    values: Tensor
    source: str
    valid: Tensor | None = None
    learned: Tensor | None = None
    encoder: str = ""
    units: UnitIntensities | None = None

    def __post_init__(self) -> None:
        """Check the tensors and move them to the CPU."""
        values = self.values.detach().to("cpu", torch.float32)
        valid = self.valid
        valid = torch.ones(COUNT, dtype=torch.bool) if valid is None else valid.detach().cpu()
        learned = self.learned
        learned = None if learned is None else learned.detach().to("cpu", torch.float32)
        if values.shape != (COUNT,) or valid.shape != (COUNT,) or valid.dtype != torch.bool:
            raise InputError(
                f"an expression has {COUNT} numbers, got {list(values.shape)} "
                f"and {list(valid.shape)} validity flags of type {valid.dtype}",
                where=self.source,
                fix="Give one number for each ARKit blendshape without tongueOut",
            )
        if (learned is None) != (not self.encoder) or (learned is not None and learned.ndim != 1):
            raise InputError(
                "a learned vector needs the name of its network, and the reverse",
                where=self.source,
                fix="Give both, with a vector of one dimension, or neither",
            )
        parts = [values] if learned is None else [values, learned]
        if not all(bool(part.isfinite().all()) for part in parts):
            raise InputError(
                "the expression has values that are not finite",
                where=self.source,
                fix="Check the node or file it comes from",
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
        """The values [51] clamped to 0..1."""
        return self.values.clamp(0, 1)

    def blendshapes(self) -> dict[str, float]:
        """All values by name, clamped to 0..1; IncompatibleError for a FLAME expression."""
        self.require_blendshapes()
        return dict(zip(ARKIT_NAMES, self.face().tolist(), strict=True))

    def named(self) -> dict[str, float]:
        """The known values by name."""
        return {name: float(self.values[i]) for name, i in ARKIT_INDEX.items() if self.known[i]}

    def strongest(self, count: int = 6) -> list[tuple[str, float]]:
        """The largest values, largest first, without those below 0.01."""
        order = self.values.abs().argsort(descending=True, stable=True)[:count].tolist()
        return [
            (ARKIT_NAMES[i], float(self.values[i])) for i in order if abs(self.values[i]) > 0.01
        ]

    def summary(self) -> str:
        """One line: where it comes from, its largest movements, and how much is not known."""
        if self.learned is not None and self.learned_alone:
            return f"{self.source}: {len(self.learned)} numbers of {self.encoder}"
        moves = ", ".join(f"{name} {value:.2f}" for name, value in self.strongest()) or "at rest"
        unknown = COUNT - int(self.known.sum())
        return f"{self.source}: {moves}" + (f" ({unknown} not measured)" if unknown else "")

    def require_blendshapes(self) -> None:
        """Raise IncompatibleError if all it has is a network's vector (a FLAME expression)."""
        if self.learned_alone:
            raise IncompatibleError(
                f"this expression holds numbers of {self.encoder} and no blendshapes",
                where=self.source,
                fix="Use an expression from a word, an image or sliders here; FLAME expressions "
                "are for Arc2Face's expression adapter",
            )

    @property
    def learned_alone(self) -> bool:
        """Whether a network's vector is all it has, as a FLAME expression."""
        return self.learned is not None and not bool(self.known.any()) and self.units is None

    def require_encoder(self, encoder: str) -> None:
        """Raise IncompatibleError if the learned vector comes from another network."""
        if self.learned is not None and self.encoder != encoder:
            raise IncompatibleError(
                f"the learned vector of the expression comes from {self.encoder!r}, "
                f"the adapter was trained with {encoder!r}",
                where=self.source,
                fix="Measure the expression with the adapter's own network, or omit that vector",
            )


def neutral() -> Expression:
    """A face at rest."""
    return Expression(torch.zeros(COUNT), "neutral")


def from_values(values: Mapping[str, float], source: str = "sliders") -> Expression:
    """An expression from blendshapes by name; the others are 0.

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
                fix="Give a number from 0 (at rest) to 1 (full intensity)",
            )
        vector[ARKIT_INDEX[name]] = value
    return Expression(vector, source)


def from_face(face: Face, source: str = "image") -> Expression:
    """The expression of a detected face: blendshapes clamped to 0..1, and FLAME's numbers.

    Raises:
        InputError: The face has neither.
    """
    if not face.blendshapes and face.flame is None:
        raise InputError(
            "the analyzer gives no expression",
            where=face.source,
            fix="Use the landmarker, the host's face landmarks or the tiny world's analyzer",
        )
    measured = {name: v for name, v in (face.blendshapes or {}).items() if name in ARKIT_INDEX}
    vector, valid = torch.zeros(COUNT), torch.zeros(COUNT, dtype=torch.bool)
    for name, value in measured.items():
        vector[ARKIT_INDEX[name]] = value
        valid[ARKIT_INDEX[name]] = True
    by, encoder = (face.source, "") if face.flame is None else (f"{face.source} and SMIRK", FLAME)
    return Expression(vector.clamp(0, 1), f"{source} by {by}", valid, face.flame, encoder)
