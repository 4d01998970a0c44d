"""The batches of a training run: shuffled, endless, and each known by its number alone.

Image ``p`` of a run is image ``p % N`` of a new permutation of the N records in every epoch, so
the batches are the same for every number of workers, wherever a run resumes, and however many
processes share them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from ...errors import InputError
from .dataset import FaceDataset, Sample
from .folder import Defects

log = logging.getLogger(__name__)
Batch = dict[str, Any]
Draw = tuple[int, int]
"""Number of an image in the run, and of its record."""
_MAX_UNUSABLE = 100
"""Successive records without a usable image after which training gives up."""


class Batches:
    """The data set of a training run.

    Records that cannot be used are replaced by the next one, so all batches are of the same size.

    Args:
        data: The records.
        size: Images in a batch, of one process.
        usable: Whether a sample can be trained on.
        needed: For the error message: what makes a sample usable.
        add: Adds to a sample what depends on its number in the run.
        workers: Processes that read images, for each training process.
    """

    def __init__(
        self,
        data: FaceDataset,
        size: int,
        seed: int,
        *,
        workers: int = 0,
        usable: Callable[[Sample], bool] = lambda sample: True,
        needed: str = "See the lines above",
        add: Callable[[Sample, Draw], None] = lambda sample, draw: None,
    ) -> None:
        self.data, self.size, self.workers = data, size, workers
        self.checksum = data.checksum
        self._draws = _Draws(data, usable, add)
        self._seed, self._needed = seed, needed
        self._reported = Defects()

    def loader(self, start: int, end: int) -> DataLoader[Batch]:
        """Batches ``start`` to ``end`` of all processes together; accelerate distributes them.

        Raises:
            InputError: The data set is empty; while reading: hardly any record can be used.
        """
        self._report(self.data.defects)
        if not len(self.data):
            raise InputError(
                "the data set has no images", where=str(self.data.folder), fix=self._needed
            )
        return DataLoader(
            self._draws,
            batch_sampler=_Order(len(self.data), self.size, self._seed, start, end),
            num_workers=self.workers,
            collate_fn=_collate,
        )

    def checked(self, batch: Batch) -> Batch:
        """A batch of the loader; what its worker could not use is reported.

        Raises:
            InputError: Hardly any record can be used.
        """
        for what, where in batch.pop("defects"):
            found = Defects()
            found.note(what, where)
            self._report(found)
        if not batch:
            raise InputError(
                "the data set's images cannot be used",
                where=str(self.data.folder),
                fix=self._needed,
            )
        return batch

    def _report(self, found: Defects) -> None:
        """Log a defect the first time that one of its kind is found."""
        for what, places in found.places.items():
            if what not in self._reported.counts:
                count = found.counts[what]
                log.warning("left out: %s: %d (%s)", what, count, ", ".join(places))
            self._reported.note(what, places[0], found.counts[what])


class _Draws(Dataset[Sample]):
    """The samples of a run by :data:`Draw`, with the defects met on the way."""

    def __init__(
        self,
        data: FaceDataset,
        usable: Callable[[Sample], bool],
        add: Callable[[Sample, Draw], None],
    ) -> None:
        self._data, self._usable, self._add = data, usable, add

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, draw: Draw) -> Sample:
        """A usable sample with ``defects``; nothing but these if there is none."""
        number, record = draw
        self._data.defects = Defects()
        for step in range(min(_MAX_UNUSABLE, len(self._data))):
            chosen = (record + step) % len(self._data)
            sample = self._data.sample(chosen)
            if sample is not None and self._usable(sample):
                self._add(sample, (number, chosen))
                return {**sample, "defects": self._defects()}
        return {"defects": self._defects()}

    def _defects(self) -> list[tuple[str, str]]:
        return [(what, p[0]) for what, p in self._data.defects.places.items()]


class _Order(Sampler[list[Draw]]):
    """The draws of batches ``start`` to ``end``, in the order of the run."""

    def __init__(self, records: int, batch_size: int, seed: int, start: int, end: int) -> None:
        self._records, self._seed = records, seed
        self.batch_size, self.drop_last = batch_size, True  # accelerate reads them
        self._start, self._end = start, end

    def __len__(self) -> int:
        return self._end - self._start

    def __iter__(self) -> Iterator[list[Draw]]:
        epoch, order = -1, list[int]()
        for batch in range(self._start, self._end):
            draws: list[Draw] = []
            for number in range(batch * self.batch_size, (batch + 1) * self.batch_size):
                if number // self._records != epoch:
                    epoch = number // self._records
                    order = self._permutation(epoch)
                draws.append((number, order[number % self._records]))
            yield draws

    def _permutation(self, epoch: int) -> list[int]:
        generator = torch.Generator().manual_seed((self._seed * 1_000_003 + epoch) % 2**63)
        return torch.randperm(self._records, generator=generator).tolist()


def _collate(samples: list[Sample]) -> Batch:
    defects = [defect for sample in samples for defect in sample.pop("defects")]
    if not all(samples):
        return {"defects": defects}
    return {**default_collate(samples), "defects": defects}
