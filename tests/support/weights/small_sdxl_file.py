"""A small checkpoint of SDXL's layout, with a tokenizer for it, and FaceID files that fit it."""

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
from small_sdxl import CONTEXT, POOLED, faceid_tensors, unet_sizes
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
class SmallSDXL:
    """The networks of diffusers and transformers, sizes spelled out here."""

    unet: Any
    vae: Any
    text_encoder: Any
    text_encoder_2: Any


def small_sdxl(words: int, seed: int = 5) -> SmallSDXL:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        sizes: dict[str, Any] = {
            "block_out_channels": (32, 64, 64, 64),
            "layers_per_block": 1,
            "down_block_types": ("DownEncoderBlock2D",) * 4,
            "up_block_types": ("UpDecoderBlock2D",) * 4,
            "latent_channels": 4,
            "scaling_factor": 0.13025,
        }
        made = SmallSDXL(
            UNet2DConditionModel(**unet_sizes()),
            AutoencoderKL(**sizes),
            CLIPTextModel(_clip(words, "quick_gelu")),
            CLIPTextModelWithProjection(_clip(words, "gelu")),
        )
    for network in vars(made).values():
        network.eval().requires_grad_(False)
    return made


def _clip(words: int, activation: str) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=words,
        hidden_size=CONTEXT // 2,
        intermediate_size=2 * CONTEXT,
        num_hidden_layers=3,
        num_attention_heads=1,
        projection_dim=POOLED,
        hidden_act=activation,
        bos_token_id=words - 2,
        eos_token_id=words - 1,
    )


def checkpoint(parts: SmallSDXL) -> dict[str, Tensor]:
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


def write_small_sdxl(folder: Path) -> SmallSDXL:
    """``sdxl.safetensors``, ``tokenizer`` and a FaceID file of each kind in a folder."""
    parts = small_sdxl(write_tokenizer(folder / "tokenizer"))
    save_file(checkpoint(parts), folder / "sdxl.safetensors")
    for kind, rank in (("FACEID", 4), ("PLUS", 4), ("PORTRAIT", 0)):
        torch.save(faceid_tensors(own_module, kind, rank), folder / f"{kind.lower()}_sdxl.bin")
    return parts
