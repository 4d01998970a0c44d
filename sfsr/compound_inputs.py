"""Inputs of the compound embedding: identities and expressions, checked and batched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import IncompatibleError, InputError
from ..faces.encoders.names import canonical_encoder
from ..faces.identity import Identity
from .expression import Expression


@dataclass(frozen=True)
class CompoundLayout:
    """Inputs and sizes of a compound embedding.

    identities: Face encoder -> length of its vectors; the first encoder is required.
    learned: Length of the expression's learned vector, 0 without one.
    learned_encoder: Name of the network that computes it, empty without one.
    tokens: Number of tokens of each source.
    width: Channels of a token, the same as the text's.
    hidden: Channels of the hidden layers.
    """

    identities: Mapping[str, int]
    learned: int = 0
    learned_encoder: str = ""
    tokens: int = 4
    width: int = 768
    hidden: int = 512

    def __post_init__(self) -> None:
        """Check the sizes."""
        sizes = (*self.identities.values(), self.tokens, self.width, self.hidden)
        if not self.identities or min(sizes) < 1 or self.learned < 0:
            raise InputError(
                "a compound embedding needs an identity encoder, and sizes of 1 or more",
                fix="Name at least one face encoder and the length of its vectors",
            )
        if (self.learned > 0) != bool(self.learned_encoder):
            raise InputError(
                "a learned expression vector needs the name of its network, and the reverse",
                fix="Give both or neither",
            )

    @property
    def required(self) -> str:
        """The face encoder whose identities are required."""
        return next(iter(self.identities))


@dataclass(frozen=True, eq=False)
class IdentityBatch:
    """Identities of B people by face encoder.

    vectors: Encoder -> [B, D], unit rows; zeros where absent.
    present: Encoder -> [B] bool.
    """

    vectors: Mapping[str, Tensor]
    present: Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class ExpressionBatch:
    """Expressions of B faces.

    values: [B, 51] in 0..1, 0 where unknown; known: [B, 51] bool.
    learned: [B, L]; zeros where there is none. has_learned: [B] bool.
    """

    values: Tensor
    known: Tensor
    learned: Tensor
    has_learned: Tensor


def identity_batch(people: Sequence[Sequence[Identity]], layout: CompoundLayout) -> IdentityBatch:
    """Batch the identities of B people, each a list of vectors from different encoders.

    Raises:
        InputError: A person has two vectors from the same encoder.
        IncompatibleError: The required encoder is missing, or an encoder or length is not in the
            layout.
    """
    vectors = {name: torch.zeros(len(people), size) for name, size in layout.identities.items()}
    present = {name: torch.zeros(len(people), dtype=torch.bool) for name in layout.identities}
    named = {canonical_encoder(name): name for name in layout.identities}
    for row, measured in enumerate(people):
        for identity in measured:
            name = named.get(canonical_encoder(identity.encoder), "")
            if not name or identity.vector.shape != vectors[name][row].shape:
                expected = ", ".join(f"{n} ({d} numbers)" for n, d in layout.identities.items())
                raise IncompatibleError(
                    f"the adapter cannot use an identity of {len(identity.vector)} numbers from "
                    f"{identity.encoder!r}; it reads {expected}",
                    fix="Encode the reference images with an encoder of the adapter",
                )
            if present[name][row]:
                raise InputError(
                    f"a person has two identities from {name}",
                    fix="Average the images of a person first",
                )
            vectors[name][row] = F.normalize(identity.vector.float(), dim=0)
            present[name][row] = True
        if not present[layout.required][row]:
            raise IncompatibleError(
                f"the identity from {layout.required!r} is missing",
                fix="Encode the reference images with this encoder too",
            )
    return IdentityBatch(vectors, present)


def expression_batch(codes: Sequence[Expression], layout: CompoundLayout) -> ExpressionBatch:
    """Batch the expressions of B faces, clamped to 0..1.

    Learned vectors are ignored if the layout has none.

    Raises:
        IncompatibleError: A learned vector has another network or length than the layout's, or is
            ignored and there is nothing else.
    """
    learned = torch.zeros(len(codes), layout.learned)
    has_learned = torch.zeros(len(codes), dtype=torch.bool)
    for row, code in enumerate(codes):
        if not layout.learned:
            code.require_blendshapes()
        if not layout.learned or code.learned is None:
            continue
        code.require_encoder(layout.learned_encoder)
        if len(code.learned) != layout.learned:
            raise IncompatibleError(
                f"the learned vector of the expression has {len(code.learned)} numbers, "
                f"the adapter reads {layout.learned}",
                where=code.source,
                fix="Measure the expression with the adapter's own network",
            )
        learned[row], has_learned[row] = F.normalize(code.learned, dim=0), True
    values = torch.stack([code.face() for code in codes])
    known = torch.stack([code.known for code in codes])
    return ExpressionBatch(values, known, learned, has_learned)
