"""Published adapters of random weights in the sizes of the random tiny world."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch
from tiny_random import BLOCKS, CONTEXT
from torch import Tensor

Module = Callable[[str], Any]
"""A module of the pack by its name below the pack."""


def own_module(name: str) -> Any:
    """A module of the pack outside the host."""
    return importlib.import_module(f"comfyui_dense_face.{name}")


def small_target(module: Module = own_module) -> Any:
    """The random base as a target: its layers in the files' order."""
    places = module("sfsr.ip_adapter.places")
    return places.Target(places.in_file_order(BLOCKS), CONTEXT)


def published_tensors(
    kind: str,
    module: Module = own_module,
    *,
    target: Any = None,
    seed: int = 6,
    rank: int = 0,
    tokens: int = 4,
    scale: float = 0.3,
) -> dict[str, Tensor]:
    """The weights of a file of a kind (a name of ``sfsr.ip_adapter.kinds``)."""
    kinds, layout = module("sfsr.ip_adapter.kinds"), module("sfsr.ip_adapter.layout")
    found, target = getattr(kinds, kind), target or small_target(module)
    if kind == "ARC2FACE_EXPRESSION":
        made = layout.FlameLayout(found, target, 55, tokens)
    elif kind == "FINEFACE":
        made = layout.ExpressionLayout(found, target, 12)
    else:
        clip = {"clip_width": 160, "depth": 2, "inner": 64} if found.needs_clip else {}
        made = layout.IdentityLayout(found, target, 512, 32, tokens, rank, **clip)
    shapes = module("sfsr.ip_adapter.expected").expected_shapes(made)
    chance = torch.Generator().manual_seed(seed)
    return {name: scale * torch.randn(shape, generator=chance) for name, shape in shapes.items()}


def published(kind: str, module: Module = own_module, **sizes: Any) -> Any:
    """The adapter of these weights."""
    target = sizes.pop("target", None) or small_target(module)
    tensors = published_tensors(kind, module, target=target, **sizes)
    load = module("sfsr.ip_adapter.load").published_adapter
    return load(tensors, shortcut=kind == "PLUS_V2", target=target)


def reference_tensors(
    module: Module = own_module, *, seed: int = 7, rank: int = 3
) -> dict[str, Tensor]:
    """The LoRA of Arc2Face's reference adapter as published, for the random base."""
    places, target = module("sfsr.ip_adapter.places"), small_target(module)
    chance = torch.Generator().manual_seed(seed)
    found = {}
    for number in range(0, target.attentions, 2):
        width = target.attention_width(number)
        for projection in places.PROJECTIONS:
            place = f"{places.attention_place(number, target)}.{projection}"
            name = f"unet.{places.diffusers_attention(place)}.lora"
            found[f"{name}.down.weight"] = 0.2 * torch.randn(rank, width, generator=chance)
            found[f"{name}.up.weight"] = 0.2 * torch.randn(width, rank, generator=chance)
    return found
