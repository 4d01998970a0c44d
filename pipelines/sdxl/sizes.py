"""Sizes of SDXL's networks, from the names and shapes in a checkpoint.

The UNet has three levels of two residual blocks each. The lower two levels and the middle have
attention, several transformers in a block, with heads of 64 channels. Widths and numbers of
transformers come from the file.
Source: docs/reference/published_weights.md C4; diffusers' classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..base import clip_config
from ..layout import VAELayout
from ..ldm import UNET_PREFIX, VAE_PREFIX

TEXT_PREFIX = "conditioner.embedders.0.transformer.text_model."
"""CLIP-L, under the names of transformers."""
TEXT_2_PREFIX = "conditioner.embedders.1.model."
"""OpenCLIP bigG, under the names of OpenCLIP."""
HEAD = 64
"""Channels of an attention head, in the UNet and in both text encoders."""
_TIME = 256
"""Numbers that each size is embedded in."""
_LEVELS = (1, 2, 4)
_FIRST_BLOCKS = (4, 7)
"""The first input blocks with attention, of the middle and of the lowest level."""
_ADDED = "label_emb.0.0.weight"


def unet_config(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Constructor arguments of the ``UNet2DConditionModel``.

    Raises:
        KeyError: The tensors are not those of SDXL.
    """
    width, channels = tensors[f"{UNET_PREFIX}input_blocks.0.0.weight"].shape[:2]
    inner = [f"{UNET_PREFIX}input_blocks.{n}.1.transformer_blocks." for n in _FIRST_BLOCKS]
    widths = tuple(width * factor for factor in _LEVELS)
    cross_down, cross_up = "CrossAttnDownBlock2D", "CrossAttnUpBlock2D"
    return {
        "in_channels": channels,
        "block_out_channels": widths,
        "layers_per_block": 2,
        "down_block_types": ("DownBlock2D", cross_down, cross_down),
        "up_block_types": (cross_up, cross_up, "UpBlock2D"),
        "transformer_layers_per_block": (1, *(_count(tensors, start) for start in inner)),
        "attention_head_dim": tuple(max(1, w // HEAD) for w in widths),  # numbers of heads
        "cross_attention_dim": tensors[f"{inner[0]}0.attn2.to_k.weight"].shape[1],
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": _TIME,
        "projection_class_embeddings_input_dim": tensors[UNET_PREFIX + _ADDED].shape[1],
    }


def vae_layout(tensors: Mapping[str, Tensor]) -> VAELayout:
    """The sizes of the autoencoder.

    Raises:
        KeyError: The file has none.
    """
    start = f"{VAE_PREFIX}encoder.down."
    levels = max(1, _count(tensors, start))
    widths = [tensors[f"{start}{n}.block.0.conv1.weight"].shape[0] for n in range(levels)]
    return VAELayout(tuple(widths), _count(tensors, f"{start}0.block."))


def text_config(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Constructor arguments of the first text encoder, a ``CLIPTextModel``.

    Raises:
        KeyError: The file has none.
    """
    table = tensors[f"{TEXT_PREFIX}embeddings.token_embedding.weight"]
    places = tensors[f"{TEXT_PREFIX}embeddings.position_embedding.weight"]
    return _clip(table, places, _count(tensors, f"{TEXT_PREFIX}encoder.layers."))


def text_2_config(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Constructor arguments of the second one, a ``CLIPTextModelWithProjection``.

    Raises:
        KeyError: The file has none.
    """
    table = tensors[f"{TEXT_2_PREFIX}token_embedding.weight"]
    places = tensors[f"{TEXT_2_PREFIX}positional_embedding"]
    config = _clip(table, places, _count(tensors, f"{TEXT_2_PREFIX}transformer.resblocks."))
    pooled = tensors[f"{TEXT_2_PREFIX}text_projection"].shape[1]
    return {**config, "hidden_act": "gelu", "projection_dim": pooled}


def _clip(table: Tensor, places: Tensor, layers: int) -> dict[str, Any]:
    words, width = table.shape
    # CLIP's last two tokens are its start and its end.
    return clip_config(
        words, len(places), words - 2, words - 1, width=width, layers=layers, heads=width // HEAD
    )


def _count(tensors: Mapping[str, Tensor], start: str) -> int:
    """How many numbers follow this beginning of a name."""
    return len({name[len(start) :].split(".")[0] for name in tensors if name.startswith(start)})
