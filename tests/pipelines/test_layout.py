"""Key maps between the LDM layout and diffusers, for widths and depths of every kind."""

from __future__ import annotations

import json

import pytest
import torch
from comfyui_dense_face.errors import IncompatibleError, ModelFileError
from comfyui_dense_face.pipelines.layout import (
    UNET_PREFIX,
    UNetLayout,
    site_of,
    transformer_of,
    unet_to_diffusers_keys,
)
from comfyui_dense_face.pipelines.renaming import (
    text_to_ldm,
    text_to_transformers,
    to_diffusers,
    to_ldm,
)
from comfyui_dense_face.pipelines.vae_layout import VAE_PREFIX, VAELayout, vae_to_diffusers_keys
from diffusers import AutoencoderKL, UNet2DConditionModel
from parity_fixture import PARITY

TINY = UNetLayout(64, (1, 2), 1, (True, True), 4, 128, image_size=16)
LAYOUTS = [
    UNetLayout(),
    TINY,
    UNetLayout(32, (1, 2, 2), 2, (False, True, True), 8, 48),
    UNetLayout(32, (1, 2, 1, 3), 3, (True, False, False, True), 2, 32, in_channels=9),
    UNetLayout(32, (1,), 1, (True,), 4, 32),
]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_unet_keys_are_all_of_diffusers(layout: UNetLayout) -> None:
    with torch.device("meta"):
        unet = UNet2DConditionModel(**layout.diffusers_kwargs())
    keys = unet_to_diffusers_keys(layout)
    assert sorted(keys.values()) == sorted(unet.state_dict())
    assert UNetLayout.from_diffusers(unet.config) == layout
    for name in unet.attn_processors:
        block, index, kind = site_of(name, layout)
        inner = f"transformer_blocks.{index}.{kind}"
        assert name == f"{transformer_of(block, layout)}.{inner}.processor"
        assert f"{block}.1.{inner}.to_q.weight" in keys


@pytest.mark.parametrize("layout", [VAELayout(), VAELayout((32, 32, 64, 96), 1)])
def test_vae_round_trip_is_exact(layout: VAELayout) -> None:
    with torch.device("meta"):
        vae = AutoencoderKL(**layout.diffusers_kwargs())
    assert VAELayout.from_diffusers(vae.config) == layout
    keys = vae_to_diffusers_keys(layout)
    assert sorted(keys.values()) == sorted(vae.state_dict())
    stored = to_ldm(vae.state_dict(), keys, VAE_PREFIX)
    attention = stored[f"{VAE_PREFIX}encoder.mid.attn_1.q.weight"]
    assert attention.shape[2:] == (1, 1)
    back = to_diffusers(stored, keys, VAE_PREFIX)
    assert {k: t.shape for k, t in back.items()} == {
        k: t.shape for k, t in vae.state_dict().items()
    }


def test_full_size_names_are_the_release_names() -> None:
    layout = json.loads((PARITY / "sd15_layout.json").read_text())
    for prefix, keys in (
        (UNET_PREFIX, unet_to_diffusers_keys(UNetLayout())),
        (VAE_PREFIX, vae_to_diffusers_keys(VAELayout())),
    ):
        names = {k for k, v in layout.items() if k.startswith(prefix) and v[2] == "sd15_frozen"}
        assert names == {prefix + key for key in keys}


def test_wide_first_level_is_refused() -> None:
    with pytest.raises(IncompatibleError, match="begins with 1"):
        UNetLayout(32, (2, 4), 1, (True, True), 4, 32).diffusers_kwargs()


def test_missing_weight_is_named() -> None:
    keys = unet_to_diffusers_keys(TINY)
    tensors = {UNET_PREFIX + key: torch.zeros(1) for key in keys if key != "out.2.bias"}
    with pytest.raises(ModelFileError, match=r"out\.2\.bias \(here\)"):
        to_diffusers(tensors, keys, UNET_PREFIX, where="here")


def test_names_outside_are_key_errors() -> None:
    with pytest.raises(KeyError):
        site_of("down_blocks.7.attentions.0.transformer_blocks.0.attn1", TINY)
    with pytest.raises(KeyError):
        transformer_of("input_blocks.2", TINY)


@pytest.mark.parametrize("prefix", ["", "text_model."])
def test_text_encoder_of_either_transformers(prefix: str) -> None:
    own = {f"{prefix}final_layer_norm.weight": torch.randn(2)}
    stored = text_to_ldm(own)
    assert list(stored) == ["cond_stage_model.transformer.text_model.final_layer_norm.weight"]
    position_ids = "cond_stage_model.transformer.text_model.embeddings.position_ids"
    back = text_to_transformers(stored | {position_ids: torch.zeros(1)}, own)
    assert back.keys() == own.keys()
