"""Checkpoints of PyTorch without running what is in them."""

from __future__ import annotations

import argparse
import builtins
import io
import os
import pickle
import random
import runpy
import struct
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from comfyui_dense_face.errors import ModelFileError
from comfyui_dense_face.readers.torch_file import read_checkpoint
from comfyui_dense_face.readers.unpickle import read_tree, state_dict_of
from torch import Tensor, nn


def read(path: Path) -> dict[str, Tensor]:
    with path.open("rb") as stream:
        return {k: t.read() for k, t in read_checkpoint(stream, str(path)).items()}


def read_index(stream: io.BytesIO, where: str) -> dict[str, Any]:
    return state_dict_of(read_tree(stream, where)[0], where)


def saved(path: Path, content: Any, legacy: bool = False) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


both_formats = pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])


BASE = torch.arange(24.0).reshape(4, 6)
TENSORS = {
    "plain": torch.randn(3, 4),
    "turned": BASE.t(),
    "part": BASE[1:3, 2:],
    "row": BASE[2],
    "half": torch.randn(5).half(),
    "brain": torch.randn(5).bfloat16(),
    "count": torch.tensor(3),
    "flags": torch.tensor([True, False]),
    "none": torch.zeros(0, 3),
    "parameter": nn.Parameter(torch.ones(2)),
    "marked": nn.Parameter(torch.ones(2)),
}
TENSORS["marked"].note = "parameters with attributes are written in another way"


@both_formats
def test_values_are_those_of_torch(tmp_path: Path, legacy: bool) -> None:
    found = read(saved(tmp_path / "x.ckpt", TENSORS, legacy))
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor)
        assert found[name].is_contiguous()


@both_formats
def test_what_frameworks_leave_beside_the_weights_is_passed_over(
    tmp_path: Path, legacy: bool
) -> None:
    module = nn.Linear(2, 3)
    content = {
        "state_dict": module.state_dict(),  # an OrderedDict with attributes
        "hyper_parameters": argparse.Namespace(size=torch.Size([2, 3]), kinds={1, 2}),
        "loops": OrderedDict(a=complex(1, 2), b=b"bytes", c=frozenset("ab")),
        "optimizer_states": [{"state": {0: torch.zeros(4)}}],
        "device": torch.device("cpu"),
        "dtype": torch.float16,
    }
    found = read(saved(tmp_path / "x.ckpt", content, legacy))
    assert found.keys() == {"weight", "bias"}
    assert torch.equal(found["weight"], module.weight)


