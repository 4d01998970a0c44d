"""People by their photos, as an independent recogniser sees them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...faces.identity import Identity
from .people import Person
from .summary import Row

COSINE, STRANGER, TOP1 = "identity_cosine", "identity_cosine_stranger", "identity_top1"


class Gallery:
    """Recognises people among the references.

    A person's similarity to an image is the mean cosine over that person's photos.
    """

    def __init__(self, people: Sequence[Person]) -> None:
        self._vectors = {
            person.name: torch.stack([one.vector for one in person.evaluated]) for person in people
        }

    def compare(self, identity: Identity | None, name: str) -> Row:
        """Identity metrics of an image of a person; without a face nobody is recognised.

        Returns:
            identity_cosine: To the person's photos. identity_cosine_stranger: Mean over the
            others. identity_top1: Whether the person is the most similar. The last two are None
            where there is one person only.
        """
        if identity is None:
            return {COSINE: None, STRANGER: None, TOP1: 0.0 if len(self._vectors) > 1 else None}
        own = self._similarity(identity.vector, self._vectors[name])
        return self._among_others(identity.vector, own, name)

    def ceiling(self) -> list[tuple[str, Row]]:
        """The same of each photo of people with two or more, compared with the other photos."""
        found: list[tuple[str, Row]] = []
        for name, vectors in self._vectors.items():
            for i, vector in enumerate(vectors if len(vectors) > 1 else ()):
                others = torch.cat([vectors[:i], vectors[i + 1 :]])
                own = self._similarity(vector, others)
                found.append((name, self._among_others(vector, own, name)))
        return found

    def _among_others(self, vector: Tensor, own: float, name: str) -> Row:
        others = [
            self._similarity(vector, vectors)
            for other, vectors in self._vectors.items()
            if other != name
        ]
        return {
            COSINE: own,
            STRANGER: sum(others) / len(others) if others else None,
            TOP1: float(own > max(others)) if others else None,
        }

    @staticmethod
    def _similarity(vector: Tensor, vectors: Tensor) -> float:
        return float((vectors @ vector).clamp(-1, 1).mean())
