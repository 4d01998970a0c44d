"""The records of a data set, as a cache has them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from ...errors import ModelFileError
from ...storage import read_weights
from ..data.dataset import FaceDataset, Sample
from ..data.folder import Defects
from .shard import Shard, damaged_file, is_from

PER_SHARD = 64
"""Records in a file."""
_OPEN = 256
"""Files that a process keeps open."""


@dataclass(frozen=True)
class ShardPlan:
    """Which records are in which file: those of one shape after another, in order.

    folder: Of the cache. groups: The records by shape (``FaceDataset.groups``).
    """

    folder: Path
    groups: Sequence[Sequence[int]]

    @cached_property
    def shards(self) -> list[Sequence[int]]:
        """The records of each file."""
        return [
            group[first : first + PER_SHARD]
            for group in self.groups
            for first in range(0, len(group), PER_SHARD)
        ]

    @property
    def empty(self) -> Path:
        """The file of the empty prompt."""
        return self.folder / "empty.safetensors"

    def path(self, shard: int) -> Path:
        """A file, by its number."""
        return self.folder / f"shard-{shard:06d}.safetensors"


@dataclass(eq=False)
class CachedRecords:
    """What a cache holds of a data set (``batches.Records``).

    digest: Of what the cache was made from (``manifest``).
    texts: Whether it holds hidden states of captions.
    """

    data: FaceDataset
    plan: ShardPlan
    digest: str
    texts: bool
    defects: Defects
    _shards: OrderedDict[int, Shard] = field(default_factory=OrderedDict)

    @property
    def folder(self) -> Path:
        """Of the data set, for messages."""
        return self.data.folder

    @property
    def images(self) -> FaceDataset:
        """The data set itself."""
        return self.data

    @property
    def checksum(self) -> str:
        """That of the data set."""
        return self.data.checksum

    @property
    def subjects(self) -> list[str]:
        """The person on each image."""
        return self.data.subjects

    @property
    def empty_context(self) -> Tensor | None:
        """Hidden states of the empty prompt [1, L, W]; None for a trainer that reads no texts.

        Raises:
            ModelFileError: The file is damaged.
        """
        if not self.texts:
            return None
        try:
            tensors, metadata = read_weights(self.plan.empty)
        except ModelFileError as error:
            raise damaged_file(self.plan.empty) from error
        if not is_from(metadata, self.plan.empty, self.digest) or "context" not in tensors:
            raise damaged_file(self.plan.empty)
        return tensors["context"]

    def __len__(self) -> int:
        return len(self.data)

    def groups(self) -> Sequence[Sequence[int]]:
        """The records by shape."""
        return self.plan.groups

    def sample(self, number: int, variant: int = 0) -> Sample | None:
        """A variant of a record; None, which is noted, if it cannot be used.

        Raises:
            ModelFileError: A file of the cache is missing or damaged.
        """
        shard, place = self._place(number)
        found = shard.sample(place, variant)
        if found is None:
            for what, where in shard.defects:
                self.defects.note(what, where)
        return found

    def feature(self, number: int) -> Tensor:
        """The identity of a record; NaN where it has none."""
        shard, place = self._place(number)
        return shard.feature(place)

    @cached_property
    def _places(self) -> dict[int, tuple[int, int]]:
        return {
            record: (shard, place)
            for shard, records in enumerate(self.plan.shards)
            for place, record in enumerate(records)
        }

    def _place(self, number: int) -> tuple[Shard, int]:
        """The open file of a record, and its place in it."""
        index, place = self._places[number]
        shard = self._shards.get(index)
        if shard is None:
            shard = self._shards[index] = Shard(self.plan.path(index), self.digest)
        self._shards.move_to_end(index)
        if len(self._shards) > _OPEN:
            self._shards.popitem(last=False)
        return shard, place

    def __getstate__(self) -> dict[str, Any]:
        """Without open files, which belong to their process."""
        return {**vars(self), "_shards": OrderedDict()}
