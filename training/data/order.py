"""The order of a run's images: shuffled, endless, and each batch known by its number alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Sampler

_PER_GROUP = 0x9E3779B97F4A7C15


class Draw(NamedTuple):
    """An image of a run: its number in the run, its record, and the number of the epoch."""

    number: int
    record: int
    epoch: int


@dataclass(frozen=True)
class Order:
    """Batches of ``size`` records, each from one group.

    With one group, image ``p`` of the run is image ``p % N`` of a new permutation of the N records
    in every epoch. With several, each group is permuted and cut into batches of its own, the last
    of which begins the group again, and an epoch is a permutation of all these batches.

    groups: Numbers of the records by shape.
    """

    groups: Sequence[Sequence[int]]
    size: int
    seed: int

    def __len__(self) -> int:
        """Number of records."""
        return sum(map(len, self.groups))

    def draw(self, number: int) -> Draw:
        """Image ``number`` of the run."""
        if len(self.groups) == 1:
            (group,) = self.groups
            epoch, place = divmod(number, len(group))
            return Draw(number, group[int(self._permuted(len(group), epoch)[place])], epoch)
        batches = [-(-len(group) // self.size) for group in self.groups]
        epoch, place = divmod(number // self.size, sum(batches))
        place, index = int(self._permuted(sum(batches), epoch)[place]), 0
        while place >= batches[index]:
            place, index = place - batches[index], index + 1
        group = self.groups[index]
        place = (place * self.size + number % self.size) % len(group)
        return Draw(number, group[int(self._permuted(len(group), epoch, index + 1)[place])], epoch)

    def after(self, record: int, steps: int) -> int:
        """The record ``steps`` places after another in its group."""
        index, place = self._places[record]
        group = self.groups[index]
        return group[(place + steps) % len(group)]

    @cached_property
    def _places(self) -> dict[int, tuple[int, int]]:
        """Group and place in it of each record."""
        return {
            record: (index, place)
            for index, group in enumerate(self.groups)
            for place, record in enumerate(group)
        }

    def _permuted(self, count: int, epoch: int, group: int = 0) -> Tensor:
        return _permutation(count, (self.seed * 1_000_003 + epoch + group * _PER_GROUP) % 2**63)


class BatchOrder(Sampler[list[int]]):
    """Numbers of the images of batches ``start`` to ``end``.

    Which records they are is found out where they are read, not in every process for all.
    """

    def __init__(self, size: int, start: int, end: int) -> None:
        self._start, self._end = start, end
        self.batch_size, self.drop_last = size, True  # accelerate reads them

    def __len__(self) -> int:
        return self._end - self._start

    def __iter__(self) -> Iterator[list[int]]:
        size = self.batch_size
        return (
            list(range(batch * size, (batch + 1) * size)) for batch in range(self._start, self._end)
        )


@lru_cache(maxsize=32)
def _permutation(count: int, seed: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))
