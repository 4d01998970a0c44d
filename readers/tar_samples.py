"""Where the samples of a WebDataset shard, a tar file, are, found with bounded memory.

The library webdataset would unpack compressed archives and the zeros of sparse files without limit.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from .. import limits

_NAME = re.compile(r"((?:.*/|)[^.]+)[.]([^/]*)", re.DOTALL)
"""Key and ending, at the first dot of the file's name."""


Place = tuple[int, int]
"""Where a file of a sample is in its archive: offset and size in bytes."""


def index_samples(path: Path) -> Iterator[tuple[str, dict[str, Place]]]:
    """Key and places by ending of each sample: successive files of one key. Contents are not read.

    Raises:
        Exception: Of any kind, where the archive is damaged or a sample is too large.
    """
    key, files, total = "", dict[str, Place](), 0
    with tarfile.open(path, "r:") as archive:  # not compressed
        while (member := archive.next()) is not None:
            # Else it remembers all of them.
            archive.members = []  # pyright: ignore[reportAttributeAccessIssue]
            match = _NAME.fullmatch(member.name)
            if match is None or not member.isreg():
                continue
            if match[1] != key and files:
                yield key, files
                files, total = {}, 0
            key, kind = match.groups()
            total += member.size
            if kind in files or len(files) == limits.RECORD_FILES or member.issparse():
                raise ValueError(f"the sample {key} holds too much")
            if total > limits.RECORD_BYTES:
                raise ValueError(f"the sample {key} is too large")
            files[kind] = member.offset_data, member.size
    if files:
        yield key, files


def read_place(stream: BinaryIO, place: Place) -> bytes:
    """A file of a sample; ``stream`` is the open archive.

    Raises:
        EOFError: The archive ends too early.
        OSError: It cannot be read.
    """
    offset, size = place
    stream.seek(offset)
    content = stream.read(size)
    if len(content) != size:
        raise EOFError("it ends too early")
    return content
