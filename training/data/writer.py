"""Writers of annotated faces: folders in the Dense-Face layout, or WebDataset shards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from .folder import FaceFolderWriter
from .record import Record


class Writer(Protocol):
    """Takes groups of people; a finished group is never written again.

    people_at_once: People in a group.
    """

    people_at_once: int

    def finished(self, group: int, people: Sequence[int], /) -> bool:
        """Whether a group is complete."""
        ...

    def write(self, group: int, people: Sequence[int], records: Sequence[Record], /) -> None:
        """Write a group; InputError where that is impossible."""
        ...

    def finish(self) -> int:
        """Join the groups, where there is something to join."""
        ...

    def images(self) -> Counter[str]:
        """The number of images of each person who is finished."""
        ...


def open_writer(form: str, folder: Path) -> Writer:
    """The writer of a form, ``folder`` or ``webdataset``."""
    if form == "folder":
        return FaceFolderWriter(folder)
    from .shards import FaceShardWriter  # lazy: the library webdataset is optional

    return FaceShardWriter(folder)
