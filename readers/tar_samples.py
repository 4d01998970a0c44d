"""Samples of a WebDataset shard, a tar file, with bounded memory.

The library webdataset would unpack compressed archives and the zeros of sparse files without limit.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

from .. import limits

_NAME = re.compile(r"((?:.*/|)[^.]+)[.]([^/]*)", re.DOTALL)
"""Key and ending, at the first dot of the file's name."""


def read_samples(path: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Key and files by ending of each sample: successive files of one key.

    Raises:
        Exception: Of any kind, where the archive is damaged or a sample is too large.
    """
    key, files, total = "", dict[str, bytes](), 0
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
            total += member.size  # of a sparse file with its zeros
            if kind in files or len(files) == limits.RECORD_FILES:
                raise ValueError(f"the sample {key} holds too much")
            if total > limits.RECORD_BYTES:
                raise ValueError(f"the sample {key} is too large")
            stream = archive.extractfile(member)
            content = b"" if stream is None else stream.read()
            if len(content) != member.size:
                raise EOFError("it ends too early")
            files[kind] = content
    if files:
        yield key, files
