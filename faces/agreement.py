"""Do several images show one person? Which of them does not fit the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from .identity import Identity, average

#: With fewer images nobody can say which one is wrong.
_FEWEST = 3
#: Somebody else's image fits the others far less than they fit each other; half as well, whatever
#: the encoder's own scale of cosines.
_SHARE = 0.5


@dataclass(frozen=True)
class Agreement:
    """How well each of several identities fits the mean of the others.

    cosines: One an image, -1..1; empty for a single image.
    outliers: Indices of the images that fit less than half as well as the middle one.
    """

    cosines: tuple[float, ...]
    outliers: tuple[int, ...]

    def __str__(self) -> str:
        if not self.cosines:
            return "one image, nothing to compare"
        each = ", ".join(f"{i + 1}: {cosine:.2f}" for i, cosine in enumerate(self.cosines))
        text = f"likeness to the other images {each}"
        if not self.outliers:
            return text
        numbers = ", ".join(str(i + 1) for i in self.outliers)
        one = len(self.outliers) == 1
        return (
            f"{text}; image{'' if one else 's'} {numbers} may show somebody else: "
            f"leave {'it' if one else 'them'} out or give weight 0"
        )


def agreement(identities: Sequence[Identity]) -> Agreement:
    """Compare each identity with the mean of the others.

    Raises:
        InputError: No identities, or their sum vanishes.
        IncompatibleError: They come from different encoders.
    """
    average(identities)  # all checks
    if len(identities) == 1:
        return Agreement((), ())
    vectors = torch.stack([identity.vector for identity in identities])
    others = vectors.sum(0) - vectors
    cosines = torch.nn.functional.cosine_similarity(vectors, others)
    outliers: tuple[int, ...] = ()
    if len(identities) >= _FEWEST:
        typical = cosines.median()
        outliers = tuple(int(i) for i in (cosines < _SHARE * typical).nonzero()[:, 0])
    return Agreement(tuple(float(c) for c in cosines), outliers)
