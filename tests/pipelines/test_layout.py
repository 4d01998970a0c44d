"""Weights between the LDM layout and diffusers, for widths and depths of every kind."""

from __future__ import annotations

import importlib
import json
import sys

import pytest
import torch
from comfyui_dense_face.errors import IncompatibleError, ModelFileError
from comfyui_dense_face.pipelines import ldm
from comfyui_dense_face.pipelines.base import TINY_BASE, Base, load_base, new_text_encoder
from comfyui_dense_face.pipelines.layout import UNetLayout, VAELayout
from comfyui_dense_face.pipelines.ldm import (
    UNET_PREFIX,
    VAE_PREFIX,
    attention_blocks,
    text_from_ldm,
    text_to_ldm,
    unet_from_ldm,
    unet_ldm_name,
    unet_to_ldm,
    vae_from_ldm,
    vae_to_ldm,
)
from comfyui_dense_face.storage import read_weights
from diffusers import AutoencoderKL, UNet2DConditionModel
from locate_host import PARITY

TINY = UNetLayout(64, (1, 2), 1, (True, True), 4, 128, image_size=16)
LAYOUTS = [
    UNetLayout(),
    TINY,
    UNetLayout(32, (1, 2, 2), 2, (False, True, True), 8, 48),
    UNetLayout(32, (1, 2, 1, 3), 3, (True, False, False, True), 2, 32, in_channels=9),
    UNetLayout(32, (1,), 1, (True,), 4, 32),
]


def meta_unet(layout: UNetLayout) -> UNet2DConditionModel:
    with torch.device("meta"):
        return UNet2DConditionModel(**layout.diffusers_kwargs())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_unet_round_trip_is_exact(layout: UNetLayout) -> None:
    """Our names lead back through diffusers' conversion to the very same tensors."""
    unet = meta_unet(layout)
    assert UNetLayout.from_diffusers(unet.config) == layout
    own = unet.state_dict()
    stored = {k: own[name] for k, name in zip(unet_to_ldm(unet), own, strict=True)}
    back = unet_from_ldm(stored | {f"{UNET_PREFIX}input_blocks.1.1.per_q": torch.zeros(1)}, unet)
    assert back.keys() == own.keys()
    assert all(back[name] is tensor for name, tensor in own.items())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_attention_blocks_are_in_running_order(layout: UNetLayout) -> None:
    unet = meta_unet(layout)
    blocks = attention_blocks(unet)
    order = [
        ("input_blocks", "middle_block", "output_blocks").index(b.split(".")[0]) for b in blocks
    ]
    assert order == sorted(order)
    stored = unet_to_ldm(unet, prefix="")
    for name in unet.attn_processors:
        module = unet_ldm_name(name.removesuffix(".processor"), unet.config)
        block, _, inner = module.partition(".1.transformer_blocks.")
        assert name == f"{blocks[block]}.transformer_blocks.{inner}.processor"
        assert f"{module}.to_q.weight" in stored


@pytest.mark.parametrize("layout", [VAELayout(), VAELayout((32, 32, 64, 96), 1)])
def test_vae_round_trip_is_exact(layout: VAELayout) -> None:
    with torch.device("meta"):
        vae = AutoencoderKL(**layout.diffusers_kwargs())
        assert VAELayout.from_diffusers(vae.config) == layout
        stored = vae_to_ldm(vae)
        attention = stored[f"{VAE_PREFIX}encoder.mid.attn_1.q.weight"]
        assert attention.shape[2:] == (1, 1)
        back = vae_from_ldm(stored, vae)
    assert {k: t.shape for k, t in back.items()} == {
        k: t.shape for k, t in vae.state_dict().items()
    }


def test_full_size_names_are_the_release_names() -> None:
    layout = json.loads((PARITY / "sd15_layout.json").read_text())
    with torch.device("meta"):
        vae = AutoencoderKL(**VAELayout().diffusers_kwargs())
    stored = unet_to_ldm(meta_unet(UNetLayout())) | vae_to_ldm(vae)
    prefixes = (UNET_PREFIX, VAE_PREFIX)
    expected = {
        name: tuple(shape)
        for name, (shape, _, part) in layout.items()
        if name.startswith(prefixes) and part == "sd15_frozen"
    }
    assert {name: tuple(tensor.shape) for name, tensor in stored.items()} == expected


def test_the_tiny_base_is_its_file() -> None:
    """Every tensor of the bundled file, there and back."""
    base: Base = load_base()
    stored = unet_to_ldm(base.unet) | vae_to_ldm(base.vae) | text_to_ldm(base.text_encoder)
    tensors, _ = read_weights(TINY_BASE)
    assert stored.keys() == tensors.keys()
    assert all(torch.equal(stored[name], tensor.float()) for name, tensor in tensors.items())


def test_wide_first_level_is_refused() -> None:
    with pytest.raises(IncompatibleError, match="starts with 1"):
        UNetLayout(32, (2, 4), 1, (True, True), 4, 32).diffusers_kwargs()


def test_missing_weight_is_named() -> None:
    unet = meta_unet(TINY)
    tensors = unet_to_ldm(unet)
    del tensors[f"{UNET_PREFIX}out.2.bias"]
    with pytest.raises(ModelFileError, match=r"out\.2\.bias \(here\)"):
        unet_from_ldm(tensors, unet, where="here")


def test_names_of_other_networks_are_key_errors() -> None:
    with pytest.raises(KeyError):
        unet_ldm_name("class_embedding.linear_1.weight", meta_unet(TINY).config)


def test_text_encoder_round_trip() -> None:
    text_encoder = new_text_encoder()
    stored = text_to_ldm(text_encoder)
    assert "cond_stage_model.transformer.text_model.final_layer_norm.weight" in stored
    position_ids = "cond_stage_model.transformer.text_model.embeddings.position_ids"
    back = text_from_ldm(stored | {position_ids: torch.zeros(1)}, text_encoder)
    assert back.keys() == text_encoder.state_dict().keys()


def test_a_diffusers_without_the_conversion_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "diffusers.loaders.single_file_utils", None)
    with pytest.raises(ImportError, match="install diffusers"):
        importlib.reload(ldm)
