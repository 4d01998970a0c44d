"""Small PyTorch files with huge costs: refused in a sentence, without memory and at once."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cheap import cheaply
from comfyui_dense_face import limits
from comfyui_dense_face.errors import ModelFileError
from comfyui_dense_face.faces.encoders.feature_file import read_feature
from comfyui_dense_face.readers.npy import read_npy
from comfyui_dense_face.readers.pickled_array import read_array
from comfyui_dense_face.readers.torch_file import read_checkpoint, read_saved
from comfyui_dense_face.readers.unpickle import read_tree

_START, _EMPTY_DICT = b"\x80\x04", b"}"


def _nested(levels: int) -> bytes:
    """The same as nested tuples: ((1, 1), (1, 1)), ..."""
    return b"K\x01" + b"2\x86" * levels


HOSTILE: dict[str, bytes] = {
    "a byte array of 2**62": _START + b"\x96" + struct.pack("<Q", 2**62) + b".",
    "a byte array of 5 GB": _START + b"\x96" + struct.pack("<Q", 5 * 10**9) + b".",
    "bytes of 5 GB": _START + b"\x8e" + struct.pack("<Q", 5 * 10**9) + b".",
    "a text of 5 GB": _START + b"\x8d" + struct.pack("<Q", 5 * 10**9) + b".",
    "a frame of 5 GB": _START + b"\x95" + struct.pack("<Q", 5 * 10**9) + b".",
    "a key of doubled tuples": _START + _EMPTY_DICT + _nested(60) + b"K\x01s.",
    "keys of doubled tuples": _START + _EMPTY_DICT + b"(" + _nested(60) + b"K\x01u.",
    "a dict of doubled tuples": _START + b"(" + _nested(60) + b"K\x01d.",
    "a set of doubled tuples": _START + b"\x8f(" + _nested(60) + b"\x90.",
    "a frozen set of doubled tuples": _START + b"(" + _nested(60) + b"\x91.",
    "doubled tuples as a value": _START + b"}X\x01\x00\x00\x00a" + _nested(40) + b"s.",
    "deep tuples": _START + b"}X\x01\x00\x00\x00aK\x01" + b"\x85" * 5000 + b"s.",
    "a storage named by doubled tuples": (
        _START + b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\n" + _nested(60)
        + b"X\x03\x00\x00\x00cpuK\x01tQ."
    ),
    "a size of doubled tuples": _START + b"ctorch\nSize\n" + _nested(60) + b"\x85R.",
    "a size of a million digits": _START + b"ctorch\nSize\n\x8b"
    + struct.pack("<i", 10**6) + b"\x01" * 10**6 + b"\x85\x85R.",
}  # fmt: skip


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_claims_cost_nothing(content: bytes) -> None:
    with cheaply(), pytest.raises(ModelFileError, match=r"damaged|more than any checkpoint"):
        read_tree(io.BytesIO(content), "x")


def test_work_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Instructions, and the items of a table that is made again and again."""
    monkeypatch.setattr(limits, "INDEX_STEPS", 2000)
    pickled = pickle.dumps([[]] * 100, protocol=2)
    assert read_tree(io.BytesIO(pickled), "x")[0] == [[]] * 100
    pairs = b"".join(b"K%cK\x01\x86" % i for i in range(50, 100))
    table = b"ccollections\nOrderedDict\nq\x000](" + pairs + b"e\x85q\x010"
    for content in (b"]0" * 1500, table + b"h\x00h\x01R0" * 100):
        with pytest.raises(ModelFileError, match="too long"):
            read_tree(io.BytesIO(_START + content + b"N."), "x")


class _Calls:
    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call


def test_ten_times_the_release_is_read() -> None:
    """An index with ten times the tensors of the released checkpoint."""
    count = 29_000
    shared = torch.zeros(1)
    stream = io.BytesIO()
    torch.save({f"model.diffusion_model.layer.{i}.weight": shared for i in range(count)}, stream)
    stream.seek(0)
    assert len(read_checkpoint(stream, "x")) == count


def _zip(records: dict[str, bytes]) -> io.BytesIO:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in records.items():
            archive.writestr(f"a/{name}", data)
    stream.seek(0)
    return stream


def _stored(names: list[str], count: int) -> bytes:
    """The index of tensors that all lie in one storage of ``count`` floats."""
    stream = io.BytesIO()
    shared = torch.zeros(count)
    torch.save(dict.fromkeys(names, shared), stream)
    with zipfile.ZipFile(stream) as archive:
        return archive.read(next(n for n in archive.namelist() if n.endswith("data.pkl")))


