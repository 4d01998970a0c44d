"""An endless, shuffled stream of batches from a dense-annotation data set, the same after a kill.

A batch is a fixed number of records, not of usable images: so a resumed run can pass over what
it had seen without decoding it, and defective records only make their batch smaller.
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
SHUFFLED = 1000
"""So many records wait at a time to be drawn by chance."""
Batch = dict[str, Any]
_MOST_EMPTY = 100
"""So many batches without a usable image in a row are too many."""


class FaceStream(FaceDataset):
    """Records of a data set over and over, in another order each time.

    Args:
        folder, size, map_size, scheme: As in :class:`.FaceDataset`.
        seed: Of the order.
        batch: Records in a batch.
        share: Number of this process from 0, and of how many: each has records of its own.
        skip: Batches that an earlier run has used.
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
        share: tuple[int, int] = (0, 1),
        skip: int = 0,
    ) -> None:
        super().__init__(folder, size, map_size, scheme)
        self.seed, self.batch, self.share, self.skip = seed, batch, share, skip

    def __iter__(self) -> Iterator[Any]:
        """Samples of :class:`.FaceDataset`; None for a record without a usable image.

        Raises:
            InputError: There is not one usable image in this share.
        """
        worker = get_worker_info()
        number, workers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        # Worker w makes the batches w, w + workers, ...
        skipped = self.batch * (max(0, self.skip - number + workers - 1) // workers)
        share = self.share[0] * workers + number, self.share[1] * workers
        for record in islice(self._endless(share), skipped, None):
            yield self._sample(record)

    def _endless(self, share: tuple[int, int]) -> Iterator[Record]:
        for turn in count():
            chance = random.Random(f"{self.seed} {share} {turn}")
            found = 0
            for record in _shuffled(self._records(*share), chance):
                found += 1
                yield record
            if not found:
                raise InputError(
                    "the data set has no images for a process",
                    where=f"share {share[0] + 1} of {share[1]}: {'; '.join(self.defects.lines())}",
                    fix="Use fewer processes or mend the data set",
                )
            if turn == 0:
                for line in self.defects.lines():
                    log.warning("left out: %s", line)


def batches(stream: FaceStream, workers: int) -> Iterator[Batch | None]:
    """Batches of samples as tensors with a first dimension; None for one without any image."""
    return iter(DataLoader(stream, stream.batch, num_workers=workers, collate_fn=_collate))


class ResumedBatches(nn.Module):
    """The batches of a stream; how many were used is saved with a task's weights.

    Args:
        dataset: Where it is, for messages.
        open_stream: Makes the stream, told how many batches to pass over.
        workers: Processes that read images.
        share: Number of this process from 0, and of how many.
    """

    used: Tensor

    def __init__(
        self,
        dataset: Path,
        open_stream: Callable[[int], FaceStream],
        workers: int,
        share: tuple[int, int],
    ) -> None:
        super().__init__()
        self.register_buffer("used", torch.zeros((), dtype=torch.int64))
        self.share, self.dataset = share, dataset
        self._open, self._workers = open_stream, workers
        self._batches: Iterator[Batch | None] | None = None

    def next(
        self,
        usable: Callable[[Batch], Batch | None] = lambda batch: batch,
        fix: str = "See the lines above",
    ) -> Batch:
        """The next batch with an image.

        Args:
            usable: What of a batch can be used; None for nothing.
            fix: What to do where there are none.

        Raises:
            InputError: There are none for a long time.
        """
        if self._batches is None:
            self._batches = batches(self._open(int(self.used)), self._workers)
        for _ in range(_MOST_EMPTY):
            batch = next(self._batches)
            self.used += 1
            found = None if batch is None else usable(batch)
            if found is not None:
                return found
        raise InputError("the data set's images cannot be used", where=str(self.dataset), fix=fix)

    def chance(self, generator: torch.Generator) -> torch.Generator:
        """This process's own generator of a step."""
        number, processes = self.share
        own = torch.randint(2**62, (processes,), generator=generator)[number]
        return torch.Generator().manual_seed(int(own))


def _collate(samples: list[Batch | None]) -> Batch | None:
    usable = [sample for sample in samples if sample is not None]
    return default_collate(usable) if usable else None


def _shuffled(records: Iterator[Record], chance: random.Random) -> Iterator[Record]:
    """Each record once, drawn from the :data:`SHUFFLED` next ones."""
    waiting: list[Record] = []
    for record in records:
        waiting.append(record)
        if len(waiting) == SHUFFLED:
            place = chance.randrange(SHUFFLED)
            waiting[place], waiting[-1] = waiting[-1], waiting[place]
            yield waiting.pop()
    chance.shuffle(waiting)
    yield from waiting
