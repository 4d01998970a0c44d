"""Compatibility check of adapter and MODEL, by names and widths of attention layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ...dense_face.fused import FusedAdapter
from ...errors import IncompatibleError
from ...sfsr.ip_adapter.places import transformer_place
from ...sfsr.ip_adapter.refuse import SDXL_FILES

_SDXL_KEYS, _SDXL_TEXT = "input_blocks.4.1.transformer_blocks.0.attn2.to_k", 2048
_NAMES = {768: "Stable Diffusion 1.5", 2048: "SDXL", 128: "the bundled tiny world"}


def matching_attentions(
    model: Any, fused: FusedAdapter, where: str = "Apply Dense-Face Adapter"
) -> dict[str, Any]:
    """LDM name of each attention layer that the adapter changes -> the MODEL's module.

    Raises:
        IncompatibleError: One is missing or of another width.
    """
    # Names share prefixes: each module along a path is looked up once.
    known: dict[str, Any] = {"": getattr(model.model, "diffusion_model", None)}
    found: dict[str, Any] = {}
    for key, delta in fused.weights.items():
        layer, projection, _ = key.rsplit(".", 2)
        linear = _at(f"{layer}.{projection}", known)
        own = (getattr(linear, "out_features", None), getattr(linear, "in_features", None))
        if own != tuple(delta.shape):
            theirs = "nothing" if own[0] is None else f"{own[0]}x{own[1]}"
            raise IncompatibleError(
                f"the adapter does not fit this model: at {layer}.{projection} it is "
                f"{delta.shape[0]}x{delta.shape[1]}, the model has {theirs}",
                where=where,
                fix=_right_model(kind(fused), known),
            )
        found[layer] = known[layer]
    return found


def require_layers(model: Any, layers: Mapping[str, int], text_width: int, where: str) -> None:
    """Check that a MODEL has these cross-attentions (layer -> width C), reading text of this width.

    A layer is named as in ``sfsr.ip_adapter.places``.

    Raises:
        IncompatibleError: One is missing or of another width, or the text is.
    """
    known: dict[str, Any] = {"": getattr(model.model, "diffusion_model", None)}
    for layer, width in layers.items():
        attention = f"{transformer_place(layer)}.attn2"
        own = getattr(_at(f"{attention}.to_q", known), "out_features", None)
        if own != width:
            raise IncompatibleError(
                f"the adapter does not fit this model: at {layer} it is {width} wide, "
                f"the model has {'nothing' if own is None else own}",
                where=where,
                fix=_right_model(_named(text_width), known),
            )
        text = getattr(_at(f"{attention}.to_k", known), "in_features", text_width)
        if text != text_width:  # Stable Diffusion 2 has the layers of 1.5
            raise IncompatibleError(
                f"the adapter does not fit this model: the model's text is {text} wide, "
                f"the adapter's {text_width}",
                where=where,
                fix=_right_model(_named(text_width), known),
            )


def kind(fused: FusedAdapter) -> str:
    """Name of the base model that the adapter's text width belongs to."""
    widths = {w.shape[1] for k, w in fused.weights.items() if k.endswith("attn2.to_k.weight")}
    return _named(next(iter(widths), 0))


def _named(text: int) -> str:
    return f"{_NAMES.get(text, 'its own base')}, text width {text}"


def _right_model(name: str, known: dict[str, Any]) -> str:
    """How to fix it; for an SDXL model, which adapters it takes."""
    fix = f"Connect a model of the kind the adapter was made for ({name})"
    if getattr(_at(_SDXL_KEYS, known), "in_features", 0) != _SDXL_TEXT:
        return fix
    return f"{fix}; for SDXL there are {SDXL_FILES}, for Apply SFSR"


def _at(path: str, known: dict[str, Any]) -> Any:
    if path not in known:
        parent, _, name = path.rpartition(".")
        known[path] = _part(_at(parent, known), name)
    return known[path]


def _part(module: Any, name: str) -> Any:
    if name.isdigit() and isinstance(module, torch.nn.ModuleList | torch.nn.Sequential):
        return module[int(name)] if int(name) < len(module) else None
    return getattr(module, name, None)
