"""PyTorch checkpoints (zip archives, since PyTorch 1.6) as lazy tensors.

``<name>/data.pkl`` is the table of contents, ``<name>/data/<key>`` are the numbers, uncompressed.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase, BytesIO
from typing import cast
from zipfile import ZIP_STORED, BadZipFile, ZipExtFile, ZipFile, ZipInfo

from torch import Tensor

from ...errors import FacePackError, ModelFileError
from .lazy_tensor import LazyTensor, read_numbers
from .unpickle import StoredTensor, read_state_dict

ZIP_MAGIC = b"PK\x03\x04"
_CONTENTS = "/data.pkl"
_LONGEST_CONTENTS = 200_000_000


def read_checkpoint(stream: BufferedIOBase, where: str) -> dict[str, LazyTensor]:
    """Tensors of an open checkpoint; they read from the same stream.

    Args:
        stream: Opened for reading bytes; must stay open as long as tensors are read.
        where: The file's name, for messages.

    Raises:
        ModelFileError: Truncated, altered, malicious, or no checkpoint of PyTorch.
    """
    try:
        with _unpacking(where):
            archive = ZipFile(stream)
    except ModelFileError as error:  # the list of records stands at the end
        raise _damaged("is truncated, or its end is damaged", where) from error
    records: dict[str, ZipInfo] = {}
    for info in archive.infolist():
        if info.filename in records:
            raise _damaged(f"holds the record {info.filename} twice", where)
        if info.compress_type != ZIP_STORED or info.flag_bits & 1:
            raise _damaged("is packed in a way that PyTorch does not use", where)
        records[info.filename] = info
    contents = [name for name in records if name.endswith(_CONTENTS)]
    if len(contents) != 1 or records[contents[0]].file_size > _LONGEST_CONTENTS:
        raise _damaged("is a zip archive, but no checkpoint of PyTorch", where)
    folder = contents[0].removesuffix(_CONTENTS)
    order = f"{folder}/byteorder"
    with _unpacking(where):
        if order in records and archive.read(order).decode() != sys.byteorder:
            raise _damaged("was written by a machine of another byte order", where)
        table = BytesIO(archive.read(contents[0]))
    try:
        stored = read_state_dict(table)
    except ModelFileError as error:
        raise ModelFileError(error.what, where=where, fix=error.fix) from error
    return {
        name: _lazy(archive, records.get(f"{folder}/data/{tensor.key}"), name, tensor, where)
        for name, tensor in stored.items()
    }


def _lazy(
    archive: ZipFile, record: ZipInfo | None, name: str, stored: StoredTensor, where: str
) -> LazyTensor:
    count, width = math.prod(stored.shape), stored.dtype.itemsize
    reach = sum((n - 1) * step for n, step in zip(stored.shape, stored.stride, strict=True)) + 1
    if record is None or record.file_size < stored.length * width:
        raise _damaged(f"is damaged: the numbers of {name} are missing", where)
    # A tensor never has more numbers than there are: nobody needs a view that repeats them.
    if count and (count > stored.length or stored.offset + reach > stored.length):
        raise _damaged(f"is damaged: {name} reaches beyond its numbers", where)

    def read() -> Tensor:
        with _unpacking(where), cast("ZipExtFile", archive.open(record)) as stream:
            if stored.offset:  # whoever reads all of a record has its checksum tested, too
                stream.seek(stored.offset * width)
            flat = read_numbers(stream, reach if count else 0, stored.dtype)
        return flat.as_strided(stored.shape, stored.stride).contiguous()

    return LazyTensor(stored.shape, stored.dtype, read)


@contextmanager
def _unpacking(where: str) -> Iterator[None]:
    """Tell what zipfile says of a damaged archive, in whichever of its many ways."""
    try:
        yield
    except FacePackError:
        raise
    except (BadZipFile, EOFError, NotImplementedError, OSError, RuntimeError, ValueError) as error:
        raise _damaged(f"is damaged: {error}", where) from error


def _damaged(what: str, where: str) -> ModelFileError:
    return ModelFileError(f"the checkpoint {what}", where=where, fix="Download it again")
