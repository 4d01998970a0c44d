"""The photographs that a trainer reads: which can be used, and what is added to each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..data.dataset import FaceDataset, Sample
from ..data.order import Draw

Check = Callable[[Sample], bool]
Addition = Callable[[Sample, Draw], None]


# Not functions inside a function, which could not be sent to the processes that read images.
@dataclass(frozen=True)
class AllOf:
    """Whether all checks pass."""

    checks: tuple[Check, ...] = ()

    def __call__(self, sample: Sample) -> bool:
        return all(check(sample) for check in self.checks)


@dataclass(frozen=True)
class EachOf:
    """All additions, one after another."""

    additions: tuple[Addition, ...] = ()

    def __call__(self, sample: Sample, draw: Draw) -> None:
        for add in self.additions:
            add(sample, draw)


@dataclass(frozen=True, eq=False)
class PhotoSet:
    """The photographs of a trainer.

    usable: Whether a sample can be trained on.
    add: Adds to a sample what depends on its record and variant alone.
    needed: For the error message: what makes a sample usable.
    """

    data: FaceDataset
    usable: Check = AllOf()
    add: Addition = EachOf()
    needed: str = "See the lines above"
