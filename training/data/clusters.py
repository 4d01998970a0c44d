"""People found by clustering identities: agglomerative, with the average cosine between groups.

Average linkage (UPGMA, ``scipy.cluster.hierarchy``) does not chain people together over a few
doubtful pairs, as merging every pair above a threshold would.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ...errors import InputError
from ...faces.encoders.ir_se50 import ENCODER as IR_SE50
from ...faces.encoders.names import W600K_R50, canonical_encoder

SAME_PERSON: dict[str, float] = {W600K_R50: 0.28, IR_SE50: 0.23, "tiny-world": 0.75}
"""Lowest cosine at which two images show the same person, by encoder.

w600k_r50, IR-SE50: as their authors decide (docs/reference/libraries.md 13). tiny-world: 40 people
with four images each fall into exactly their own groups from 0.70 to 0.75; between people the
cosine reaches 0.82, within one it falls to 0.75.
"""
MOST_ALIKE = 30_000
"""Images that can be compared all with all: 3.6 GB of distances."""
_BLOCK = 2048
_ROUNDING = 1e-4


def same_person(encoder: str, given: float | None) -> float:
    """The cosine from which two images show the same person: ``given``, or the encoder's.

    Raises:
        InputError: None is given, and none is known for the encoder.
    """
    known = SAME_PERSON.get(canonical_encoder(encoder))
    if given is None and known is None:
        raise InputError(
            f"from which cosine {encoder} shows the same person is not known",
            where="--people cluster",
            fix="Give --same-person, such as 0.3, and look at the result",
        )
    return known if given is None else given  # type: ignore[return-value]


def clusters(identities: Tensor, cosine: float) -> list[list[int]]:
    """Groups of the same person: numbers of images, ascending; the groups by their first image.

    Args:
        identities: [N, D] of unit norm.
        cosine: Two groups are one person if the mean cosine between their images is not lower.

    Raises:
        InputError: More than :data:`MOST_ALIKE` images are linked to each other.
    """
    from scipy.cluster.hierarchy import fcluster, linkage

    vectors = identities.double().numpy()
    found: list[list[int]] = []
    # Groups that merge have a pair above the threshold: each connected part is complete by itself.
    for part in _connected(identities.float(), cosine - _ROUNDING):
        if len(part) > MOST_ALIKE:
            raise InputError(
                f"{len(part)} images look alike at a cosine of {cosine:g}, which is more than "
                f"{MOST_ALIKE}",
                where="--people cluster",
                fix="Give a higher --same-person",
            )
        if len(part) == 1:
            found.append(part.tolist())
            continue
        tree = linkage(vectors[part], "average", "cosine")
        labels = fcluster(tree, 1 - cosine, "distance")
        found += [part[labels == label].tolist() for label in np.unique(labels)]
    return sorted(found)


def _connected(identities: Tensor, cosine: float) -> Iterator[NDArray[np.intp]]:
    """The connected parts of the graph of pairs above a cosine, compared block by block."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = len(identities)
    labels = np.arange(count)
    for first in range(0, count, _BLOCK):
        block = identities[first : first + _BLOCK]
        for start in range(first, count, _BLOCK):
            above = (block @ identities[start : start + _BLOCK].T >= cosine).nonzero().T.numpy()
            pairs = labels[first + above[0]], labels[start + above[1]]
            graph = coo_array((np.ones(len(pairs[0]), np.bool_), pairs), shape=(count, count))
            labels = connected_components(graph, directed=False)[1][labels]
    order = np.argsort(labels, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
