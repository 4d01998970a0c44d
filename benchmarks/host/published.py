"""Published adapters of random weights in the files' own layouts: as objects and as a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from ...nodes.sfsr.sockets import LoadedSFSR
    from ...sfsr.ip_adapter.layout import AnyLayout, IdentityLayout
    from ...sfsr.ip_adapter.lora import AdapterLora
    from ...sfsr.ip_adapter.places import Target

VECTOR, HIDDEN, TOKENS, RANK, UNITS = 512, 1024, 4, 128, 12
"""Of ip-adapter-faceid_sd15 and FineFace: docs/reference/published_weights.md C2, D7."""
FLAME_NUMBERS, FLAME_HIDDEN, REFERENCE_RANK = 55, 110, 128
"""Of Arc2Face's adapters: docs/reference/published_weights.md A6, A7."""


def target_of(layers: Mapping[str, int], width: int) -> Target:
    """A UNet's cross-attentions (block to width) in the order of the files."""
    from ...sfsr.ip_adapter.places import Target, in_file_order

    return Target(in_file_order(layers), width, VECTOR)


def random_faceid(target: Target) -> LoadedSFSR:
    """IP-Adapter-FaceID, four tokens and its LoRA."""
    return _loaded(_faceid(target))


def random_fineface(target: Target) -> LoadedSFSR:
    """FineFace."""
    from ...sfsr.ip_adapter.kinds import FINEFACE
    from ...sfsr.ip_adapter.layout import ExpressionLayout

    return _loaded(ExpressionLayout(FINEFACE, target, UNITS))


def random_flame(target: Target) -> LoadedSFSR:
    """Arc2Face's expression adapter."""
    from ...sfsr.ip_adapter.kinds import ARC2FACE_EXPRESSION
    from ...sfsr.ip_adapter.layout import FlameLayout

    return _loaded(FlameLayout(ARC2FACE_EXPRESSION, target, FLAME_HIDDEN, TOKENS))


def random_reference_lora(target: Target) -> AdapterLora:
    """The LoRA of Arc2Face's reference adapter, on all self-attentions."""
    from ...sfsr.ip_adapter.lora import AdapterLora
    from ...sfsr.ip_adapter.places import PROJECTIONS, attention_place

    pairs: dict[str, tuple[Tensor, Tensor]] = {}
    for number in range(0, target.attentions, 2):
        width = target.attention_width(number)
        for projection in PROJECTIONS:
            down = torch.randn(REFERENCE_RANK, width) * width**-0.5
            up = torch.randn(width, REFERENCE_RANK) * 0.1 * REFERENCE_RANK**-0.5
            pairs[f"{attention_place(number, target)}.{projection}"] = down, up
    return AdapterLora(pairs)


def write_faceid(path: Path, target: Target) -> None:
    """A file as published: half precision, two nested dictionaries, the legacy format."""
    nested: dict[str, dict[str, Tensor]] = {"image_proj": {}, "ip_adapter": {}}
    for name, tensor in _tensors(_faceid(target)).items():
        part, _, rest = name.partition(".")
        nested[part][rest] = tensor.half()
    torch.save(nested, path, _use_new_zipfile_serialization=False)


def _faceid(target: Target) -> IdentityLayout:
    from ...sfsr.ip_adapter.kinds import FACEID
    from ...sfsr.ip_adapter.layout import IdentityLayout

    return IdentityLayout(FACEID, target, VECTOR, HIDDEN, TOKENS, RANK)


def _tensors(layout: AnyLayout) -> dict[str, Tensor]:
    from ...sfsr.ip_adapter.expected import expected_shapes

    shapes = expected_shapes(layout)
    return {name: torch.randn(shape) * shape[-1] ** -0.5 for name, shape in shapes.items()}


def _loaded(layout: AnyLayout) -> LoadedSFSR:
    from ...nodes.sfsr.sockets import LoadedSFSR
    from ...sfsr.ip_adapter.load import published_adapter

    adapter = published_adapter(_tensors(layout), target=layout.target)
    return LoadedSFSR("random", adapter)