def test_shared_values_are_not_copied_without_bound() -> None:
    """A thousand names of one storage of a megabyte would take a gigabyte."""
    table = _stored([str(i) for i in range(1000)], 2**18)
    for read in (read_checkpoint, read_saved):
        stream = _zip({"data.pkl": table, "data/0": bytes(2**20)})
        with cheaply(), pytest.raises(ModelFileError, match="do not fit into it"):
            read(stream, "x")


def test_false_sizes_of_records() -> None:
    """The directory of the archive says more than there is."""
    content = bytearray(_zip({"data.pkl": _stored(["a"], 2**20), "data/0": b""}).getvalue())
    at = content.rindex(b"PK\x01\x02")
    content[at + 20 : at + 28] = struct.pack("<II", 2**22, 2**22)
    with cheaply(), pytest.raises(ModelFileError, match=r"does not fit|truncated"):
        read_checkpoint(io.BytesIO(content), "x")


def test_packed_records_are_refused() -> None:
    """A zip bomb: PyTorch itself would unpack it."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", _stored(["a"], 2**22))
        archive.writestr("a/data/0", bytes(2**24))
    stream.seek(0)
    with cheaply(), pytest.raises(ModelFileError, match="compressed"):
        read_saved(stream, "x")


def _pickled_array(values: Any) -> io.BytesIO:
    stream = io.BytesIO()
    torch.save(values, stream)
    stream.seek(0)
    return stream


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("legacy", [False, True])
def test_arrays_are_those_of_numpy(dtype: str, legacy: bool) -> None:
    values = np.arange(6).reshape(1, 6).astype(dtype)
    stream = io.BytesIO()
    torch.save(values, stream, _use_new_zipfile_serialization=not legacy)
    stream.seek(0)
    found = read_array(stream, "x")
    assert found is not None and found.numpy().dtype == values.dtype
    assert np.array_equal(found.numpy(), values)


class _State:
    """Pickles to a numpy array, or a dtype, with a state of one's own."""

    def __init__(self, made: Any, state: Any) -> None:
        self.made, self.state = made, state

    def __reduce__(self) -> Any:
        function, arguments = self.made.__reduce__()[:2]
        return function, arguments, self.state


_DTYPE = np.dtype("f4")
ARRAYS: dict[str, Callable[[], Any]] = {
    # numpy itself reads and frees memory that is not its own with such states.
    "a dtype with fields": lambda: _State(_DTYPE, (3, "<", ("a", 1), ("a",), {"a": 5}, 8, 8, 0)),
    "a state that is no tuple": lambda: _State(_DTYPE, 5),
    "a dtype with metadata": lambda: _State(_DTYPE, (4, "|", None, None, None, -1, -1, 0, {})),
    "an array of more than its bytes": lambda: _State(
        np.zeros(1, "f4"), (1, (2**40,), _DTYPE, False, b"1234")
    ),
    "an array of negative size": lambda: _State(
        np.zeros(1, "f4"), (1, (-1,), _DTYPE, False, b"1234")
    ),
    "an array of objects": lambda: np.array([{}, {}], dtype=object),
    "whole numbers": lambda: np.arange(3),
    "another byte order": lambda: np.zeros(3, ">f4"),
}


@pytest.mark.parametrize("made", ARRAYS.values(), ids=ARRAYS)
def test_arrays_of_something_else_are_refused(made: Callable[[], Any]) -> None:
    with cheaply(), pytest.raises(ModelFileError, match="checkpoint"):
        if read_array(_pickled_array(made()), "x") is None:
            raise ModelFileError("the checkpoint holds no array")


@pytest.mark.parametrize("shape", ["(4096, 2**30, 1)", "(3298534883328,)", "(-1,)", "(1,) * 9**9"])
def test_claims_of_npy_files(tmp_path: Path, shape: str) -> None:
    """An array of 12 TiB in a hundred bytes."""
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode()
    data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
    with cheaply(), pytest.raises((ValueError, SyntaxError)):
        read_npy(data)
    (tmp_path / "a.npy").write_bytes(data)
    with cheaply(), pytest.raises(ModelFileError, match="damaged, or holds other things"):
        read_feature(tmp_path / "a.npy")


def test_calls_stay_undone(tmp_path: Path) -> None:
    trap = tmp_path / "sprung"
    for reader in (read_saved, read_array):
        with pytest.raises(ModelFileError, match="malicious"):
            reader(_pickled_array({"a": _Calls(os.system, (f"touch {trap}",))}), "x")
    assert not trap.exists()
