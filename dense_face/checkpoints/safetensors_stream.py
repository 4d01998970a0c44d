"""Reading and writing safetensors files tensor by tensor.

The library ``safetensors`` maps a file into memory and collects all tensors before writing, which
is too much for files of several gigabytes. The format is an 8-byte header length, a JSON header
(name -> dtype, shape, offsets), then the values.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from functools import partial
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ... import limits
from ...errors import ModelFileError, refuse_with
from ...readers.lazy_tensor import LazyStateDict, LazyTensor, bytes_of, read_elements
from ...storage import CHECKSUM_KEY, atomic_path, tensor_checksum

DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U8": torch.uint8, "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
}  # fmt: skip
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def read_stream(stream: BufferedIOBase, where: str) -> tuple[dict[str, LazyTensor], dict[str, str]]:
    """Tensors and metadata of an open safetensors file; the tensors read from the same stream.

    Args:
        stream: A binary stream; must stay open while tensors are read.

    Raises:
        ModelFileError: The file is truncated, of another format, or contains a weight twice.
    """
    size = stream.seek(0, 2)
    stream.seek(0)
    length = int.from_bytes(stream.read(8), "little")
    start = 8 + length
    if not 2 <= length <= min(limits.HEADER_BYTES, size - 8):
        raise _broken(where)
    with refuse_with(_broken(where)):
        header = json.loads(stream.read(length), object_pairs_hook=partial(_no_duplicates, where))
        metadata = {str(k): str(v) for k, v in header.pop("__metadata__", {}).items()}
        tensors = {name: _lazy(stream, start, size, entry, where) for name, entry in header.items()}
    return tensors, metadata


def write_stream(
    path: str | Path,
    tensors: Mapping[str, LazyTensor],
    metadata: Mapping[str, str],
    progress: Callable[[int], None] = lambda numbers: None,
) -> int:
    """Write a file as ``storage.write_weights`` does, reading one tensor at a time.

    Args:
        tensors: The tensors; each ``read`` is called once.
        progress: Called after each tensor with its number of elements.

    Returns:
        The size of the file in bytes.

    Raises:
        InputError: The file cannot be written.
    """
    # Wide dtypes first, like the library, so that every tensor is aligned to its element size.
    order = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    # A placeholder of the same length until the checksum is known.
    about = {**metadata, CHECKSUM_KEY: "0" * 64}
    header = header_bytes({name: tensors[name] for name in order}, about)
    with atomic_path(path) as temporary:
        with temporary.open("r+b") as stream:
            stream.write(header)
            for name in order:
                stream.write(_bytes(tensors[name].read(), tensors[name]))
                progress(tensors[name].numel)
            written, _ = read_stream(stream, str(path))
            about[CHECKSUM_KEY] = tensor_checksum(LazyStateDict(written))
            stream.seek(0)
            stream.write(header_bytes({name: tensors[name] for name in order}, about))
        return temporary.stat().st_size


def header_bytes(tensors: Mapping[str, LazyTensor], metadata: Mapping[str, str]) -> bytes:
    """What a file begins with whose values follow in the order of ``tensors``."""
    entries: dict[str, Any] = {"__metadata__": dict(metadata)}
    place = 0
    for name, tensor in tensors.items():
        end = place + tensor.nbytes
        entries[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [place, end],
        }
        place = end
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _bytes(tensor: Tensor, expected: LazyTensor) -> memoryview:
    tensor = tensor.detach().cpu().contiguous()
    if tuple(tensor.shape) != expected.shape or tensor.dtype != expected.dtype:
        raise RuntimeError(f"expected {expected.shape} {expected.dtype}, read {tensor.shape}")
    return bytes_of(tensor)


def _lazy(
    stream: BufferedIOBase, start: int, size: int, entry: Mapping[str, Any], where: str
) -> LazyTensor:
    first, last = entry["data_offsets"]
    shape, dtype = tuple(entry["shape"]), DTYPES[entry["dtype"]]
    if not all(type(n) is int and n >= 0 for n in (first, last, *shape)):
        raise ValueError("offsets and sizes must be non-negative integers")
    count = math.prod(shape)
    if last - first != count * dtype.itemsize or start + last > size:
        raise _broken(where)

    def read() -> Tensor:
        stream.seek(start + first)
        return read_elements(stream, count, dtype).reshape(shape)

    return LazyTensor(shape, dtype, read)


def _no_duplicates(where: str, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ModelFileError(
                f"the model file contains {name} twice", where=where, fix="Download it again"
            )
        found[name] = value
    return found


def _broken(where: str) -> ModelFileError:
    return ModelFileError(
        "the model file is truncated or is not a safetensors file",
        where=where,
        fix="Download or write it again",
    )
