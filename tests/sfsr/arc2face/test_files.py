"""Files of Arc2Face's layouts at full size and small, and what is wrong with others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from comfyui_dense_face.errors import FacePackError
from comfyui_dense_face.pipelines.base import new_text_encoder
from comfyui_dense_face.pipelines.single_file import SD15_TEXT
from comfyui_dense_face.sfsr.ip_adapter.arc2face import FlameAdapter
from comfyui_dense_face.sfsr.ip_adapter.expected import check_layout, expected_shapes
from comfyui_dense_face.sfsr.ip_adapter.kinds import ARC2FACE_EXPRESSION
from comfyui_dense_face.sfsr.ip_adapter.layout import FlameLayout, recognise
from comfyui_dense_face.sfsr.ip_adapter.load import load_published, published_adapter
from comfyui_dense_face.sfsr.ip_adapter.places import SD15
from comfyui_dense_face.sfsr.ip_adapter.reading import read_adapter_file
from published_bench import PUBLISHED, distance, goldens, layout_json, target
from safetensors.torch import save_file
from torch import Tensor


def flame_shapes(hidden: int, tokens: int) -> dict[str, Tensor]:
    """Arc2Face's expression adapter at full size, without memory; hidden 0: the linear form."""
    made = FlameLayout(ARC2FACE_EXPRESSION, SD15, hidden, tokens)
    return {key: torch.empty(s, device="meta") for key, s in expected_shapes(made).items()}


@pytest.mark.parametrize(
    ("hidden", "tokens", "count"), [(110, 4, 38), (55, 8, 38), (0, 4, 36)], ids=str
)
def test_shapes_tell_arc2faces_expression_adapter(hidden: int, tokens: int, count: int) -> None:
    shapes = flame_shapes(hidden, tokens)
    found = recognise(shapes)
    assert isinstance(found, FlameLayout)
    assert (found.kind, found.hidden, found.tokens) == (ARC2FACE_EXPRESSION, hidden, tokens)
    assert found.kind.sources == ("expression",) and len(shapes) == count
    check_layout(shapes, found)
    if (hidden, tokens) == (110, 4):  # as published
        assert sum(tensor.numel() for tensor in shapes.values()) == 19_169_280 + 348_688


def test_expressions_are_for_sd15() -> None:
    shapes = flame_shapes(110, 4)
    for name, tensor in shapes.items():
        if name.endswith("to_k_ip.weight"):
            shapes[name] = torch.empty(tensor.shape[0], 2048, device="meta")
    with pytest.raises(FacePackError, match="this IP-Adapter is for SDXL"):
        recognise(shapes)


@pytest.mark.parametrize("form", ["legacy", "zip", "safetensors"])
@pytest.mark.parametrize("kind", ["mlp", "linear"])
def test_arc2faces_expression_files(tmp_path: Path, kind: str, form: str) -> None:
    path = PUBLISHED / "arc2face" / "exp_adapter" / f"exp_adapter_{kind}.bin"
    tensors = read_adapter_file(path)
    copy = tmp_path / f"other.{'safetensors' if form == 'safetensors' else 'bin'}"
    if form == "safetensors":
        save_file(tensors, copy)
    else:
        torch.save(_nested(tensors), copy, _use_new_zipfile_serialization=form == "zip")
    found = load_published(copy, target=target())
    assert isinstance(found, FlameAdapter) and found.kind == ARC2FACE_EXPRESSION
    given = goldens("arc2face")
    assert distance(found.tokens(given["in.exp"]), given[f"tok.exp.{kind}.cond"]) < 1e-5
    assert not any(parameter.requires_grad for parameter in found.parameters())


def _nested(flat: dict[str, Tensor]) -> dict[str, Any]:
    parts: dict[str, Any] = {"image_proj": {}, "ip_adapter": {}}
    for name, tensor in flat.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = tensor
    return parts


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        (
            lambda: {"image_proj.proj.0.weight": torch.zeros(110, 55)},
            r"lacks the matrix image_proj\.proj\.2\.weight",
        ),
        (
            lambda: {"image_proj.proj.weight": torch.zeros(3072, 55)},
            "Arc2Face's expression adapter file lacks 35 weights",
        ),
        (
            lambda: {"image_proj.proj.weight": torch.zeros(3000, 55)},
            "ends in 3000 numbers, which are no tokens of 768",
        ),
        (
            lambda: flame_shapes(55, 8) | {"ip_adapter.0.to_q_lora.up.weight": torch.zeros(1, 1)},
            "holds 1 unknown weight: ip_adapter.0.to_q_lora.up.weight",
        ),
    ],
    ids=["half", "projection alone", "tokens", "LoRA"],
)
def test_other_files_are_refused(tensors: Callable[[], dict[str, Tensor]], says: str) -> None:
    with pytest.raises(FacePackError, match=says) as error:
        published_adapter(tensors(), where="exp_adapter.bin")
    assert "exp_adapter.bin" in str(error.value) and "\n" not in str(error.value)


def test_text_encoder_at_full_size() -> None:
    """The published names and shapes are those of the class that reads them."""
    with torch.device("meta"):
        own = new_text_encoder(SD15_TEXT).state_dict()
    shapes = {
        f"text_model.{name.removeprefix('text_model.')}": tuple(tensor.shape)
        for name, tensor in own.items()
        if not name.endswith("position_ids")
    }
    assert shapes == layout_json("arc2face/layout_encoder.json") and len(shapes) == 196
