"""Writers of annotated faces: folders in the Dense-Face layout, or WebDataset shards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from .folder import FaceFolderWriter
from .people import Person
from .record import Record


@dataclass(frozen=True)
class Group:
    """People who are written together, and their number among the groups."""

    number: int
    people: tuple[Person, ...]

    @property
    def ids(self) -> list[int]:
        """The people's numbers."""
        return [person.subject_id for person in self.people]

    @property
    def images(self) -> int:
        """The number of their images."""
        return sum(len(person.images) for person in self.people)


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


def groups_of(people: Sequence[Person], writer: Writer) -> list[Group]:
    """The groups in which a writer takes people."""
    size = writer.people_at_once
    firsts = range(0, len(people), size)
    return [Group(n, tuple(people[i : i + size])) for n, i in enumerate(firsts)]


def complete(people: Sequence[Person], writer: Writer) -> bool:
    """Whether all people are written."""
    return all(writer.finished(group.number, group.ids) for group in groups_of(people, writer))
