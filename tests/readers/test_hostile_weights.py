"""Files of weights and of the landmarker: claims, wrong kinds and numbers that are not finite."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from cheap import cheaply
from comfyui_dense_face.dense_face.annotation.head_file import load_head
from comfyui_dense_face.dense_face.checkpoints.adapter_file import load_adapter
from comfyui_dense_face.errors import FacePackError, ModelFileError
from comfyui_dense_face.faces.encoders.weight_file import read_network
from comfyui_dense_face.faces.mediapipe.task_file import read_task_file
from comfyui_dense_face.sfsr.adapter import load_adapter as load_sfsr
from comfyui_dense_face.sfsr.ip_adapter.reading import read_adapter_file
from comfyui_dense_face.storage import CHECKSUM_KEY, read_weights, write_weights
from small_files import (
    field,
    save_small_adapter,
    save_small_head,
    save_small_sfsr,
    save_task,
    small_geometry,
)
from torch import Tensor


def read_any(path: Path) -> object:
    return read_network(path, "a network")


FILES: dict[str, tuple[Callable[[Path], None], Callable[[Path], object]]] = {
    "adapter": (save_small_adapter, load_adapter),
    "annotation head": (save_small_head, load_head),
    "SFSR adapter": (save_small_sfsr, load_sfsr),
    "network": (save_small_head, read_any),
    "IP-Adapter": (save_small_head, read_adapter_file),
}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30], ids=["NaN", "inf", "1e30"])
@pytest.mark.parametrize(("save", "load"), FILES.values(), ids=FILES)
def test_weights_that_give_black_images_are_refused(
    tmp_path: Path, save: Callable[[Path], None], load: Callable[[Path], object], value: float
) -> None:
    path = tmp_path / "a.safetensors"
    save(path)
    load(path)
    tensors, about = read_weights(path)
    name = next(name for name, tensor in sorted(tensors.items()) if tensor.ndim > 1)
    tensors = {k: t.float() for k, t in tensors.items()}
    tensors[name].view(-1)[3] = value
    write_weights(path, tensors, about)
    with pytest.raises(ModelFileError, match=f"the weight {name} holds values .* not finite") as e:
        load(path)
    assert str(path) in str(e.value)


def _changed(change: Callable[[dict[str, Tensor], dict[str, str]], object]) -> Any:
    def make(path: Path) -> None:
        tensors, about = read_weights(path)
        change(tensors, about)
        about.pop(CHECKSUM_KEY, None)
        write_weights(path, tensors, about)

    return make


_Q = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn1.per_k.weight"
_HUGE = 5_000_000


def _head(**numbers: Any) -> Callable[[Path], None]:
    def change(_: dict[str, Tensor], about: dict[str, str]) -> None:
        about["config"] = json.dumps({**json.loads(about["config"]), **numbers})

    return _changed(change)


CLAIMS: dict[str, tuple[str, Callable[[Path], None]]] = {
    # A square matrix of 5 million rows is expected beside it.
    "a wide key": ("adapter", _changed(lambda t, _: t.update({_Q: torch.zeros(_HUGE, 1)}))),
    "a wide pose branch": (
        "adapter",
        _changed(
            lambda t, _: t.update(
                {"control_model.input_blocks.0.0.weight": torch.zeros(1_000_000, 4, 1, 1)}
            )
        ),
    ),
    "a pose branch of vectors": (
        "adapter",
        _changed(lambda t, _: t.update({"control_model.input_blocks.0.0.weight": torch.zeros(4)})),
    ),
    "a pose branch of odd width": (
        "adapter",
        _changed(
            lambda t, _: t.update(
                {"control_model.input_blocks.0.0.weight": torch.zeros(5, 4, 3, 3)}
            )
        ),
    ),
    "a strength that is not finite": ("adapter", _changed(lambda _, a: a.update(delta="nan"))),
    "a block of a million digits": (
        "adapter",
        _changed(
            lambda t, _: t.update({_Q.replace(".1.1.", f".{'1' * 5000}.1."): torch.zeros(1, 1)})
        ),
    ),
    "a head of 4e9 channels": ("annotation head", _head(width=2**32)),
    "a head of 2**40 cells": ("annotation head", _head(scale=2**40)),
    "a head of 100,000 stages": ("annotation head", _head(stage_widths=[32] * 100_000)),
    "a head of texts": ("annotation head", _head(stage_widths=["a"])),
    "a head of fractions": ("annotation head", _head(width=64.0)),
    "a head of deep JSON": (
        "annotation head",
        _changed(lambda _, a: a.update(config="[" * 100_000)),
    ),
    "2**62 tokens": ("SFSR adapter", _changed(lambda _, a: a.update(tokens=str(2**62)))),
    "100,000 layers": (
        "SFSR adapter",
        _changed(lambda _, a: a.update(layers=json.dumps({f"a{i}": 8 for i in range(100_000)}))),
    ),
    "a layer without a name": ("SFSR adapter", _changed(lambda _, a: a.update(layers='{"": 8}'))),
    "deep JSON": ("SFSR adapter", _changed(lambda _, a: a.update(layers="[" * 100_000))),
    "whole numbers": (
        "annotation head",
        _changed(lambda t, _: t.update({k: v.to(torch.int8) for k, v in t.items()})),
    ),
}


@pytest.mark.parametrize(("kind", "change"), CLAIMS.values(), ids=CLAIMS)
def test_claims_of_weight_files_cost_nothing(
    tmp_path: Path, kind: str, change: Callable[[Path], None]
) -> None:
    save, load = FILES[kind]
    path = tmp_path / "a.safetensors"
    save(path)
    change(path)
    with cheaply(), pytest.raises(FacePackError, match=r"\. [A-Z]"):
        load(path)


def test_a_landmarker_file_is_read(tmp_path: Path) -> None:
    save_task(tmp_path / "a.task", small_geometry())
    found = read_task_file(tmp_path / "a.task")
    assert found.geometry.vertices.shape == (468, 3) and float(found.geometry.weights[3]) == 0.5
    assert found.mesh == b"TFL3"


GEOMETRIES: dict[str, bytes] = {
    "a number of a megabyte": b"\xff" * 1_000_000,
    "too large": bytes(2**21),
    "another number of vertices": small_geometry(5),
    "not finite": small_geometry(value=float("nan")),
    "a weight of no vertex": small_geometry(index=468),
    "a weight of a huge vertex": small_geometry(index=2**62),
    "a text as a weight": field(1, b"") + field(2, field(2, b"x")),
    "a group": b"\x0b",
    "cut off": small_geometry()[:-3],
    "nothing": b"",
}


@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
def test_other_geometries_are_refused(tmp_path: Path, geometry: bytes) -> None:
    save_task(tmp_path / "a.task", geometry)
    with cheaply(), pytest.raises(ModelFileError, match=r"landmarker file is damaged.*\. Use face"):
        read_task_file(tmp_path / "a.task")


def test_a_part_of_a_false_size(tmp_path: Path) -> None:
    """A zip bomb whose directory says that it is small."""
    path = tmp_path / "a.task"
    save_task(path, bytes(2**26), packed=True)
    content = bytearray(path.read_bytes())
    at = content.rindex(b"PK\x01\x02")
    content[at + 24 : at + 28] = struct.pack("<I", 2**10)
    path.write_bytes(content)
    with cheaply(), pytest.raises(ModelFileError, match="landmarker file is damaged"):
        read_task_file(path)


@pytest.mark.parametrize("method", [12, 14, 99])
def test_other_packing_and_damage(tmp_path: Path, method: int) -> None:
    """Errors of zlib, bz2 and lzma."""
    path = tmp_path / "a.task"
    save_task(path, small_geometry(), packed=True)
    whole = path.read_bytes()
    content = bytearray(whole)
    for mark, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        at = content.rindex(mark)
        content[at + offset : at + offset + 2] = struct.pack("<H", method)
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match="landmarker file is damaged"):
        read_task_file(path)
    at = whole.rindex(b"PK\x03\x04") + 90
    path.write_bytes(whole[:at] + bytes(20) + whole[at + 20 :])
    with pytest.raises(ModelFileError, match="landmarker file is damaged"):
        read_task_file(path)
