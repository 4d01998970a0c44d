"""The small network of SDXL's shape with an adapter on it, by the pack's binding to diffusers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch
from comfyui_dense_face.dense_face.blending import Model
from comfyui_dense_face.faces.identity import Identity
from comfyui_dense_face.pipelines.guided import guided_model, no_residuals
from comfyui_dense_face.pipelines.real.adapters import prepare_sources
from comfyui_dense_face.pipelines.real.clip_vision import ClipStates
from comfyui_dense_face.pipelines.source_attention import InstalledSources, SourceInputs
from comfyui_dense_face.sfsr.ip_adapter.load import published_adapter
from random_published import own_module
from small_sdxl import faceid_tensors, prompt, small_target
from torch import Tensor

CFG, WEIGHT, LORA, S_SCALE = 3.0, 0.7, 0.6, 0.8
ENCODER = "insightface/w600k_r50"
SIZES = [128.0, 128.0, 0.0, 0.0, 128.0, 128.0]
"""What the host tells SDXL for latents of 16: height, width, crop, target height and width."""


@contextmanager
def on_diffusers(
    theirs: Any, person: Any, clip: Any, kind: str, rank: int, mask: Tensor | None = None
) -> Iterator[Model]:
    """Guided noise prediction by the pack's binding, as ``pipelines.real`` puts it together."""
    made = published_adapter(
        faceid_tensors(own_module, kind, rank),
        shortcut=kind == "PLUS_V2",
        target=small_target(own_module),
    )
    photos = [Identity(each.vector, ENCODER) for each in person.identities]
    sources = prepare_sources(made, None, photos, None, ClipStates(*clip), S_SCALE)
    inputs = SourceInputs(
        sources.tokens, {"identity": WEIGHT}, mask, absent=sources.absent, unprompted=1
    )
    both = [prompt(seed)[0] for seed in (2, 1)]  # the negative one first
    contexts = torch.cat([text for text, _ in both])
    pooled = torch.cat([more["pooled_output"] for _, more in both])
    added = {"text_embeds": pooled, "time_ids": torch.tensor([SIZES, SIZES])}
    base: Any = SimpleNamespace(unet=theirs)
    with InstalledSources(theirs, sources.adapters, inputs, LORA):
        yield guided_model(base, contexts, CFG, no_residuals, added=added)
