"""The identity of a person: a unit vector and the name of its encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import IncompatibleError, InputError
from .encoders.names import same_encoder

_NORM_TOLERANCE = 1e-2


@dataclass(frozen=True, eq=False)
class Identity:
    """An identity vector of one face encoder.

    Args:
        vector: [D] of unit norm (within 1 %), finite; kept as float32 on the CPU.
        encoder: Name of the encoder; vectors of different encoders cannot be compared.

    Raises:
        InputError: The vector has another shape or norm, or is not finite.
    """

    vector: Tensor
    encoder: str

    def __post_init__(self) -> None:
        """Convert the vector to float32 on the CPU and check it."""
        vector = self.vector.detach().to("cpu", torch.float32)
        if vector.ndim != 1:
            raise InputError(
                f"an identity is one vector, got shape {list(vector.shape)}",
                fix="Measure one face at a time",
            )
        if not bool(torch.isfinite(vector).all()):
            raise InputError(
                "the identity holds values that are not numbers",
                where=self.encoder,
                fix="Use another reference image",
            )
        norm = float(vector.norm())
        if abs(norm - 1) > _NORM_TOLERANCE:
            raise InputError(
                f"the identity has length {norm:.4g} instead of 1",
                where=self.encoder,
                fix="Normalise the vector first (Identity.from_features)",
            )
        object.__setattr__(self, "vector", vector)

    @classmethod
    def from_features(cls, features: Tensor, encoder: str) -> Identity:
        """Normalise raw features [D] or [1, D] to unit length.

        Raises:
            InputError: All features are zero, or one is not finite.
        """
        flat = features.detach().reshape(-1).to("cpu", torch.float32)
        if not float(flat.norm()) > 0:  # also catches NaN
            raise InputError(
                "the face features are empty or not numbers",
                where=encoder,
                fix="Use another reference image",
            )
        return cls(flat / flat.norm(), encoder)

    def require(self, encoder: str) -> None:
        """Raise IncompatibleError, naming both encoders, unless this identity is of ``encoder``."""
        if not same_encoder(self.encoder, encoder):
            raise IncompatibleError(
                f"the identity was measured by the encoder {self.encoder!r}, "
                f"the adapter was trained on {encoder!r}",
                fix=f"Measure the reference images with {encoder!r}",
            )


def average(identities: Sequence[Identity], weights: Sequence[float] | None = None) -> Identity:
    """Weighted mean of several references of one person, normalised to unit length.

    Args:
        weights: One per identity; all equal if None.

    Raises:
        InputError: There are no identities, the number of weights differs, or the sum vanishes.
        IncompatibleError: The identities come from different encoders.
    """
    if not identities:
        raise InputError("no identity was given", fix="Connect at least one reference image")
    for other in identities[1:]:
        other.require(identities[0].encoder)
    amounts = [1.0] * len(identities) if weights is None else [float(w) for w in weights]
    if len(amounts) != len(identities):
        raise InputError(
            f"{len(identities)} identities were given {len(amounts)} weights",
            fix="Give one weight for each identity",
        )
    vectors = torch.stack([identity.vector for identity in identities])
    total = (torch.tensor(amounts)[:, None] * vectors).sum(0)
    return Identity.from_features(total, identities[0].encoder)


def away_from(identity: Identity, other: Identity, amount: float) -> Identity:
    """Move an identity away from another: ``identity - amount * other``, normalised.

    A generated face keeps a trace of the face that it replaces. A few hundredths of that identity
    subtracted remove the trace; 0.1 rotates the vector by six degrees at most.

    Args:
        amount: From 0 (no change) to less than 1.

    Raises:
        InputError: The amount is out of range.
        IncompatibleError: The identities come from different encoders.
    """
    if not 0 <= amount < 1:
        raise InputError(f"the amount {amount:g} is out of range", fix="Use 0 to less than 1")
    return average([identity, other], [1, -amount])
