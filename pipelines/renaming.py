"""State dicts between the LDM file layout and the diffusers and transformers classes, both ways."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..errors import ModelFileError
from .layout import TEXT_PREFIX, KeyMap

_VAE_LINEARS = ("encoder.mid_block.attentions.0.to_", "decoder.mid_block.attentions.0.to_")


def to_diffusers(
    tensors: Mapping[str, Tensor], keys: KeyMap, prefix: str, *, where: str = ""
) -> dict[str, Tensor]:
    """The part of an LDM file under ``prefix`` as a diffusers state dict.

    Keys outside the map (other networks, adapter tensors) are ignored; a missing key raises
    ModelFileError by name.
    """
    missing = [prefix + ldm for ldm in keys if prefix + ldm not in tensors]
    if missing:
        raise ModelFileError(
            f"{len(missing)} weights are missing, the first is {missing[0]}",
            where=where,
            fix="use a file of the Stable Diffusion 1.x layout of this configuration",
        )
    return {
        diffusers: _flat(tensors[prefix + ldm])
        if _is_vae_linear(diffusers)
        else tensors[prefix + ldm]
        for ldm, diffusers in keys.items()
    }


def to_ldm(tensors: Mapping[str, Tensor], keys: KeyMap, prefix: str) -> dict[str, Tensor]:
    """A diffusers state dict under the LDM names with ``prefix``: undoes :func:`to_diffusers`."""
    return {
        prefix + ldm: tensors[diffusers][:, :, None, None]
        if _is_vae_linear(diffusers) and tensors[diffusers].ndim == 2
        else tensors[diffusers]
        for ldm, diffusers in keys.items()
    }


def text_to_ldm(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A transformers ``CLIPTextModel`` state dict (v4 or v5 names) under ``TEXT_PREFIX``."""
    return {
        TEXT_PREFIX + key.removeprefix("text_model."): tensor for key, tensor in tensors.items()
    }


def text_to_transformers(
    tensors: Mapping[str, Tensor], own_keys: Mapping[str, Any]
) -> dict[str, Tensor]:
    """The CLIP part of an LDM file under the names that the installed transformers uses.

    ``own_keys`` is the state dict of the model to be filled: transformers 4 prefixes its keys with
    ``text_model.``, transformers 5 does not. The stored ``embeddings.position_ids`` is dropped
    where the model has no such buffer.
    """
    prefix = "text_model." if any(key.startswith("text_model.") for key in own_keys) else ""
    found = {
        prefix + key.removeprefix(TEXT_PREFIX): tensor
        for key, tensor in tensors.items()
        if key.startswith(TEXT_PREFIX)
    }
    return {
        key: tensor
        for key, tensor in found.items()
        if key in own_keys or not key.endswith("position_ids")
    }


def _is_vae_linear(diffusers_key: str) -> bool:
    """Whether the tensor is the weight of a Linear that LDM stores as a 1x1 convolution."""
    return diffusers_key.startswith(_VAE_LINEARS) and diffusers_key.endswith(".weight")


def _flat(weight: Tensor) -> Tensor:
    return weight[:, :, 0, 0] if weight.ndim == 4 else weight
