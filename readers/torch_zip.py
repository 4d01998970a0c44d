"""PyTorch checkpoints in the format since PyTorch 1.6, zip archives, as lazy tensors.

``<name>/data.pkl`` is the index, ``<name>/data/<key>`` are the values, uncompressed.
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase, BytesIO
from zipfile import ZIP_STORED, ZipFile, ZipInfo
from zlib import crc32

from torch import Tensor

from .. import limits
from ..errors import ModelFileError, refuse_with
from .lazy_tensor import LazyTensor, bytes_of, read_elements
from .unpickle import Saved, StoredTensor, Unpickler, damaged, read_tree

ZIP_MAGIC = b"PK\x03\x04"
_INDEX = "/data.pkl"
_ORDER_BYTES = 16
_HEADER = struct.Struct("<4s22xHH")
"""Of a record: its mark, and the lengths of the name and the extra field behind it."""


def read_zip(stream: BufferedIOBase, where: str, kind: type[Unpickler] = Unpickler) -> Saved:
    """What is in an open file; its tensors read from the same stream.

    Args:
        stream: A binary stream; must stay open while tensors are read.
        kind: Reads the index.

    Raises:
        ModelFileError: The file is truncated, altered, malicious, or not a PyTorch checkpoint.
    """
    size = stream.seek(0, os.SEEK_END)
    with refuse_with(damaged("is truncated, or its end is damaged", where)):
        archive = ZipFile(stream)  # the zip directory is at the end of the file
    records: dict[str, ZipInfo] = {}
    for info in archive.infolist():
        if info.filename in records:
            raise damaged(f"contains the record {info.filename} twice", where)
        if info.compress_type != ZIP_STORED or info.flag_bits & 1:
            raise damaged("is compressed or encrypted, which PyTorch does not do", where)
        if info.file_size != info.compress_size or info.header_offset + info.file_size > size:
            raise damaged(f"is damaged: the record {info.filename} does not fit into it", where)
        records[info.filename] = info
    indexes = [name for name in records if name.endswith(_INDEX)]
    if len(indexes) != 1 or records[indexes[0]].file_size > limits.INDEX_BYTES:
        raise damaged("is a zip archive, but not a PyTorch checkpoint", where)
    folder = indexes[0].removesuffix(_INDEX)
    order = records.get(f"{folder}/byteorder")
    with _unpacking(where):
        if order is not None and (
            order.file_size > _ORDER_BYTES or archive.read(order).decode() != sys.byteorder
        ):
            raise damaged("was written on a machine with another byte order", where)
        table = BytesIO(archive.read(indexes[0]))
    tree, _ = read_tree(table, where, kind)
    return Saved(
        tree,
        lambda name, tensor: _lazy(
            stream, records.get(f"{folder}/data/{tensor.key}"), name, tensor, where
        ),
    )


def _lazy(
    stream: BufferedIOBase, record: ZipInfo | None, name: str, stored: StoredTensor, where: str
) -> LazyTensor:
    width = stored.dtype.itemsize
    if record is None or record.file_size < stored.length * width:
        raise damaged(f"is damaged: the values of {name} are missing", where)
    extent = stored.extent(name, where)

    def read() -> Tensor:
        # Not by zipfile, which copies all of it twice.
        with _unpacking(where):
            stream.seek(_start_of_values(stream, record) + stored.offset * width)
            flat = read_elements(stream, extent, stored.dtype)
            if extent * width == record.file_size and crc32(bytes_of(flat)) != record.CRC:
                raise ValueError(f"bad CRC of {name}")
        return flat.as_strided(stored.shape, stored.stride).contiguous()

    return LazyTensor(stored.shape, stored.dtype, read)


def _start_of_values(stream: BufferedIOBase, record: ZipInfo) -> int:
    stream.seek(record.header_offset)
    header = stream.read(_HEADER.size)
    magic, name, extra = _HEADER.unpack(header)
    if magic != ZIP_MAGIC:
        raise ValueError(f"no record {record.filename}")
    return record.header_offset + _HEADER.size + name + extra


@contextmanager
def _unpacking(where: str) -> Iterator[None]:
    """Turn the many exceptions of zipfile about damaged archives into ModelFileError."""
    try:
        yield
    except ModelFileError:
        raise
    except Exception as error:  # a broken or hostile archive may raise anything
        raise damaged(f"is damaged: {error}", where) from error
