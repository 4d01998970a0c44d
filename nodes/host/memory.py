"""Our networks under the host's memory management.

Host objects used: ``CoreModelPatcher`` (0.12; looked up at call time, because the start-up swaps it
on NVIDIA), ``archive_model_dtypes`` (0.12), ``intermediate_device``, ``get_free_memory``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import comfy.model_management as mm
import comfy.model_patcher
import torch
from torch import Tensor, nn

from ...errors import InputError

_COPIES = 3
"""Of a batch while it is made: single images, the batch, and the batch after its last step."""


def patcher_class() -> type:
    """The host's current patcher class."""
    return getattr(comfy.model_patcher, "CoreModelPatcher", comfy.model_patcher.ModelPatcher)


def managed(
    net: nn.Module, tensors: Mapping[str, Tensor] | None = None, *, strict: bool = True
) -> Any:
    """A patcher for ``net``, by which the host loads it to the device and unloads it.

    Args:
        net: In evaluation mode, on the offload device.
        tensors: Weights to fill it with, after wrapping: a dynamic patcher keeps the given ones.
    """
    net = net.eval().requires_grad_(False)
    if hasattr(mm, "archive_model_dtypes"):
        mm.archive_model_dtypes(net)
    patcher = patcher_class()(
        net, load_device=mm.get_torch_device(), offload_device=mm.unet_offload_device()
    )
    if tensors is not None:
        dynamic = getattr(patcher, "is_dynamic", lambda: False)()
        net.load_state_dict(dict(tensors), strict=strict, assign=dynamic)
    return patcher


def load(patcher: Any, working_bytes: int = 0) -> torch.device:
    """Bring a managed net to its device, making room for ``working_bytes``; returns that device."""
    mm.load_models_gpu([patcher], memory_required=working_bytes)
    return patcher.load_device


def require_room(count: int, height: int, width: int, where: str, channels: int = 3) -> None:
    """Check that a batch of float32 images or masks fits into memory, before it is made.

    Args:
        where: The node, for messages.

    Raises:
        InputError: It does not fit, with the copies that making it needs.
    """
    needed = _COPIES * 4 * count * height * width * channels
    free = mm.get_free_memory(torch.device("cpu"))
    if needed > free:
        raise InputError(
            f"{count} images of {width}x{height} px need {needed / 2**30:.1f} GB of memory, "
            f"{free / 2**30:.1f} are free",
            where=where,
            fix="Give fewer or smaller ones",
        )


def compute_dtypes(parameters: int, stored: torch.dtype) -> tuple[torch.dtype, torch.dtype | None]:
    """(storage dtype, compute dtype or None if the same) for a network next to the UNet."""
    supported = [torch.float16, torch.bfloat16, torch.float32]
    dtype = mm.unet_dtype(model_params=parameters, supported_dtypes=supported, weight_dtype=stored)
    return dtype, mm.unet_manual_cast(dtype, mm.get_torch_device(), supported)
