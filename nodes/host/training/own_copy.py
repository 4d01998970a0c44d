"""Copies of the host's networks that gradients may flow through.

The host loads networks in inference mode, and autograd refuses such weights. The host's own
training nodes load the file again; here the network is copied in memory, so that every MODEL and
CLIP can be trained on. The copies share no tensor with the originals.

Host objects used: ``ModelPatcher``, ``CLIP.clone``, ``unload_all_models``, and the attributes that
a patcher leaves on layers.
"""

from __future__ import annotations

import copy
from typing import Any

import comfy.model_management as mm
import comfy.model_patcher
import torch
from torch import Tensor, nn

_OF_A_PATCHER = {
    "weight_function", "bias_function", "comfy_cast_weights", "prev_comfy_cast_weights",
    "comfy_patched_weights", "comfy_force_cast_weights", "weight_lowvram_function",
    "bias_lowvram_function", "seed_key", "_pin_state", "_prefetch",
    "_v", "_v_weight", "_v_bias", "_v_signature",
}  # fmt: skip
"""What a patcher sets on a layer while the network is loaded, or leaves there."""
_SAMPLING = "model_sampling"


def own_model(model: Any, dtype: torch.dtype) -> Any:
    """A patcher of a copy of a MODEL's network, with its weight patches (LoRA) and its sampling.

    Attention patches and wrappers are left out. All models are unloaded first, so that the weights
    are those of the file.

    Args:
        dtype: Of the copy's weights and of its calculations.
    """
    _unload()
    net = _copied(model.model, dtype)
    net.diffusion_model.dtype = dtype
    net.manual_cast_dtype = None
    net.current_patcher = None
    patcher = _patcher(net, model, model.load_device)
    sampling = model.object_patches.get(_SAMPLING)  # of another kind than the file's
    if isinstance(sampling, nn.Module):
        patcher.object_patches[_SAMPLING] = _copied(sampling, None)
    return patcher


def own_clip(clip: Any, device: torch.device) -> Any:
    """A CLIP with a copy of the text encoder, float32, that stays where it is loaded.

    Args:
        device: Where it calculates.
    """
    _unload()
    own = clip.clone()
    own.cond_stage_model = _copied(clip.cond_stage_model, torch.float32)
    for module in own.cond_stage_model.modules():
        if isinstance(module, nn.LayerNorm):
            module.register_forward_pre_hook(_cloned_input)
    own.patcher = _patcher(own.cond_stage_model, clip.patcher, device)
    # Loaded once by the training; the host would make room for it before every prompt.
    own.load_model = lambda *_, **__: own.patcher
    return own


def _cloned_input(_layer: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """The host's text encoder adds to its hidden states in place, after layers that need them."""
    return (inputs[0].clone(), *inputs[1:])


def _unload() -> None:
    # The host puts weights back in place, which only inference mode allows with those made in it.
    with torch.inference_mode():
        mm.unload_all_models()


def _patcher(net: nn.Module, original: Any, device: torch.device) -> Any:
    """A plain patcher: a dynamic one streams weights that backward passes still need."""
    patcher = comfy.model_patcher.ModelPatcher(
        net, load_device=device, offload_device=torch.device("cpu")
    )
    patcher.patches = {name: list(patches) for name, patches in original.patches.items()}
    patcher.patches_uuid = original.patches_uuid
    return patcher


def _copied(module: nn.Module, dtype: torch.dtype | None) -> Any:
    """A module with tensors of its own on the CPU; what is no module or tensor is shared.

    Args:
        dtype: Of its floating point parameters; None keeps theirs.
    """
    made = copy.copy(module)
    state = {k: v for k, v in vars(module).items() if k not in _OF_A_PATCHER}
    state["_parameters"] = {
        name: None if p is None else nn.Parameter(_owned(p, dtype), requires_grad=False)
        for name, p in module._parameters.items()
    }
    state["_buffers"] = {
        name: None if b is None else _owned(b, None) for name, b in module._buffers.items()
    }
    state["_modules"] = {
        name: None if m is None else _copied(m, dtype) for name, m in module._modules.items()
    }
    made.__dict__ = state
    return made


def _owned(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    if tensor.is_meta:  # the host fills in zeros for what a file lacks
        tensor = torch.zeros(tensor.shape, dtype=tensor.dtype)
    wanted = dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype
    return tensor.detach().to("cpu", wanted, copy=True)
