"""Data set folders in the Dense-Face layout: written person by person, read as a stream.

    OUT/faces_headpose.csv            the table, one line per image
    OUT/faces_subjects.txt            people, one seven-digit number per line
    OUT/faces/0000045/images/003.jpg  a file of a kind (``record.KINDS``)
    OUT/faces/0000045/rows.csv        the person's lines of the table; written last

A person with ``rows.csv`` is finished. A killed run leaves at most one person unfinished, who is
then written again.
"""

from __future__ import annotations

import csv
import hashlib
import shutil
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ... import limits
from ...errors import InputError
from ...readers.files import inside, read_bytes
from ...storage import atomic_path, remove_leftovers, sparse_checksum
from .record import (
    COLUMNS,
    FILE_COLUMNS,
    KINDS,
    Record,
    index_of,
    table_line,
    table_row,
    table_text,
)

FACES = "faces"
TABLE = "faces_headpose.csv"
SUBJECTS = "faces_subjects.txt"
ROWS = "rows.csv"
_EXAMPLES = 5
_BESIDE = ("images_v2", "feat_file_v2")
"""Kinds that a table may leave out, or list under paths that do not exist."""


@dataclass
class Defects:
    """Defects found while reading: a count for each kind, and a few examples of where."""

    counts: Counter[str] = field(default_factory=Counter)
    places: dict[str, list[str]] = field(default_factory=dict)

    def note(self, what: str, where: str, many: int = 1) -> None:
        """Count a defect."""
        self.counts[what] += many
        known = self.places.setdefault(what, [])
        if len(known) < _EXAMPLES:
            known.append(where)

    def add(self, others: Defects) -> None:
        """Count others, too."""
        for what, places in others.places.items():
            self.note(what, places[0], others.counts[what])
            known = self.places[what]
            known += places[1 : 1 + _EXAMPLES - len(known)]

    def lines(self) -> list[str]:
        """A line for each kind of defect."""
        found = []
        for what, count in sorted(self.counts.items()):
            places = self.places[what] + ["..."] * (count > len(self.places[what]))
            found.append(f"{what}: {count} ({', '.join(places)})")
        return found


class FaceFolderWriter:
    """Writes people into a folder in the Dense-Face layout; finished people are kept."""

    people_at_once = 1

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        remove_leftovers(folder)

    def finished(self, _group: int, people: Sequence[int]) -> bool:
        """Whether a person is finished."""
        return all((self._home(subject) / ROWS).is_file() for subject in people)

    def write(self, _group: int, people: Sequence[int], records: Sequence[Record]) -> None:
        """Write all images of a person (there may be none); an unfinished earlier try is removed.

        Raises:
            InputError: The folder cannot be written to; no half-written person is left.
        """
        (subject,) = people
        home = self._home(subject)
        try:
            if home.exists():
                shutil.rmtree(home)
        except OSError as error:
            raise _unwritable(home, error) from error
        try:
            for record in records:
                for kind, data in record.files.items():
                    path = self.folder / FACES / record.path(kind)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(data)
            lines = [table_line(record) for record in records]
            with atomic_path(home / ROWS) as temporary:
                temporary.write_text(table_text(lines), encoding="utf-8")
        except OSError as error:
            with suppress(OSError):
                shutil.rmtree(home)
            raise _unwritable(home, error) from error
        except BaseException:
            with suppress(OSError):
                shutil.rmtree(home)
            raise

    def finish(self) -> int:
        """Write the table of all finished people and return the number of images."""
        homes = sorted(path.parent for path in (self.folder / FACES).glob(f"*/{ROWS}"))
        rows = [(home / ROWS).read_text(encoding="utf-8").split("\n", 1)[1] for home in homes]
        with atomic_path(self.folder / TABLE) as temporary:
            temporary.write_text(table_text([]) + "".join(rows), encoding="utf-8")
        with atomic_path(self.folder / SUBJECTS) as temporary:
            temporary.write_text("".join(f"{home.name}\n" for home in homes))
        return sum(1 for _ in csv.reader("".join(rows).splitlines(keepends=True)))

    def images(self) -> Counter[str]:
        """The number of images of each finished person."""
        homes = sorted(path.parent for path in (self.folder / FACES).glob(f"*/{ROWS}"))
        found: Counter[str] = Counter()
        for home in homes:
            with (home / ROWS).open(newline="", encoding="utf-8") as file:
                found[home.name] = sum(1 for _ in csv.DictReader(file))
        return found

    def _home(self, subject_id: int) -> Path:
        return self.folder / FACES / f"{subject_id:07d}"


def find_table(folder: Path) -> Path:
    """The table of a data set: the only CSV file in its folder or one level below.

    Raises:
        InputError: There is none, or there are several.
    """
    found = [path for pattern in ("*.csv", "*/*.csv") for path in sorted(folder.glob(pattern))]
    found = [path for path in found if path.name != ROWS]
    if len(found) != 1:
        raise InputError(
            f"the folder holds {len(found) or 'no'} tables",
            where=str(folder),
            fix="Name the folder of one data set with its CSV file",
        )
    return found[0]


