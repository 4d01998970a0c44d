"""An endless, shuffled, resumable stream of batches from a dense-annotation data set.

A batch is a fixed number of records, not of usable images: so a resumed run can skip records
without decoding them, and defective records only make their batch smaller.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, default_collate, get_worker_info

from ...errors import InputError
from .dataset import FaceDataset
from .record import Record

log = logging.getLogger(__name__)
SHUFFLE_BUFFER = 1000
"""Records in the buffer from which the next one is drawn at random."""
Batch = dict[str, Any]
_MAX_EMPTY = 100
"""Successive batches without a usable image after which training gives up."""


class FaceStream(FaceDataset):
    """The records of a data set over and over, in a new order in every epoch.

    Args:
        folder, size, map_size, scheme: As in :class:`.FaceDataset`.
        batch: Records in a batch.
        rank, world_size: This process and the number of processes; each reads other records.
        skip: Batches to skip, because an earlier run has used them.
    """

    def __init__(
        self,
        folder: Path,
        size: int,
        map_size: int,
        scheme: str,
        *,
        seed: int,
        batch: int,
        rank: int = 0,
        world_size: int = 1,
        skip: int = 0,
    ) -> None:
        super().__init__(folder, size, map_size, scheme)
        self.rank, self.world_size = rank, world_size
        self.seed, self.batch, self.skip = seed, batch, skip

    def __iter__(self) -> Iterator[Any]:
        """Samples of :class:`.FaceDataset`; None for a record without a usable image.

        Raises:
            InputError: No record is left for this process.
        """
        worker = get_worker_info()
        number, workers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        # Worker w makes the batches w, w + workers, ...
        skipped = self.batch * (max(0, self.skip - number + workers - 1) // workers)
        rank, world_size = self.rank * workers + number, self.world_size * workers
        for record in islice(self._endless(rank, world_size), skipped, None):
            yield self._sample(record)

    def _endless(self, rank: int, world_size: int) -> Iterator[Record]:
        for epoch in count():
            rng = random.Random(f"{self.seed} {(rank, world_size)} {epoch}")
            found = 0
            for record in _shuffled(self._records(rank, world_size), rng):
                found += 1
                yield record
            if not found:
                raise InputError(
                    "the data set has no images for a process",
                    where=f"process {rank + 1} of {world_size}: {'; '.join(self.defects.lines())}",
                    fix="Use fewer processes or repair the data set",
                )
            if epoch == 0:
                for line in self.defects.lines():
                    log.warning("left out: %s", line)


def batches(stream: FaceStream, workers: int) -> Iterator[Batch | None]:
    """Batches of samples, collated; None for a batch without any usable image."""
    return iter(DataLoader(stream, stream.batch, num_workers=workers, collate_fn=_collate))


class ResumedBatches(nn.Module):
    """The batches of a stream; the number of used ones is saved with the task's weights.

    Args:
        dataset: Its folder, for error messages.
        open_stream: Opens the stream; its argument is the number of batches to skip.
        rank, world_size: This training process and the number of them.
    """

    used: Tensor

    def __init__(
        self,
        dataset: Path,
        open_stream: Callable[[int], FaceStream],
        workers: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        super().__init__()
        self.register_buffer("used", torch.zeros((), dtype=torch.int64))
        self.rank, self.world_size, self.dataset = rank, world_size, dataset
        self._open, self._workers = open_stream, workers
        self._batches: Iterator[Batch | None] | None = None

    def next(
        self,
        usable: Callable[[Batch], Batch | None] = lambda batch: batch,
        fix: str = "See the lines above",
    ) -> Batch:
        """The next batch with a usable image.

        Args:
            usable: Reduces a batch to its usable samples; None if there are none.
            fix: For the error message.

        Raises:
            InputError: Too many batches in a row are unusable.
        """
        if self._batches is None:
            self._batches = batches(self._open(int(self.used)), self._workers)
        for _ in range(_MAX_EMPTY):
            batch = next(self._batches)
            self.used += 1
            found = None if batch is None else usable(batch)
            if found is not None:
                return found
        raise InputError("the data set's images cannot be used", where=str(self.dataset), fix=fix)

    def process_generator(self, generator: torch.Generator) -> torch.Generator:
        """This process's own generator, derived from the step's generator."""
        seeds = torch.randint(2**62, (self.world_size,), generator=generator)
        return torch.Generator().manual_seed(int(seeds[self.rank]))


def _collate(samples: list[Batch | None]) -> Batch | None:
    usable = [sample for sample in samples if sample is not None]
    return default_collate(usable) if usable else None


def _shuffled(records: Iterator[Record], rng: random.Random) -> Iterator[Record]:
    """Each record once, drawn from a buffer of :data:`SHUFFLE_BUFFER` records."""
    buffer: list[Record] = []
    for record in records:
        buffer.append(record)
        if len(buffer) == SHUFFLE_BUFFER:
            chosen = rng.randrange(SHUFFLE_BUFFER)
            buffer[chosen], buffer[-1] = buffer[-1], buffer[chosen]
            yield buffer.pop()
    rng.shuffle(buffer)
    yield from buffer
