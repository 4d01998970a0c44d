"""Base models, ControlNets and encoders whose metadata or shapes claim what no network has."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from cheap import cheaply
from comfyui_dense_face.errors import FacePackError, ModelFileError
from comfyui_dense_face.pipelines.arc2face import read_text_encoder
from comfyui_dense_face.pipelines.base import TINY_BASE, load_base
from comfyui_dense_face.pipelines.real.clip_vision import load_clip_vision
from comfyui_dense_face.pipelines.real.controlnet import load_control
from comfyui_dense_face.storage import CHECKSUM_KEY, read_weights, write_weights
from torch import Tensor


@pytest.fixture(scope="module")
def tiny() -> tuple[dict[str, Tensor], dict[str, str]]:
    tensors, about = read_weights(TINY_BASE)
    about.pop(CHECKSUM_KEY)
    return tensors, about


CONFIGS: dict[str, tuple[str, str, Any]] = {
    "a billion blocks": ("unet", "num_res_blocks", 10**9),
    "a billion layers": ("text", "num_hidden_layers", 10**9),
    "a long list of levels": ("unet", "channel_mult", [1] * 100_000),
    "a level of 1e300": ("unet", "channel_mult", [1, 1e300]),
    "negative channels": ("unet", "model_channels", -64),
    "half a channel": ("unet", "model_channels", 0.5),
    "2**40 channels": ("unet", "model_channels", 2**40),
    "no channels": ("vae", "channels", [0, 0]),
    "words instead of channels": ("vae", "channels", ["a"]),
    "a text of 500,000 x 400,000": ("text", "hidden_size", 400_000),
    "a vocabulary of 400,000": ("text", "vocab_size", 400_000),
    "NaN": ("text", "hidden_size", float("nan")),
    "an unknown size": ("unet", "no_such_size", 1),
    "an unknown activation": ("text", "hidden_act", "no such"),
}


@pytest.mark.parametrize(("part", "name", "value"), CONFIGS.values(), ids=CONFIGS)
def test_sizes_of_a_base(
    tmp_path: Path, tiny: tuple[dict[str, Tensor], dict[str, str]], part: str, name: str, value: Any
) -> None:
    tensors, about = tiny
    config = json.loads(about["config"])
    config[part][name] = value
    few = {k: t for i, (k, t) in enumerate(tensors.items()) if i % 8 == 0 or "embed" in k}
    path = tmp_path / "base.safetensors"
    write_weights(path, few, {**about, "config": json.dumps(config)})
    with cheaply(), pytest.raises(FacePackError, match=r"\. [A-Z]"):
        load_base(path)


@pytest.mark.parametrize("config", ["[" * 100_000, "[]", "{}", "null", '{"unet": 1}'])
def test_metadata_of_a_base(tmp_path: Path, config: str) -> None:
    path = tmp_path / "base.safetensors"
    write_weights(path, {"a": torch.zeros(1)}, {"config": config})
    with cheaply(), pytest.raises(ModelFileError, match="lack the sizes of the networks"):
        load_base(path)


def _control(path: Path) -> object:
    return load_control(path, load_base())


def _clip(path: Path) -> object:
    return load_clip_vision(path, 1280)


_TEXT = "text_model.encoder.layers.0.mlp.fc1.weight"
_OTHERS: dict[str, tuple[Callable[[Path], object], dict[str, Tensor]]] = {
    "a text encoder of 5 million": (
        read_text_encoder,
        {
            "text_model.embeddings.token_embedding.weight": torch.zeros(8, 64),
            "text_model.embeddings.position_embedding.weight": torch.zeros(8, 64),
            _TEXT: torch.zeros(5_000_000, 1),
        },
    ),
    "a text encoder of vectors": (
        read_text_encoder,
        {"text_model.embeddings.token_embedding.weight": torch.zeros(8)},
    ),
    "a ControlNet of numbers": (
        _control,
        {
            "control_model.input_hint_block.0.weight": torch.zeros(()),
            "a.attn2.to_k.weight": torch.zeros(()),
        },
    ),
    "a vision model of layer 10**9": (
        _clip,
        {
            "vision_model.embeddings.class_embedding": torch.zeros(1280),
            "vision_model.embeddings.patch_embedding.weight": torch.zeros(1280, 3, 14, 14),
            "vision_model.embeddings.position_embedding.weight": torch.zeros(257, 1280),
            "vision_model.encoder.layers.999999999.mlp.fc1.weight": torch.zeros(1, 1),
        },
    ),
    "a vision model of odd patches": (
        _clip,
        {
            "visual.class_embedding": torch.zeros(1280),
            "visual.conv1.weight": torch.zeros(1280, 3, 0, 0),
            "visual.positional_embedding": torch.zeros(0, 1280),
            "visual.transformer.resblocks.0.attn.in_proj_weight": torch.zeros(2),
        },
    ),
}


@pytest.mark.parametrize(("load", "tensors"), _OTHERS.values(), ids=_OTHERS)
def test_shapes_of_other_networks(
    tmp_path: Path, load: Callable[[Path], object], tensors: dict[str, Tensor]
) -> None:
    write_weights(tmp_path / "a.safetensors", tensors, {})
    with cheaply(), pytest.raises(FacePackError, match=r"\. [A-Z]"):
        load(tmp_path / "a.safetensors")