class Calls:
    """Pickles to a call."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = (function, args)

    def __reduce__(self) -> Any:
        return self.call


@both_formats
@pytest.mark.parametrize(
    ("function", "argument", "name"),
    [
        (os.system, "touch {}", "posix.system|nt.system"),
        (builtins.eval, "open({!r}, 'w')", "(builtins|__builtin__).eval"),
        (builtins.getattr, "x", "(builtins|__builtin__).getattr"),
        (runpy.run_path, "{}", "runpy.run_path"),
    ],
)
@pytest.mark.parametrize("beside", [True, False])
def test_malicious_pickles_do_nothing(
    tmp_path: Path, function: Any, argument: str, name: str, beside: bool, legacy: bool
) -> None:
    trap = tmp_path / "sprung"
    call = Calls(function, argument.format(trap))
    content = {"state_dict": {"a": torch.zeros(1)}, "x": call} if beside else {"state_dict": call}
    path = saved(tmp_path / "x.ckpt", content, legacy)
    with pytest.raises(ModelFileError, match=f"refers to the Python object ({name}).*malicious"):
        read(path)
    assert not trap.exists()


@both_formats
def test_tolerated_names_are_inert_too(tmp_path: Path, legacy: bool) -> None:
    trap = tmp_path / "sprung"
    content = {"state_dict": {"a": torch.zeros(1)}, "x": Calls(torch.save, {}, str(trap))}
    assert read(saved(tmp_path / "x.ckpt", content, legacy)).keys() == {"a"}
    assert not trap.exists()


def test_stand_ins_cannot_be_changed() -> None:
    """BUILD sets attributes of whatever is on the stack, also of a function."""
    for target in (b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch\nFloatStorage\n"):
        for state in (b"}X\x01\x00\x00\x00aI1\nsb", b"N}X\x01\x00\x00\x00aI1\ns\x86b"):
            with pytest.raises(ModelFileError, match="damaged"):
                read_index(io.BytesIO(b"\x80\x02" + target + state + b"."), "x")
    fresh = pickle.dumps({"state_dict": OrderedDict()}, protocol=2)
    assert read_index(io.BytesIO(fresh), "x") == {}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b".",
        b"\x80\x02}",
        b"\x80\x02]q\x00.",
        b"\x80\x02X\xff\xff\xff\x7f.",
        b"\x80\x02(X\x01\x00\x00\x00aI1\nI2\nI3\ntQ.",
        b"(" * 5000,
        pickle.dumps([1, 2]),
        pickle.dumps({"state_dict": 3}),
    ],
)
def test_broken_tables_are_named(content: bytes) -> None:
    with pytest.raises(ModelFileError, match=r"damaged|no state_dict"):
        read_index(io.BytesIO(content), "x")


def test_doubled_weights_are_named() -> None:
    pairs = [("a", 1), ("a", 2)]

    class Doubled(OrderedDict[str, int]):
        def __reduce__(self) -> Any:
            return OrderedDict, (), None, None, iter(pairs)

    for content in (Doubled(), Calls(OrderedDict, pairs)):
        with pytest.raises(ModelFileError, match="contains a twice"):
            read_index(io.BytesIO(pickle.dumps({"state_dict": content})), "x")


def repacked(path: Path, change: Any) -> None:
    """Write the archive anew with ``change(name, bytes) -> bytes or None`` on each record."""
    with zipfile.ZipFile(path) as old:
        records = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w") as new:
        for name, content in records.items():
            changed = change(name, content)
            if changed is not None:
                new.writestr(name, changed)


def test_missing_and_short_numbers_are_named(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.ckpt", {"a": torch.zeros(8)})
    repacked(path, lambda name, content: content[:8] if "/data/" in name else content)
    with pytest.raises(ModelFileError, match="the values of a are missing"):
        read(path)
    repacked(path, lambda name, content: None if "/data/" in name else content)
    with pytest.raises(ModelFileError, match="the values of a are missing"):
        read(path)
    repacked(path, lambda name, content: None if "data.pkl" in name else content)
    with pytest.raises(ModelFileError, match="not a PyTorch checkpoint"):
        read(path)


def test_foreign_byte_order_is_named(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.ckpt", {"a": torch.zeros(8)})
    other = b"big" if sys.byteorder == "little" else b"little"
    repacked(path, lambda name, content: other if name.endswith("byteorder") else content)
    with pytest.raises(ModelFileError, match="another byte order"):
        read(path)


@both_formats
def test_views_that_reach_too_far_are_refused(tmp_path: Path, legacy: bool) -> None:
    path = saved(tmp_path / "x.ckpt", {"a": torch.zeros(1).expand(1000, 1000)}, legacy)
    with pytest.raises(ModelFileError, match="a extends beyond its storage"):
        read(path)


def test_altered_numbers_are_noticed(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.ckpt", {"a": torch.full((64,), 3.0)})
    content = path.read_bytes()
    place = content.index(struct.pack("<f", 3.0) * 8)
    path.write_bytes(content[:place] + b"\x01" + content[place + 1 :])
    with pytest.raises(ModelFileError, match=r"damaged.*CRC"):
        read(path)


@both_formats
@pytest.mark.parametrize("kept", [10, 50, 99])
def test_truncated_files_are_named(tmp_path: Path, kept: int, legacy: bool) -> None:
    path = saved(tmp_path / "x.ckpt", {"a": torch.zeros(1000)}, legacy)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * kept // 100])
    with pytest.raises(ModelFileError, match="truncated"):
        read(path)


@both_formats
def test_random_damage_never_crashes(tmp_path: Path, legacy: bool) -> None:
    """Bytes changed at random: the file is read, or refused with a clear error."""
    content = {"state_dict": OrderedDict(a=torch.randn(4, 3)), "n": [1, 2]}
    path = saved(tmp_path / "x.ckpt", content, legacy)
    whole, chance, refused = path.read_bytes(), random.Random(1), 0
    for _ in range(200):
        content = bytearray(whole)
        for _ in range(3):
            content[chance.randrange(len(content))] = chance.randrange(256)
        stream = io.BytesIO(content)
        try:
            for tensor in read_checkpoint(stream, "x").values():
                tensor.read()
        except ModelFileError:
            refused += 1
    assert refused > 50
