"""What a compound embedding reads: measurements of people and faces, checked and as batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import IncompatibleError, InputError
from ..faces.identity import Identity
from .expression import Expression


@dataclass(frozen=True)
class CompoundLayout:
    """What an adapter reads and how it is handed on.

    identities: Face encoder to the length of its vectors; the first one is required.
    learned: Length of the expression's learned vector, and ``learned_encoder`` the network's name;
        0 and empty without one.
    tokens: Of each side.
    width: Numbers in a token; as wide as the text's tokens.
    hidden: Width of the layers between.
    """

    identities: Mapping[str, int]
    learned: int = 0
    learned_encoder: str = ""
    tokens: int = 4
    width: int = 768
    hidden: int = 512

    def __post_init__(self) -> None:
        """Check that it can be built."""
        sizes = (*self.identities.values(), self.tokens, self.width, self.hidden)
        if not self.identities or min(sizes) < 1 or self.learned < 0:
            raise InputError(
                "a compound embedding needs an identity, and sizes of 1 or more",
                fix="Name at least one face encoder and the length of its vectors",
            )
        if (self.learned > 0) != bool(self.learned_encoder):
            raise InputError(
                "a learned part of expressions and its network's name belong together",
                fix="Give both or neither",
            )

    @property
    def required(self) -> str:
        """The face encoder that cannot be left out."""
        return next(iter(self.identities))


@dataclass(frozen=True, eq=False)
class IdentityBatch:
    """Identities of B people by face encoder.

    vectors: Encoder to [B, D], rows of length 1; zeros where not measured.
    present: Encoder to [B] bool.
    """

    vectors: Mapping[str, Tensor]
    present: Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class ExpressionBatch:
    """Expressions of B faces.

    values: [B, 51] in 0..1, 0 where not known; known: [B, 51] bool.
    learned: [B, L]; zeros where there is none. has_learned: [B] bool.
    """

    values: Tensor
    known: Tensor
    learned: Tensor
    has_learned: Tensor


def identity_batch(people: Sequence[Sequence[Identity]], layout: CompoundLayout) -> IdentityBatch:
    """Identities of B people, each a list of measurements by different encoders.

    Raises:
        InputError: A person is measured twice by the same encoder.
        IncompatibleError: The required encoder is missing, another one is not of the layout, or a
            vector is of another length.
    """
    vectors = {name: torch.zeros(len(people), size) for name, size in layout.identities.items()}
    present = {name: torch.zeros(len(people), dtype=torch.bool) for name in layout.identities}
    for row, measured in enumerate(people):
        for identity in measured:
            name = identity.encoder
            if name not in vectors or identity.vector.shape != vectors[name][row].shape:
                wanted = ", ".join(f"{n} ({d} numbers)" for n, d in layout.identities.items())
                raise IncompatibleError(
                    f"an identity of {len(identity.vector)} numbers by {name!r} is not of this "
                    f"adapter, which reads {wanted}",
                    fix="Measure the reference images with an encoder of the adapter",
                )
            if present[name][row]:
                raise InputError(
                    f"a person is measured twice by {name}",
                    fix="Average several images of a person first",
                )
            vectors[name][row] = F.normalize(identity.vector.float(), dim=0)
            present[name][row] = True
        if not present[layout.required][row]:
            raise IncompatibleError(
                f"the identity by {layout.required!r} is missing",
                fix="Measure the reference images with this encoder too",
            )
    return IdentityBatch(vectors, present)


def expression_batch(codes: Sequence[Expression], layout: CompoundLayout) -> ExpressionBatch:
    """Expressions of B faces, cut to what a face can do.

    A learned vector that the adapter does not read is left out.

    Raises:
        IncompatibleError: A learned vector is of another network or length than the layout's.
    """
    learned = torch.zeros(len(codes), layout.learned)
    has_learned = torch.zeros(len(codes), dtype=torch.bool)
    for row, code in enumerate(codes):
        if not layout.learned or code.learned is None:
            continue
        code.require_encoder(layout.learned_encoder)
        if len(code.learned) != layout.learned:
            raise IncompatibleError(
                f"the learned part of the expression has {len(code.learned)} numbers, "
                f"the adapter reads {layout.learned}",
                where=code.source,
                fix="Measure the expression with the adapter's own network",
            )
        learned[row], has_learned[row] = F.normalize(code.learned, dim=0), True
    values = torch.stack([code.face() for code in codes])
    known = torch.stack([code.known for code in codes])
    return ExpressionBatch(values, known, learned, has_learned)
