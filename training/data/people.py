"""The people on the photos of a folder."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...errors import InputError
from ...pipelines.face_report import SUFFIXES
from .record import index_of

_LONGEST = 7
"""Digits of a person's number."""


@dataclass(frozen=True)
class Person:
    """A person: number from 1, name of the folder or file, and the images."""

    subject_id: int
    name: str
    images: tuple[Path, ...]


def people_of(folder: Path) -> list[Person]:
    """The people of a folder: one per subfolder, and one per image directly in it.

    If all names are numbers of up to seven digits, these become the people's numbers; otherwise
    people are numbered in the order of their names.

    Raises:
        InputError: The folder is missing or holds no image.
    """
    found: dict[str, list[Path]] = {}
    for path in _images(folder):
        found.setdefault(path.relative_to(folder).parts[0], []).append(path)
    names = sorted(found)
    numbered = all(len(name) <= _LONGEST and index_of(name) > 0 for name in names)
    ids = [int(name) for name in names] if numbered else list(range(1, len(names) + 1))
    if len(set(ids)) != len(ids):
        ids = list(range(1, len(names) + 1))
    return [Person(i, name, tuple(found[name])) for i, name in zip(ids, names, strict=True)]


def photos_of(folder: Path) -> list[Person]:
    """Every image of a folder and those below it as a person of its own, in the order of paths.

    Raises:
        InputError: As :func:`people_of`; or there are more images than numbers.
    """
    images = _images(folder)
    if len(images) >= 10**_LONGEST:
        raise InputError(
            f"the folder holds {len(images)} images", where=str(folder), fix="Split it"
        )
    return [
        Person(number, path.relative_to(folder).as_posix(), (path,))
        for number, path in enumerate(images, 1)
    ]


def people_count(count: int) -> str:
    """Words such as "1 person" or "8 people"."""
    return "1 person" if count == 1 else f"{count} people"


def people_line(images: Mapping[str, int]) -> str:
    """How many people have how many images, in a line; from the number of images of each."""
    counts = [count for count in images.values() if count]
    if not counts:
        return "no people"
    alone, median = counts.count(1), statistics.median_high(counts)
    return (
        f"{sum(counts)} images of {people_count(len(counts))}: "
        f"{min(counts)} to {max(counts)} of each, median {median}; {alone} with a single image"
    )


def _images(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise InputError("the folder is missing", where=str(folder), fix="Correct the path")
    found = [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in SUFFIXES and path.is_file()
    ]
    if not found:
        raise InputError(
            "the folder holds no images",
            where=str(folder),
            fix="Give PNG, JPEG or WebP files, a subfolder for each person",
        )
    return found
