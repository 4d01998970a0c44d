"""Arrays in numpy's ``.npy`` format, without memory for more than the file holds."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray


def read_npy(data: bytes) -> NDArray[Any]:
    """The array of numbers in the bytes of a file.

    Raises:
        Exception: Of any kind, where it is something else, damaged, or claims more than it holds.
    """
    stream = io.BytesIO(data)
    version = npy.read_magic(stream)
    header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, columns_first, dtype = header(stream)
    count, start = math.prod(shape), stream.tell()
    fits = min((0, *shape)) == 0 and count * dtype.itemsize <= len(data) - start
    if dtype.hasobject or not dtype.itemsize or not fits:
        raise ValueError("an array that the file does not hold")
    flat = np.frombuffer(data, dtype, count, start) if count else np.empty(0, dtype)
    return flat.reshape(shape, order="F" if columns_first else "C").copy()
