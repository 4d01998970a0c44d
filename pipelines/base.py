"""A base model of Stable Diffusion 1.x architecture in diffusers, from one LDM-layout file.

The file's metadata ``config`` (JSON) holds the sizes of UNet, VAE and text encoder; its tensors
have the LDM names. The bundled tiny world is such a file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from .. import limits
from ..demo.bundled import BASE_FILE, WEIGHTS
from ..demo.vocabulary import CONTEXT_LENGTH, END, START, WORDS
from ..errors import ModelFileError, refuse_with
from ..readers.json_text import parse_json
from ..state_dict import check_state_dict
from ..storage import write_weights
from .checkpoint_file import opened_checkpoint
from .filling import fill
from .layout import UNetLayout, VAELayout
from .ldm import text_from_ldm, text_to_ldm, unet_from_ldm, unet_to_ldm, vae_from_ldm, vae_to_ldm

TINY_BASE = WEIGHTS / BASE_FILE
LATENT_SCALE = 0.18215
_COUNTS = {
    "num_res_blocks", "channel_mult", "heads", "transformer_depth", "num_hidden_layers",
    "num_attention_heads",
}  # fmt: skip

TINY_UNET = UNetLayout(
    model_channels=64,
    channel_mult=(1, 2),
    num_res_blocks=1,
    attention=(True, True),
    heads=4,
    context_dim=128,
    image_size=16,
)
TINY_VAE = VAELayout(channels=(32, 32, 64, 64), num_res_blocks=2)


def clip_config(
    words: int, length: int, start: int, end: int, *, width: int, layers: int, heads: int
) -> dict[str, Any]:
    """Constructor arguments of a CLIP text encoder; ``start`` and ``end`` are token numbers."""
    return {
        "vocab_size": words,
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "max_position_embeddings": length,
        "hidden_act": "quick_gelu",
        "bos_token_id": start,
        "eos_token_id": end,
        "pad_token_id": end,
    }


TINY_TEXT = clip_config(len(WORDS), CONTEXT_LENGTH, START, END, width=128, layers=2, heads=4)


@dataclass(frozen=True)
class Base:
    """UNet, autoencoder and text encoder of one model, with the file's metadata."""

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text_encoder: CLIPTextModel
    metadata: dict[str, str]


def new_unet(layout: UNetLayout = TINY_UNET) -> UNet2DConditionModel:
    """An untrained UNet."""
    return UNet2DConditionModel(**layout.diffusers_kwargs())


def new_vae(layout: VAELayout = TINY_VAE) -> AutoencoderKL:
    """An untrained autoencoder."""
    return AutoencoderKL(**layout.diffusers_kwargs())


def new_text_encoder(config: dict[str, Any] | None = None) -> CLIPTextModel:
    """An untrained CLIP text encoder."""
    return CLIPTextModel(CLIPTextConfig(**(config or TINY_TEXT)))


def save_base(
    path: str | Path,
    unet: UNet2DConditionModel,
    vae: AutoencoderKL,
    text_encoder: CLIPTextModel,
    metadata: dict[str, str],
) -> None:
    """Write one fp16 file in LDM layout, with the sizes in its metadata."""
    tensors = unet_to_ldm(unet) | vae_to_ldm(vae) | text_to_ldm(text_encoder)
    half = {name: tensor.half() for name, tensor in tensors.items()}
    write_weights(path, half, {**metadata, "config": sizes_as_text(unet, vae, text_encoder)})


def sizes_as_text(
    unet: UNet2DConditionModel, vae: AutoencoderKL, text_encoder: CLIPTextModel
) -> str:
    """What :func:`stored_sizes` reads."""
    config = {
        "unet": asdict(UNetLayout.from_diffusers(unet.config)),
        "vae": asdict(VAELayout.from_diffusers(vae.config)),
        "text": {key: getattr(text_encoder.config, key) for key in TINY_TEXT},
    }
    return json.dumps(config)


def load_base(path: str | Path = TINY_BASE, dtype: torch.dtype = torch.float32) -> Base:
    """Read a base that has its sizes in its metadata; frozen, in evaluation mode.

    Args:
        dtype: As in :func:`build_base`.

    Raises:
        ModelFileError: The file is missing, altered, or lacks its sizes.
    """
    with opened_checkpoint(path) as file, refuse_with(_without_sizes(str(path))):
        sizes = stored_sizes(file.metadata, str(path))
        return build_base(file.tensors, *sizes, file.metadata, dtype, file.read)


def stored_sizes(
    metadata: Mapping[str, str], where: str
) -> tuple[UNetLayout, VAELayout, dict[str, Any]]:
    """The sizes of UNet, autoencoder and text encoder in a base file's metadata.

    Raises:
        ModelFileError: They are missing.
    """
    with refuse_with(_without_sizes(where)):
        config = parse_json(metadata["config"])
        if not _small(config):
            raise _without_sizes(where)
        layouts = UNetLayout(**_tuples(config["unet"])), VAELayout(**_tuples(config["vae"]))
        return *layouts, config["text"]


def _without_sizes(where: str) -> ModelFileError:
    return ModelFileError(
        "the metadata lack the sizes of the networks",
        where=where,
        fix="Use a base file written by this pack",
    )


def build_base(
    tensors: Mapping[str, Tensor],
    unet_layout: UNetLayout,
    vae_layout: VAELayout,
    text: dict[str, Any],
    metadata: dict[str, str],
    dtype: torch.dtype = torch.float32,
    read: Callable[[Tensor], Tensor] = lambda tensor: tensor,
) -> Base:
    """A frozen base of the given sizes from tensors in LDM layout.

    Args:
        dtype, read: As in :func:`.fill`.

    Raises:
        ModelFileError: A weight is missing.
    """
    with torch.device("meta"):
        networks = new_unet(unet_layout), new_vae(vae_layout), new_text_encoder(text)
    unet, vae, text_encoder = networks
    found = text_from_ldm(tensors, text_encoder)
    check_state_dict(text_encoder, found, "the text encoder")
    states = unet_from_ldm(tensors, unet), vae_from_ldm(tensors, vae), found
    for network, state in zip(networks, states, strict=True):
        fill(network, state, dtype, read)
    return Base(*networks, metadata)


def _small(config: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether no size or count would take memory or time without end."""
    values = [(name, value) for part in config.values() for name, value in part.items()]
    numbers = [
        (name, number)
        for name, value in values
        for number in (value if isinstance(value, list) else [value])
        if isinstance(number, int | float)
    ]
    lists = [value for _, value in values if isinstance(value, list)]
    return all(
        0 <= number <= (limits.NETWORK_DEPTH if name in _COUNTS else limits.NETWORK_WIDTH)
        for name, number in numbers
    ) and all(len(value) <= limits.NETWORK_DEPTH for value in lists)


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
