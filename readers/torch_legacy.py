"""PyTorch checkpoints in the format from before PyTorch 1.6, as lazy tensors.

Five pickles: a magic number, the format's version, facts about the machine, the index, and the keys
of the storages. Then the storages in the order of the keys: eight bytes of length, and the values.
"""

from __future__ import annotations

import os
import struct
import sys
from io import BufferedIOBase, BytesIO

from torch import Tensor

from .. import limits
from .lazy_tensor import LazyTensor, read_elements
from .unpickle import Saved, StoredTensor, Unpickler, damaged, read_plain, read_tree

LEGACY_MAGIC = b"\x80\x02\x8a\n"
_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_VERSION = 1001
_LENGTH = struct.Struct("<q")


def read_legacy(stream: BufferedIOBase, where: str, kind: type[Unpickler] = Unpickler) -> Saved:
    """What is in an open file; its tensors read from the same stream.

    Args:
        stream: A binary stream at its start; must stay open while tensors are read.
        kind: Reads the index.

    Raises:
        ModelFileError: The file is truncated, altered, malicious, or not a PyTorch checkpoint.
    """
    window = BytesIO(stream.read(limits.INDEX_BYTES))
    magic, version, machine = (read_plain(window, where) for _ in range(3))
    if (magic, version) != (_MAGIC_NUMBER, _VERSION) or not isinstance(machine, dict):
        raise damaged("is a pickle, but not a PyTorch checkpoint", where)
    if machine.get("little_endian", True) is not (sys.byteorder == "little"):
        raise damaged("was written on a machine with another byte order", where)
    tree, storages = read_tree(window, where, kind)
    keys = read_plain(window, where)
    listed = isinstance(keys, list) and all(isinstance(key, str) for key in keys)
    if not listed or sorted(keys) != sorted(storages):
        raise damaged("is damaged: its list of values does not fit its index", where)
    starts: dict[str, int] = {}
    end = window.tell()
    size = stream.seek(0, os.SEEK_END)
    for key in keys:
        dtype, length = storages[key]
        stream.seek(end)
        head = stream.read(_LENGTH.size)
        starts[key], end = end + _LENGTH.size, end + _LENGTH.size + length * dtype.itemsize
        if len(head) < _LENGTH.size or end > size:
            raise damaged("is truncated", where)
        if _LENGTH.unpack(head)[0] != length:
            raise damaged("is damaged: a length differs from that in its index", where)
    return Saved(tree, lambda name, tensor: _lazy(stream, starts[tensor.key], name, tensor, where))


def _lazy(
    stream: BufferedIOBase, start: int, name: str, stored: StoredTensor, where: str
) -> LazyTensor:
    extent = stored.extent(name, where)

    def read() -> Tensor:
        stream.seek(start + stored.offset * stored.dtype.itemsize)
        flat = read_elements(stream, extent, stored.dtype)
        return flat.as_strided(stored.shape, stored.stride).contiguous()

    return LazyTensor(stored.shape, stored.dtype, read)
