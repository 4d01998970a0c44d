"""Weight files: what is written comes back, and every kind of damage is named in one sentence."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
import torch
from comfyui_dense_face.errors import InputError, ModelFileError
from comfyui_dense_face.storage import (
    atomic_path,
    make_folder,
    read_weights,
    tensor_checksum,
    write_weights,
)
from safetensors.torch import save_file

TENSORS = {
    "transposed": torch.arange(12.0).reshape(3, 4).t(),
    "scalar": torch.tensor(2.5),
    "half": torch.tensor([1.0, -2.0], dtype=torch.bfloat16),
    "empty": torch.zeros(0, 3),
    "flag": torch.tensor([True, False]),
}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "weights.safetensors"
    write_weights(path, TENSORS, {"format": "test/1"})
    return path


def test_round_trip(weights: Path) -> None:
    tensors, metadata = read_weights(weights)
    assert metadata["format"] == "test/1"
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype
        assert torch.equal(tensors[name], tensor)


def test_shared_memory_is_written_apart(tmp_path: Path) -> None:
    tied = torch.ones(4)
    write_weights(tmp_path / "tied.safetensors", {"a": tied, "b": tied[:2]}, {})
    tensors, _ = read_weights(tmp_path / "tied.safetensors")
    assert tensors["a"].numel() == 4
    assert tensors["b"].numel() == 2


def test_others_may_read_the_file(weights: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    assert stat.S_IMODE(weights.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_checksum_ignores_order_but_not_content() -> None:
    turned = dict(reversed(TENSORS.items()))
    assert tensor_checksum(turned) == tensor_checksum(TENSORS)
    assert tensor_checksum({**TENSORS, "scalar": torch.tensor(2.6)}) != tensor_checksum(TENSORS)
    flat = {**TENSORS, "transposed": TENSORS["transposed"].reshape(12)}
    assert tensor_checksum(flat) != tensor_checksum(TENSORS)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"missing \(.*gone\.safetensors\)\. \S"):
        read_weights(tmp_path / "gone.safetensors")


@pytest.mark.parametrize("kept", [0, 5, 60, -1], ids=["empty", "5 bytes", "60 bytes", "all but 1"])
def test_truncated_file(weights: Path, kept: int) -> None:
    weights.write_bytes(weights.read_bytes()[:kept])
    with pytest.raises(ModelFileError, match="truncated"):
        read_weights(weights)


def test_altered_file(weights: Path) -> None:
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ModelFileError, match="altered"):
        read_weights(weights)


def test_pickle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    torch.save({"a": torch.ones(2)}, path)
    with pytest.raises(ModelFileError, match="no safetensors file"):
        read_weights(path)


def test_foreign_file_without_checksum(tmp_path: Path) -> None:
    path = tmp_path / "foreign.safetensors"
    save_file({"a": torch.ones(2)}, path)
    tensors, metadata = read_weights(path)
    assert torch.equal(tensors["a"], torch.ones(2))
    assert metadata == {}


def test_interrupted_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "kept.txt"
    path.write_text("old", encoding="utf-8")
    with pytest.raises(KeyboardInterrupt), atomic_path(path) as temporary:
        temporary.write_text("half", encoding="utf-8")
        raise KeyboardInterrupt
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_atomic_path_keeps_suffix_and_makes_folders(tmp_path: Path) -> None:
    path = tmp_path / "new" / "image.png"
    with atomic_path(path) as temporary:
        assert temporary.suffix == ".png"
        temporary.write_bytes(b"done")
        assert not path.exists()
    assert path.read_bytes() == b"done"


def test_unwritable_place(tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.touch()
    path = blocker / "weights.safetensors"  # a file where a folder is needed
    with pytest.raises(InputError, match="cannot be written"):
        write_weights(path, TENSORS, {})
    assert list(tmp_path.iterdir()) == [blocker]


def test_folders_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=r"cannot be written.*file"):
        make_folder(tmp_path / "file" / "a")
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
