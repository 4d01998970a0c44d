"""Less memory for training: frozen networks in half precision, and gradient checkpointing."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ...pipelines.base import Base
from ...pipelines.checkpointing import checkpoint_unet

DTYPES = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_CAST = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d)


def cast_frozen(module: nn.Module, precision: str) -> None:
    """Keep matrices and kernels without gradients in the precision that autocast computes in.

    Results are the same: autocast would round them in every pass, and keep both copies. Norms and
    embeddings stay as they are.

    Args:
        precision: A key of :data:`DTYPES`; ``no`` changes nothing.
    """
    for each in module.modules():
        frozen = not any(p.requires_grad for p in each.parameters(recurse=False))
        if isinstance(each, _CAST) and frozen:
            for name, parameter in list(each.named_parameters(recurse=False)):
                cast = parameter.to(DTYPES[precision])
                setattr(each, name, nn.Parameter(cast, requires_grad=False))


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
