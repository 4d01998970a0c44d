"""Arrays of floats that ``torch.save`` pickled, as in the data set of Dense-Face.

numpy's own classes are not used: their ``__setstate__`` trusts what a file says. The few names of
such a pickle get stand-ins, which keep a dtype, a shape and the bytes.
Source: docs/reference/libraries.md 8.
"""

from __future__ import annotations

from io import BufferedIOBase, BytesIO
from typing import Any

import torch
from torch import Tensor

from .torch_file import read_saved
from .unpickle import Unpickler

_DTYPES = {"f2": torch.float16, "f4": torch.float32, "f8": torch.float64}
_LARGEST_SHAPE = 16


class _DType:
    """Stand-in for ``numpy.dtype``: little-endian floats."""

    def __init__(self, name: Any, *_flags: Any) -> None:
        self.dtype = _DTYPES[name]

    def __setstate__(self, state: Any) -> None:
        if state[1] not in ("<", "=", "|"):
            raise ValueError("an array of another byte order")


class _Array:
    """Stand-in for ``numpy.ndarray``."""

    values: Tensor | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, columns_first, data = state
        if not isinstance(kind, _DType) or not isinstance(data, bytes) or columns_first:
            raise ValueError("an array of something else than floats")
        if len(shape) > _LARGEST_SHAPE or not all(type(n) is int and n >= 0 for n in shape):
            raise ValueError("an array without a shape")
        flat = torch.frombuffer(bytearray(data), dtype=kind.dtype) if data else torch.empty(0)
        self.values = flat.reshape(shape)  # raises, if the shape is not that of its bytes


class _ArrayUnpickler(Unpickler):
    def __init__(self, stream: BytesIO) -> None:
        super().__init__(stream)
        for core in ("numpy.core", "numpy._core"):
            self.known[f"{core}.multiarray", "_reconstruct"] = _reconstruct
        self.known["numpy", "ndarray"] = _Array
        self.known["numpy", "dtype"] = _DType
        self.known["_codecs", "encode"] = _encoded


def read_array(stream: BufferedIOBase, where: str) -> Tensor | None:
    """The tensor or array of floats in an open file; None if it holds something else.

    Raises:
        ModelFileError: The file is truncated, altered, malicious, or not one of ``torch.save``.
    """
    found = read_saved(stream, where, _ArrayUnpickler)
    if isinstance(found, _Array):
        found = found.values
    return found if isinstance(found, Tensor) else None


def _reconstruct(*_arguments: Any) -> _Array:
    return _Array()


def _encoded(text: Any, encoding: Any) -> bytes:
    """How protocol 2 stores bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise ValueError("bytes in another encoding")
    return text.encode("latin1")
