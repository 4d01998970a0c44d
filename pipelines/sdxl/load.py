"""SDXL from one local file in the original layout. Nothing is downloaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from ...errors import IncompatibleError, ModelFileError
from ...sfsr.ip_adapter.state_dict import listed
from ..base import Base
from ..checkpoint_file import read_header, read_tensors
from ..filling import fill
from ..ldm import (
    UNET_PREFIX,
    open_clip_text_from_ldm,
    text_from_ldm,
    unet_from_ldm,
    unet_ldm_name,
    vae_from_ldm,
)
from .sizes import TEXT_2_PREFIX, TEXT_PREFIX, text_2_config, text_config, unet_config, vae_layout

LATENT_SCALE = 0.13025
"""Of SDXL's latents; those of Stable Diffusion 1.5 have another (``base.LATENT_SCALE``)."""
LATENT_CHANNELS = 4
_OTHER_PREDICTIONS = ("v_pred", "edm_mean", "edm_vpred.sigma_max")
"""Marks of checkpoints that predict something else than noise."""
_FIX = "Choose an SDXL checkpoint, one file with its VAE and both text encoders"


@dataclass(frozen=True)
class SDXLBase(Base):
    """A base with two text encoders; the UNet also reads the pooled text of the second."""

    text_encoder_2: CLIPTextModelWithProjection


def load_sdxl(path: str | Path) -> SDXLBase:
    """A frozen float32 base.

    Args:
        path: ``.safetensors``, or what ``torch.save`` wrote; nothing in it is run.

    Raises:
        ModelFileError: The file is missing, altered, or lacks an autoencoder or a text encoder.
        IncompatibleError: As :func:`sdxl_unet`.
    """
    unet = sdxl_unet(path)
    tensors, metadata = read_tensors(path)
    try:
        with torch.device("meta"):
            vae = AutoencoderKL(
                **vae_layout(tensors).diffusers_kwargs(), scaling_factor=LATENT_SCALE
            )
            text = CLIPTextModel(CLIPTextConfig(**text_config(tensors)))
            text_2 = CLIPTextModelWithProjection(CLIPTextConfig(**text_2_config(tensors)))
        fill(unet, unet_from_ldm(tensors, unet))
        fill(vae, vae_from_ldm(tensors, vae))
        fill(text, text_from_ldm(tensors, text, TEXT_PREFIX))
        fill(text_2, open_clip_text_from_ldm(tensors, text_2, TEXT_2_PREFIX))
    except (KeyError, RuntimeError) as error:  # RuntimeError is load_state_dict's
        raise ModelFileError(
            "the file's text encoders or autoencoder are incomplete", where=str(path), fix=_FIX
        ) from error
    return SDXLBase(unet, vae, text, metadata, text_2)


def sdxl_unet(path: str | Path) -> UNet2DConditionModel:
    """The UNet without values, on ``meta``, from the names and shapes in the file alone.

    Raises:
        ModelFileError: The file is missing or damaged.
        IncompatibleError: It is the refiner, a smaller relative of SDXL, one with other input
            channels, or one that does not predict noise.
    """
    tensors, _ = read_header(path)
    where = str(path)
    marks = [name for name in _OTHER_PREDICTIONS if name in tensors]
    if marks:
        raise IncompatibleError(
            f"this SDXL checkpoint does not predict noise: it has the mark {marks[0]}",
            where=where,
            fix="Choose one that does, or use it in ComfyUI",
        )
    try:
        config = unet_config(tensors)
    except KeyError as error:
        raise _not_sdxl(f"it lacks {error.args[0]}", where) from error
    if config["in_channels"] != LATENT_CHANNELS:
        raise _not_sdxl(f"its UNet has {config['in_channels']} input channels", where)
    with torch.device("meta"):
        unet = UNet2DConditionModel(**config)
    _require_unet(tensors, unet, where)
    return unet


def _require_unet(tensors: Mapping[str, Tensor], unet: UNet2DConditionModel, where: str) -> None:
    """Every weight under its name and in its shape, and none besides."""
    found = {name for name in tensors if name.startswith(UNET_PREFIX)}
    wanted = {
        UNET_PREFIX + unet_ldm_name(name, unet.config): tensor.shape
        for name, tensor in unet.state_dict().items()
    }
    missing = [name for name in wanted if name not in found]
    other = [name for name in wanted if name in found and tensors[name].shape != wanted[name]]
    for verb, names in (
        ("lacks", missing),
        ("also has", sorted(found - set(wanted))),
        ("has other shapes of", other),
    ):
        if names:
            raise _not_sdxl(f"its UNet {verb} {listed(names)}", where)


def _not_sdxl(trouble: str, where: str) -> IncompatibleError:
    return IncompatibleError(
        f"the file is not the base model of SDXL, but its refiner or a relative: {trouble}",
        where=where,
        fix=_FIX,
    )
