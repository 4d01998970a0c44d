"""Records in WebDataset shards: tar files that any training code can stream, on many machines.

A record is the files of one key: ``0000045-003.images.jpg``, ``0000045-003.masks.png``, ... and
``0000045-003.row.json``, its line of the table. The same records give the same bytes.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...errors import InputError
from ...storage import atomic_path
from .codec import FAULTS
from .folder import Defects
from .record import KINDS, Record, table_line, table_row

PEOPLE_PER_SHARD = 100
_NAME = "faces-{:06d}.tar"
_ROW = "row.json"


class FaceShardWriter:
    """Writes groups of people as shards; a shard that exists is kept.

    Raises:
        InputError: The folder cannot be written to.
    """

    people_at_once = PEOPLE_PER_SHARD

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for left in folder.glob(".faces-*.tar"):
            left.unlink(missing_ok=True)  # of a run that was killed

    def finished(self, group: int, _people: Sequence[int]) -> bool:
        """Whether a group is complete; nothing of it is read."""
        return (self.folder / _NAME.format(group)).is_file()

    def write(self, group: int, _people: Sequence[int], records: Sequence[Record]) -> None:
        """Write a group's shard, whole or not at all.

        Raises:
            InputError: The folder cannot be written to.
        """
        path = self.folder / _NAME.format(group)
        with atomic_path(path) as temporary, tarfile.open(temporary, "w") as tar:
            for record in records:
                key = record.key.replace("/", "-")
                for kind in KINDS:
                    if kind in record.files:
                        _add(tar, f"{key}.{kind}{KINDS[kind]}", record.files[kind])
                _add(tar, f"{key}.{_ROW}", json.dumps(table_line(record)).encode())

    def finish(self) -> int:
        """The number of shards; there is nothing to join."""
        return len(shard_files(self.folder))


def shard_files(folder: Path) -> list[Path]:
    """The shards in a folder, in order."""
    return sorted(folder.glob("faces-*.tar"))


def read_shards(
    paths: Sequence[Path], defects: Defects, *, shard: int = 0, shards: int = 1
) -> Iterator[Record]:
    """The records of shards as a stream; what cannot be read is noted and left out.

    Args:
        paths: Shards.
        defects: Gets what was wrong.
        shard, shards: Which share of the records: every ``shards``-th from ``shard`` on.
    """
    number = 0
    for path in paths:
        try:
            for key, files in _samples(path):
                if number % shards == shard:
                    record = _record(key, files, defects)
                    if record is not None:
                        yield record
                number += 1
        except (tarfile.TarError, OSError, EOFError):
            defects.note("shard damaged, its rest left out", path.name)


def _samples(path: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Key and files of each sample; those of a key stand together."""
    key, files = "", dict[str, bytes]()
    with tarfile.open(path, "r|") as tar:
        for entry in tar:
            name, _, kind = entry.name.partition(".")
            content = tar.extractfile(entry)
            if content is None:
                continue
            if files and name != key:
                yield key, files
                files = {}
            key, files = name, {**files, kind: content.read()}
    if files:
        yield key, files


def _record(key: str, files: dict[str, bytes], defects: Defects) -> Record | None:
    by_kind = {kind: files[kind + end] for kind, end in KINDS.items() if kind + end in files}
    try:
        row = table_row(json.loads(files[_ROW]))
        return Record(int(key.rpartition("-")[2]), row, by_kind)
    except InputError as error:
        defects.note(error.what, key)
    except FAULTS:
        defects.note("row unreadable", key)
    return None


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)  # times and owners stay zero: same input, same bytes
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))