@dataclass(frozen=True)
class TableEntry:
    """Where a record is: its line of the table, without empty columns, and the line's number.

    folders: Where its files may be.
    """

    line: Mapping[str, str]
    where: str
    folders: tuple[Path, ...]

    @property
    def subject(self) -> str:
        """The person's number, as the table has it."""
        return self.line.get("subject_id", "")

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of files that the line names."""
        return frozenset(kind for kind, column in FILE_COLUMNS.items() if column in self.line)

    @cached_property
    def checksum(self) -> bytes:
        """Of the line and the files, those beside the image, too (``storage.sparse_checksum``)."""
        names = [self.line[column] for column in FILE_COLUMNS.values() if column in self.line]
        if "face_file" in self.line:  # else the record is not read
            names += [_beside(self.line["face_file"], kind) for kind in _BESIDE]
        found = [_checksum(name, self.folders) for name in names]
        return hashlib.sha256(f"{sorted(self.line.items())} {found}".encode()).digest()

    def read(self, defects: Defects, kinds: Container[str] = KINDS) -> Record | None:
        """The record with files of these kinds; None if it has no image or its line is unreadable.

        Missing files are noted.
        """
        files: dict[str, bytes] = {}
        for kind, column in FILE_COLUMNS.items():
            name = self.line.get(column, "")
            if kind not in kinds:
                continue
            data = _read(name, self.folders) if name else None
            if data is not None:
                files[kind] = data
            elif name or kind == "images":
                defects.note(f"{column} missing", self.where)
        if "images" not in files:
            return None
        face_file = self.line["face_file"]
        for kind in _BESIDE:
            wanted = kind in kinds and kind not in files
            data = _read(_beside(face_file, kind), self.folders) if wanted else None
            if data is not None:
                files[kind] = data
        if "feat_file_v2" in kinds and "feat_file_v2" not in files:
            defects.note("no identity features", self.where)
        try:
            row = table_row({**self.line, "aligned_size": self.line.get("aligned_size", "0")})
            return Record(index_of(Path(face_file).stem), row, files)
        except InputError as error:
            defects.note(error.what, self.where)
            return None


def index_table(table: Path, defects: Defects) -> Iterator[TableEntry]:
    """The lines of a table, in order; defects are noted, duplicates left out.

    Args:
        table: The CSV file; paths in it are relative to its folder, to ``faces`` in it, or to the
            folder above.

    Raises:
        InputError: The table cannot be read or lacks the columns of images and people.
    """
    seen: set[str] = set()
    folders = (table.parent, table.parent / FACES, table.parent.parent)
    for number, line in enumerate(_lines(table, defects)):
        where = f"line {number + 2}"
        name = (line.get("face_file") or "").strip()
        if name in seen:
            defects.note("duplicate row, left out", where)
            continue
        seen.add(name)
        filled = {k: v.strip() for k, v in line.items() if isinstance(v, str) and v.strip()}
        yield TableEntry(filled, where, folders)


def read_records(table: Path, defects: Defects) -> Iterator[Record]:
    """Stream the records of a table; defects are noted, and a record loses what is defective.

    Raises:
        InputError: As :func:`index_table`.
    """
    for entry in index_table(table, defects):
        record = entry.read(defects)
        if record is not None:
            yield record


def _lines(table: Path, defects: Defects) -> Iterator[dict[str, str | None]]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            lacking = {"face_file", "subject_id"} - set(reader.fieldnames or ())
            if lacking:
                raise InputError(
                    f"the table lacks the column {sorted(lacking)[0]}",
                    where=str(table),
                    fix="Name the CSV file of a dense-annotation data set",
                )
            for column in COLUMNS:
                if column not in (reader.fieldnames or ()):
                    defects.note("column missing", column)
            yield from reader
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"the table cannot be read: {error}", where=str(table), fix="Correct the path"
        ) from error


def _beside(face_file: str, kind: str) -> str:
    path = Path(face_file)
    return str(path.parent.parent / kind / f"{path.stem}{KINDS[kind]}")


def _read(name: str, folders: Sequence[Path]) -> bytes | None:
    """A file of the data set from the first folder that has it."""
    for path in _paths(name, folders):
        with suppress(OSError, ValueError):
            return read_bytes(path, limits.RECORD_BYTES)
    return None


def _checksum(name: str, folders: Sequence[Path]) -> str:
    """Of the file that :func:`_read` reads; empty if there is none."""
    for path in _paths(name, folders):
        with suppress(OSError), path.open("rb") as stream:
            return sparse_checksum(stream, 0, path.stat().st_size)
    return ""


def _paths(name: str, folders: Sequence[Path]) -> Iterator[Path]:
    """The regular files of this name, never outside of the folders."""
    for folder in folders:
        with suppress(OSError, ValueError):
            path = inside(folder, name)
            if path is not None and path.is_file():
                yield path


def _unwritable(path: Path, error: OSError) -> InputError:
    return InputError(
        f"the data set cannot be written: {error.strerror or error}",
        where=str(path),
        fix="Choose a folder that can be written and has room",
    )
