"""Safetensors tensor by tensor: the same files as the library's, and every damage is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from comfyui_dense_face.dense_face.checkpoints.safetensors_stream import read_stream, write_stream
from comfyui_dense_face.errors import InputError, ModelFileError
from comfyui_dense_face.readers.lazy_tensor import LazyTensor
from comfyui_dense_face.storage import read_weights, write_weights
from safetensors.torch import load_file, save_file
from torch import Tensor

TENSORS = {
    "half": torch.randn(3, 5).half(),
    "odd": torch.tensor([True, False, True]),
    "wide": torch.randn(2, 2, dtype=torch.float64),
    "brain": torch.randn(7).bfloat16(),
    "count": torch.tensor(12),
    "none": torch.zeros(0, 3),
    "star.*": torch.randn(4),
}


def lazy(tensor: Tensor) -> LazyTensor:
    return LazyTensor(tuple(tensor.shape), tensor.dtype, lambda: tensor)


def test_written_files_are_ordinary_ones(tmp_path: Path) -> None:
    path, plain = tmp_path / "stream.safetensors", tmp_path / "plain.safetensors"
    seen: list[int] = []
    size = write_stream(path, {k: lazy(t) for k, t in TENSORS.items()}, {"a": "ä"}, seen.append)
    write_weights(plain, TENSORS, {"a": "ä"})
    tensors, metadata = read_weights(path)  # checks the sum
    assert metadata == read_weights(plain)[1]
    assert size == path.stat().st_size
    assert sum(seen) == sum(t.numel() for t in TENSORS.values())
    by_library = load_file(path)
    for name, tensor in TENSORS.items():
        assert torch.equal(tensors[name], tensor) and torch.equal(by_library[name], tensor)
        assert tensors[name].dtype == tensor.dtype


def test_files_of_the_library_are_read(tmp_path: Path) -> None:
    path = tmp_path / "library.safetensors"
    save_file(TENSORS, path, metadata={"a": "b"})
    with path.open("rb") as stream:
        tensors, metadata = read_stream(stream, str(path))
        assert metadata == {"a": "b"} and tensors.keys() == TENSORS.keys()
        for name, tensor in TENSORS.items():
            assert (tensors[name].shape, tensors[name].dtype) == (tensor.shape, tensor.dtype)
            assert torch.equal(tensors[name].read(), tensor)
        assert torch.equal(tensors["half"].read(), TENSORS["half"])  # again, in any order


def test_a_file_of_empty_tensors_ends_with_its_header(tmp_path: Path) -> None:
    path = tmp_path / "empty.safetensors"
    save_file({"a": torch.zeros(0, 3)}, path)
    with path.open("rb") as stream:
        tensors, _ = read_stream(stream, str(path))
        assert tensors["a"].read().shape == (0, 3)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(path.read_bytes()[:-1])
    with cut.open("rb") as stream, pytest.raises(ModelFileError, match="truncated"):
        read_stream(stream, str(cut))


def test_a_failing_tensor_leaves_no_file(tmp_path: Path) -> None:
    def fail() -> Tensor:
        raise ModelFileError("no more")

    tensors = {"a": lazy(torch.zeros(3)), "b": LazyTensor((3,), torch.float32, fail)}
    with pytest.raises(ModelFileError, match="no more"):
        write_stream(tmp_path / "x.safetensors", tensors, {})
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        write_stream(tmp_path / "file" / "x.safetensors", {}, {})
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def with_header(path: Path, header: str) -> Path:
    text = header.encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(16))
    return path


ENTRY = '{"dtype":"F32","shape":[4],"data_offsets":[0,16]}'


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (f'{{"a":{ENTRY},"a":{ENTRY}}}', "contains a twice"),
        ('{"a":{"dtype":"F32","shape":[5],"data_offsets":[0,20]}}', "truncated"),
        ('{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,12]}}', "truncated"),
        ('{"a":{"dtype":"F32","shape":[-4],"data_offsets":[16,0]}}', "truncated"),
        ('{"a":{"dtype":"F99","shape":[4],"data_offsets":[0,16]}}', "truncated"),
        ('{"a":{"dtype":"F32","shape":4,"data_offsets":[0,16]}}', "truncated"),
        ('{"a":[]}', "truncated"),
        ("[]", "truncated"),
        ("{", "truncated"),
        ("[" * 100_000, "truncated"),
    ],
)
def test_damaged_headers_are_named(tmp_path: Path, header: str, message: str) -> None:
    path = with_header(tmp_path / "x.safetensors", header)
    with path.open("rb") as stream, pytest.raises(ModelFileError, match=message):
        read_stream(stream, str(path))


@pytest.mark.parametrize("kept", [0, 4, 8, 60, 95])
def test_truncated_files_are_named(tmp_path: Path, kept: int) -> None:
    path = with_header(tmp_path / "x.safetensors", json.dumps({"a": json.loads(ENTRY)}))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * kept // 100])
    with path.open("rb") as stream, pytest.raises(ModelFileError, match="truncated"):
        read_stream(stream, str(path))
