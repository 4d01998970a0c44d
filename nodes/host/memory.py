"""Our networks under the host's memory management.

Host objects used: ``CoreModelPatcher`` (0.12; looked up at call time, because the start-up swaps it
on NVIDIA), ``archive_model_dtypes`` (0.12), ``intermediate_device``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import comfy.model_management as mm
import comfy.model_patcher
import torch
from torch import Tensor, nn


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


def compute_dtypes(parameters: int, stored: torch.dtype) -> tuple[torch.dtype, torch.dtype | None]:
    """(storage dtype, compute dtype or None if the same) for a network next to the UNet."""
    supported = [torch.float16, torch.bfloat16, torch.float32]
    dtype = mm.unet_dtype(model_params=parameters, supported_dtypes=supported, weight_dtype=stored)
    return dtype, mm.unet_manual_cast(dtype, mm.get_torch_device(), supported)
