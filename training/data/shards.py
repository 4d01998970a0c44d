"""WebDataset shards: tar files that any training code can stream, on many machines.

Each sample of a shard is a group of files with the same key. A shard of records holds
``0000045-003.images.jpg``, ``0000045-003.masks.png``, … and ``0000045-003.row.json``, the record's
line of the table. The same samples give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from webdataset.writer import TarWriter

from ...errors import FacePackError
from ...readers.json_text import parse_json
from ...readers.tar_samples import Place, index_samples, read_place
from ...storage import atomic_path, sparse_checksum
from .folder import Defects
from .record import KINDS, Record, index_of, table_line, table_row

PEOPLE_PER_SHARD = 100
_NAME = "faces-{:06d}.tar"
_ROW = "row.json"


def write_shard(path: Path, samples: Iterable[tuple[str, Mapping[str, bytes]]]) -> None:
    """Write samples, each a key and its files by extension, as one shard, whole or not at all.

    Raises:
        InputError: The folder cannot be written to.
    """
    with (
        atomic_path(path) as temporary,
        temporary.open("wb") as stream,
        # No times and owners: the same samples have to give the same bytes.
        TarWriter(stream, user="", group="", mode=0o644, mtime=0, encoder=False) as tar,
    ):
        for key, files in samples:
            tar.write({"__key__": key, **files})


class FaceShardWriter:
    """Writes groups of people as shards; existing shards are kept."""

    people_at_once = PEOPLE_PER_SHARD

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def finished(self, group: int, _people: Sequence[int]) -> bool:
        """Whether the shard of a group exists; it is not read."""
        return (self.folder / _NAME.format(group)).is_file()

    def write(self, group: int, _people: Sequence[int], records: Sequence[Record]) -> None:
        """Write the shard of a group, whole or not at all.

        Raises:
            InputError: The folder cannot be written to.
        """
        write_shard(self.folder / _NAME.format(group), map(_sample, records))

    def finish(self) -> int:
        """The number of shards; nothing is left to join."""
        return len(shard_files(self.folder))

    def images(self) -> Counter[str]:
        """The number of images of each person in the shards."""
        return Counter(entry.subject for entry in index_shards(shard_files(self.folder), Defects()))


def shard_files(folder: Path) -> list[Path]:
    """The record shards in a folder, in order."""
    return sorted(folder.glob("faces-*.tar"))


@dataclass(frozen=True)
class ShardEntry:
    """Where a record is: shard, key and the places of its files by ending."""

    shard: Path
    key: str
    places: Mapping[str, Place]

    @property
    def subject(self) -> str:
        """The person, as the key names them."""
        return self.key.rpartition("-")[0]

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of files that the record has."""
        return frozenset(kind for kind, end in KINDS.items() if kind + end in self.places)

    @cached_property
    def checksum(self) -> bytes:
        """Of the key, and of the files (``storage.sparse_checksum``)."""
        digest = hashlib.sha256(_bytes(self.key))
        # An unreadable shard is noted when the record is read.
        with suppress(OSError), self.shard.open("rb") as stream:
            for end, place in sorted(self.places.items()):
                digest.update(_bytes(f"|{end}|{sparse_checksum(stream, *place)}"))
        return digest.digest()

    def read(self, defects: Defects, kinds: Container[str] = KINDS) -> Record | None:
        """The record with files of these kinds; None, which is noted, if it is unreadable."""
        wanted = {_ROW, *(kind + end for kind, end in KINDS.items() if kind in kinds)}
        try:
            with self.shard.open("rb") as stream:
                files = {
                    end: read_place(stream, place)
                    for end, place in self.places.items()
                    if end in wanted
                }
        except (OSError, EOFError):
            defects.note("shard unreadable", self.shard.name)
            return None
        return _record(self.key, files, defects)


def index_shards(paths: Sequence[Path], defects: Defects) -> Iterator[ShardEntry]:
    """Where the records of shards are, in order; damaged shards are noted, their rest left out."""
    for path in paths:
        try:
            for key, places in index_samples(path):
                yield ShardEntry(path, key, places)
        except Exception:  # a broken or hostile archive may raise anything
            defects.note("shard damaged, its rest left out", path.name)


def read_shards(paths: Sequence[Path], defects: Defects) -> Iterator[Record]:
    """Stream the records of shards; unreadable ones are noted and left out."""
    for entry in index_shards(paths, defects):
        record = entry.read(defects)
        if record is not None:
            yield record


def _bytes(name: str) -> bytes:
    """Those of a name in an archive, in whatever encoding it is."""
    return name.encode("utf-8", "surrogateescape")


def _sample(record: Record) -> tuple[str, dict[str, bytes]]:
    files = {f"{kind}{KINDS[kind]}": data for kind, data in record.files.items()}
    files[_ROW] = json.dumps(table_line(record)).encode()
    return record.key.replace("/", "-"), files


def _record(key: str, files: dict[str, bytes], defects: Defects) -> Record | None:
    by_kind = {kind: files[kind + end] for kind, end in KINDS.items() if kind + end in files}
    try:
        row = table_row(parse_json(files[_ROW]))
        return Record(index_of(key.rpartition("-")[2]), row, by_kind)
    except FacePackError as error:
        defects.note(error.what, key)
    except Exception:  # a broken or hostile row may raise anything
        defects.note("row unreadable", key)
    return None
