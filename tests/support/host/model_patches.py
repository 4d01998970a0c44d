"""Model patches of the host for a Stable Diffusion UNet: name -> MODEL to patched MODEL."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch

Patch = Callable[[Any], Any]
LAYER = "diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k"


def _node(module: str, name: str, *args: Any) -> Patch:
    def apply(model: Any) -> Any:
        node = getattr(importlib.import_module(f"comfy_extras.{module}"), name)
        if hasattr(node, "execute"):
            out = node.execute(model, *args)
            return getattr(out, "result", out)[0]
        return getattr(node(), node.FUNCTION)(model, *args)[0]

    return apply


def _windows(model: Any) -> Any:
    """Context windows over the batch, which hold two images of three."""
    arguments = (2, 1, "standard_static", 1, False, "pyramid", 0, False, [], False, [], False)
    return _node("nodes_context_windows", "ContextWindowsManualNode", *arguments)(model)


def _lora(model: Any) -> Any:
    shape = model.model.state_dict()[f"{LAYER}.weight"].shape
    patched = model.clone()
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    patched.add_patches({f"{LAYER}.weight": ("diff", (weight,))}, 0.2)
    return patched


def compiled(model: Any) -> Any:
    """As TorchCompileModel does it, with the backend that only traces."""
    from comfy_api.torch_helpers import set_torch_compile_wrapper
    from comfy_extras.nodes_torch_compile import skip_torch_compile_dict

    patched = model.clone(disable_dynamic=True)
    guards = {"guard_filter_fn": skip_torch_compile_dict}
    set_torch_compile_wrapper(model=patched, backend="eager", options=guards)
    return patched


def _merged(model: Any) -> Any:
    """Half of it is another model: the same one with a LoRA."""
    return _node("nodes_model_merging", "ModelMergeSimple", _lora(model), 0.5)(model)


PATCHES: dict[str, Patch] = {
    "FreeU": _node("nodes_freelunch", "FreeU", 1.1, 1.2, 0.9, 0.2),
    "FreeU_V2": _node("nodes_freelunch", "FreeU_V2", 1.3, 1.4, 0.9, 0.2),
    "PAG": _node("nodes_pag", "PerturbedAttentionGuidance", 3.0),
    "SAG": _node("nodes_sag", "SelfAttentionGuidance", 0.5, 2.0),
    "ToMe": _node("nodes_tomesd", "TomePatchModel", 0.5),
    "HyperTile": _node("nodes_hypertile", "HyperTile", 32, 2, 0, False),
    "NAG": _node("nodes_nag", "NAGuidance", 5.0, 0.5, 1.5),
    "APG": _node("nodes_apg", "APG", 1.0, 5.0, -0.5),
    "TCFG": _node("nodes_tcfg", "TCFG"),
    "Mahiro": _node("nodes_mahiro", "Mahiro"),
    "CFGZeroStar": _node("nodes_cfg", "CFGZeroStar"),
    "CFGNorm": _node("nodes_cfg", "CFGNorm", 0.8),
    "RescaleCFG": _node("nodes_model_advanced", "RescaleCFG", 0.7),
    "EpsilonScaling": _node("nodes_eps", "EpsilonScaling", 1.005),
    "FreSca": _node("nodes_fresca", "FreSca", 1.0, 1.25, 20),
    "zero SNR": _node("nodes_model_advanced", "ModelSamplingDiscrete", "v_prediction", True),
    "deep shrink": _node(
        "nodes_model_downscale",
        "PatchModelAddDownscale",
        *(3, 2.0, 0.0, 0.35, True, "bicubic", "bicubic"),
    ),
    "EasyCache": _node("nodes_easycache", "EasyCacheNode", 0.2, 0.15, 0.95, False),
    "context windows": _windows,
    "LoRA": _lora,
    "UNetCrossAttentionMultiply": _node(
        "nodes_attention_multiply", "UNetCrossAttentionMultiply", 1.2, 0.9, 1.1, 1.0
    ),
    "UNetSelfAttentionMultiply": _node(
        "nodes_attention_multiply", "UNetSelfAttentionMultiply", 1.2, 0.9, 1.1, 1.0
    ),
    "ModelMergeSimple": _merged,
    "compile": compiled,
}


MOVING = {"ToMe", "HyperTile"}
"""They merge or rearrange image tokens: with a mask the adapter is refused."""
SCALING = {"UNetCrossAttentionMultiply", "UNetSelfAttentionMultiply", "ModelMergeSimple"}
"""They scale weights: after an adapter in the weights they are refused."""


def hooked(conditioning: Any) -> Any:
    """CONDITIONING with a LoRA as a hook: its weights are swapped in for this prompt alone."""
    import comfy.hooks

    generator = torch.Generator().manual_seed(4)
    lora = {
        f"{LAYER}.lora_up.weight": torch.randn(64, 4, generator=generator) / 8,
        f"{LAYER}.lora_down.weight": torch.randn(4, 128, generator=generator),
    }
    hooks = comfy.hooks.create_hook_lora(lora, 1.0, 0.0)
    return [[tensor, {**options, "hooks": hooks}] for tensor, options in conditioning]
