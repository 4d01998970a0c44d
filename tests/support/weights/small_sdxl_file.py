"""Checkpoints of SDXL's layout, a small one with its tokenizer and FaceID files, and a full one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from comfyui_dense_face.pipelines.ldm import unet_to_ldm, vae_to_ldm
from diffusers import AutoencoderKL, UNet2DConditionModel
from random_published import own_module
from safetensors.torch import save_file
from small_sdxl import CONTEXT, POOLED, TIME, faceid_tensors, unet_sizes
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

FIRST, SECOND = "conditioner.embedders.0.transformer.text_model.", "conditioner.embedders.1.model."
_OPEN_CLIP = {
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm": "ln_final",
    "encoder.layers": "transformer.resblocks",
    "layer_norm": "ln_",
    "self_attn": "attn",
    "fc1": "c_fc",
    "fc2": "c_proj",
}


@dataclass(frozen=True)
class Networks:
    """The networks of diffusers and transformers."""

    unet: Any
    vae: Any
    text_encoder: Any
    text_encoder_2: Any


def full_networks() -> Networks:
    """Those of the published size, without values (on ``meta``)."""
    sizes = {
        **unet_sizes(),
        "block_out_channels": (320, 640, 1280),
        "transformer_layers_per_block": (1, 2, 10),
        "attention_head_dim": (5, 10, 20),
        "cross_attention_dim": 2048,
        "projection_class_embeddings_input_dim": 1280 + TIME,
    }
    with torch.device("meta"):
        return Networks(
            UNet2DConditionModel(**sizes),
            _vae((128, 256, 512, 512), 2),
            CLIPTextModel(_clip(49408, 768, 12, 12, 768, "quick_gelu")),
            CLIPTextModelWithProjection(_clip(49408, 1280, 32, 20, 1280, "gelu")),
        )


def small_networks(words: int, seed: int = 5) -> Networks:
    """Small ones with random values, for a vocabulary of so many words."""
    text = words, CONTEXT // 2, 3, 1, POOLED
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = Networks(
            UNet2DConditionModel(**unet_sizes()),
            _vae((32, 64, 64, 64), 1),
            CLIPTextModel(_clip(*text, "quick_gelu")),
            CLIPTextModelWithProjection(_clip(*text, "gelu")),
        )
    for network in vars(made).values():
        network.eval().requires_grad_(False)
    return made


def _vae(channels: tuple[int, ...], blocks: int) -> AutoencoderKL:
    sizes: dict[str, Any] = {
        "block_out_channels": channels,
        "layers_per_block": blocks,
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "latent_channels": 4,
        "scaling_factor": 0.13025,
    }
    return AutoencoderKL(**sizes)


def _clip(
    words: int, width: int, layers: int, heads: int, projection: int, activation: str
) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=words,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        projection_dim=projection,
        hidden_act=activation,
        bos_token_id=words - 2,
        eos_token_id=words - 1,
    )


def checkpoint(parts: Networks) -> dict[str, Tensor]:
    """All weights under the names that SDXL is published with."""
    first = {
        FIRST + name.removeprefix("text_model."): t
        for name, t in parts.text_encoder.state_dict().items()
    }
    return {
        **unet_to_ldm(parts.unet),
        **vae_to_ldm(parts.vae),
        **first,
        **_open_clip(parts.text_encoder_2.state_dict()),
    }


def _open_clip(state: dict[str, Tensor]) -> dict[str, Tensor]:
    found = {}
    for name, tensor in state.items():
        if name == "text_projection.weight":
            found[f"{SECOND}text_projection"] = tensor.T.contiguous()
            continue
        if "k_proj" in name or "v_proj" in name:
            continue
        new = name.removeprefix("text_model.")
        for theirs, ours in _OPEN_CLIP.items():
            new = new.replace(theirs, ours)
        new = new.replace(".c_", ".mlp.c_").replace(".mlp.mlp.", ".mlp.")
        if "q_proj" in name:
            new = new.replace("q_proj.", "in_proj_")
            tensor = torch.cat([state[name.replace("q_proj", f"{part}_proj")] for part in "qkv"])
        found[SECOND + new] = tensor
    return found


def write_tokenizer(folder: Path) -> int:
    """CLIP's tokenizer without merges, each byte a token; returns their number."""
    byte_letters = [chr(n) for n in (*range(33, 127), *range(161, 173), *range(174, 256))]
    letters = byte_letters + [chr(256 + n) for n in range(256 - len(byte_letters))]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {token: number for number, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    return len(tokens)


def write_small_sdxl(folder: Path) -> Networks:
    """``sdxl.safetensors``, ``tokenizer`` and a FaceID file of each kind in a folder."""
    parts = small_networks(write_tokenizer(folder / "tokenizer"))
    save_file(checkpoint(parts), folder / "sdxl.safetensors")
    for kind, rank in (("FACEID", 4), ("PLUS", 4), ("PORTRAIT", 0)):
        torch.save(faceid_tensors(own_module, kind, rank), folder / f"{kind.lower()}_sdxl.bin")
    return parts
