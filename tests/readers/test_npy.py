"""Arrays in numpy's format come back as numpy itself reads them."""

from __future__ import annotations

import io

import numpy as np
import pytest
from comfyui_dense_face.readers.npy import read_npy
from hypothesis import given
from hypothesis import strategies as st


@given(
    st.sampled_from(["f2", "f4", ">f8", "i8", "?", "u1"]),
    st.lists(st.integers(0, 4), max_size=4),
    st.booleans(),
)
def test_as_numpy_reads_it(dtype: str, shape: list[int], columns_first: bool) -> None:
    values = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    values = np.asarray(values, order="F" if columns_first else "C")
    file = io.BytesIO()
    np.save(file, values)
    found = read_npy(file.getvalue())
    assert found.dtype == values.dtype and found.shape == values.shape
    assert found.flags.writeable and np.array_equal(found, values)


def test_an_array_that_the_file_does_not_hold() -> None:
    file = io.BytesIO()
    np.save(file, np.zeros(8))
    with pytest.raises(ValueError, match="does not hold"):
        read_npy(file.getvalue()[:-1])
