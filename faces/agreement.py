"""Whether several images show the same person, and which of them do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from .identity import Identity, average

#: Fewer images are too few to identify an outlier.
_MIN_IMAGES = 3
#: An image below this fraction of the median cosine is an outlier. It is relative, because encoders
#: differ in the cosines that they give for the same person.
_OUTLIER_FRACTION = 0.5


@dataclass(frozen=True)
class Agreement:
    """Cosine of each of several identities with the sum of the others.

    cosines: One per image, -1..1; empty for a single image.
    outliers: Indices of the images whose cosine is below half of the median.
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
            f"{text}; image{'' if one else 's'} {numbers} may show another person: "
            f"leave {'it' if one else 'them'} out or give weight 0"
        )


def agreement(identities: Sequence[Identity]) -> Agreement:
    """Compare each identity with the mean of the others.

    Raises:
        InputError: No identities, or their sum vanishes.
        IncompatibleError: They come from different encoders.
    """
    average(identities)  # for its checks
    if len(identities) == 1:
        return Agreement((), ())
    vectors = torch.stack([identity.vector for identity in identities])
    others = vectors.sum(0) - vectors
    cosines = torch.nn.functional.cosine_similarity(vectors, others)
    outliers: tuple[int, ...] = ()
    if len(identities) >= _MIN_IMAGES:
        typical = cosines.median()
        outliers = tuple(int(i) for i in (cosines < _OUTLIER_FRACTION * typical).nonzero()[:, 0])
    return Agreement(tuple(float(c) for c in cosines), outliers)
