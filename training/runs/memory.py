"""Less memory for training: frozen networks in half precision, and gradient checkpointing."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ...pipelines.base import Base
from ...pipelines.checkpointing import checkpoint_unet
from ...pipelines.filling import autocast_weights

DTYPES = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def cast_frozen(module: nn.Module, precision: str) -> None:
    """Keep frozen matrices and kernels (:func:`.autocast_weights`) in another precision.

    Args:
        precision: A key of :data:`DTYPES`; ``no`` changes nothing.
    """
    for name in autocast_weights(module):
        owner, _, own = name.rpartition(".")
        each = module.get_submodule(owner)
        parameter = each.get_parameter(own)
        if not parameter.requires_grad:
            cast = parameter.to(DTYPES[precision])
            setattr(each, own, nn.Parameter(cast, requires_grad=False))


def autocast(precision: str, device: str = "cpu") -> torch.autocast:
    """The precision of a step outside of it, as accelerate sets it inside.

    Args:
        precision: A key of :data:`DTYPES`. device: Its kind.
    """
    dtype = DTYPES[precision]
    return torch.autocast(device, dtype, enabled=dtype != torch.float32)


def save_memory(base: Base, precision: str, *, checkpointing: bool) -> None:
    """Prepare a frozen base that a network is trained through.

    Args:
        checkpointing: Keep only the inputs of the blocks of UNet and decoder for the backward pass.
    """
    networks: tuple[nn.Module, ...] = (base.unet, base.vae, base.text_encoder)
    for network in networks:
        cast_frozen(network, precision)
    if checkpointing:
        checkpoint_unet(base.unet)
        vae: Any = base.vae
        vae.enable_gradient_checkpointing()
