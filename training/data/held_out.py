"""People who are kept out of training, to validate with: the same ones for the same data set."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Collection
from typing import NamedTuple

from ...errors import InputError
from .dataset import FaceDataset
from .folder import Defects


class Split(NamedTuple):
    """A data set in two parts, which have nobody in common."""

    trained: FaceDataset
    held_out: FaceDataset


def split(data: FaceDataset, held_out: float) -> Split:
    """Hold people out with all their images.

    Args:
        held_out: Below 1 a fraction of the people, rounded down; from 1 on their number.

    Raises:
        InputError: Nobody is left to train on.
    """
    people = people_held_out({entry.subject for entry in data.entries}, held_out)
    parts: list[FaceDataset] = []
    for inside in (False, True):
        part = copy.copy(data)
        part.entries = [entry for entry in data.entries if (entry.subject in people) == inside]
        parts.append(part)
    # What indexing found is reported once, with the images that are trained on.
    parts[1].defects = Defects()
    return Split(*parts)


def people_held_out(people: Collection[str], held_out: float) -> frozenset[str]:
    """Those whose names have the lowest hashes: new people in a data set exchange few of them.

    Raises:
        InputError: Nobody is left.
    """
    count = int(held_out * len(people)) if held_out < 1 else int(held_out)
    if count >= len(people) > 0:
        raise InputError(
            f"{count} people are held out of {len(people)}, and nobody is left to train on",
            where="--held-out",
            fix="Hold out fewer, or 0",
        )
    return frozenset(sorted(people, key=_hash)[:count])


def _hash(name: str) -> bytes:
    # In archives there are names in other encodings.
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
