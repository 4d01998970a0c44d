"""The batches of a training run: shuffled, endless, and each known by its number alone.

So they are the same for every number of workers, wherever a run resumes, and however many
processes share them (``order``).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from ...errors import FacePackError, InputError
from .dataset import FaceDataset, Sample
from .folder import Defects
from .order import BatchOrder, Draw, Order

log = logging.getLogger(__name__)
Batch = dict[str, Any]
_MAX_UNUSABLE = 100
"""Successive records without a usable image after which training gives up."""


class Records(Protocol):
    """A data set: ``dataset.FaceDataset``, or what was computed from one (``cache``).

    folder: Where it is, for messages. checksum: Changes with its contents.
    subjects: The person on each image. defects: What was left out so far.
    """

    defects: Defects

    @property
    def folder(self) -> Path: ...

    @property
    def checksum(self) -> str: ...

    @property
    def subjects(self) -> Sequence[str]: ...

    def __len__(self) -> int: ...

    @property
    def images(self) -> FaceDataset:
        """The data set itself."""
        ...

    def groups(self) -> Sequence[Sequence[int]]:
        """The records by the shape of their samples."""
        ...

    def sample(self, number: int, variant: int = 0) -> Sample | None:
        """A variant of a sample; None, which is noted, if the record cannot be used."""
        ...

    def feature(self, number: int) -> Tensor:
        """The identity vector [512] of a record; NaN where it has none."""
        ...


class Batches:
    """The data set of a training run.

    Records that cannot be used are replaced by the next one, so all batches are of the same size.

    Args:
        data: The records.
        size: Images in a batch, of one process.
        usable: Whether a sample can be trained on.
        needed: For the error message: what makes a sample usable.
        add: Adds to a sample what depends on its number in the run.
        variants: Of each image; every epoch shows another one.
        workers: Processes that read images, for each training process.
    """

    def __init__(
        self,
        data: Records,
        size: int,
        seed: int,
        *,
        workers: int = 0,
        variants: int = 1,
        usable: Callable[[Sample], bool] = lambda sample: True,
        needed: str = "See the lines above",
        add: Callable[[Sample, Draw], None] = lambda sample, draw: None,
    ) -> None:
        self.data, self.size, self.workers = data, size, workers
        self.checksum = data.checksum
        self._order = Order(data.groups(), size, seed)
        self._draws = _Draws(data, self._order, variants, usable, add)
        self._needed, self._reported = needed, Defects()

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
            batch_sampler=BatchOrder(self.size, start, end),
            num_workers=self.workers,
            collate_fn=_collate,
        )

    def checked(self, batch: Batch) -> Batch:
        """A batch of the loader; what its worker could not use is reported.

        Raises:
            InputError: Hardly any record can be used.
            FacePackError: What a file of the data set was refused for.
        """
        if (refused := batch.get("refused")) is not None:
            raise refused
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
    """The samples of a run by number, with the defects met on the way."""

    def __init__(
        self,
        data: Records,
        order: Order,
        variants: int,
        usable: Callable[[Sample], bool],
        add: Callable[[Sample, Draw], None],
    ) -> None:
        self._data, self._order, self._variants = data, order, variants
        self._usable, self._add = usable, add

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, number: int) -> Sample:
        """A usable sample with ``defects``; nothing but these if there is none.

        ``refused`` is an error, which would lose its kind on the way out of this process.
        """
        self._data.defects = Defects()
        draw = self._order.draw(number)
        try:
            for step in range(min(_MAX_UNUSABLE, len(self._data))):
                chosen = draw._replace(record=self._order.after(draw.record, step))
                variant = (draw.epoch + chosen.record) % self._variants
                sample = self._data.sample(chosen.record, variant)
                if sample is not None and self._usable(sample):
                    self._add(sample, chosen)
                    return {**sample, "defects": self._defects()}
        except FacePackError as error:
            return {"refused": error, "defects": []}
        return {"defects": self._defects()}

    def _defects(self) -> list[tuple[str, str]]:
        return [(what, p[0]) for what, p in self._data.defects.places.items()]


def _collate(samples: list[Sample]) -> Batch:
    refused = [sample["refused"] for sample in samples if "refused" in sample]
    if refused:
        return {"refused": refused[0]}
    defects = [defect for sample in samples for defect in sample.pop("defects")]
    if not all(samples):
        return {"defects": defects}
    return {**default_collate(samples), "defects": defects}
