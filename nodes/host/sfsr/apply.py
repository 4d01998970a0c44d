"""SFSR on a MODEL: identity, expression and scene put together, or nothing at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import comfy.sd
from torch import Tensor

from ..compatibility import require_layers
from .scene import INPAINTING, channels_of, put_blending, put_channels, put_hint, require_scene
from .sources import WHERE, Source, own_clone, put_sources

Scaling = Callable[[Tensor], Tensor]
Lora = Mapping[str, tuple[Tensor, Tensor]]


@dataclass(frozen=True, eq=False)
class Scene:
    """The scene, as functions of the MODEL's scaling of latents.

    channels: Its five channels [1 or B, 5, h, w], for an inpainting UNet.
    hint: What is added behind the first convolution [1 or B, C, h, w]; None where the adapter has
        no hint.
    """

    channels: Callable[[Scaling], Tensor]
    hint: Callable[[Scaling], Tensor] | None


@dataclass(frozen=True, eq=False)
class SFSRInputs:
    """The inputs of Apply SFSR, prepared.

    layers: Block -> width C of all cross-attentions of the adapter.
    text_width: Of the adapter's base model.
    sources: Identity, and expression where there is one.
    mask: [M, H, W] in 0..1 over the whole image, where the sources act; None = everywhere.
    scene: None if not given.
    lora: LoRA of the identity: layer -> (down, up); active while the identity is.
    """

    layers: Mapping[str, int]
    text_width: int
    sources: tuple[Source, ...]
    mask: Tensor | None = None
    scene: Scene | None = None
    lora: Lora = field(default_factory=dict)


def apply_sfsr(model: Any, inputs: SFSRInputs) -> Any:
    """A clone of MODEL with the inputs applied; MODEL itself if they change nothing.

    Raises:
        IncompatibleError: The MODEL lacks a layer, or its width differs.
    """
    require_layers(model, inputs.layers, inputs.text_width, WHERE)
    empty = inputs.mask is not None and not bool(inputs.mask.any())
    acting = () if empty else tuple(source for source in inputs.sources if not source.nothing)
    inpainting = channels_of(model) == INPAINTING
    if not acting and inputs.scene is None and not inpainting:
        return model
    patched = own_clone(model)
    if acting:
        everywhere = inputs.mask is None or bool((inputs.mask == 1).all())
        put_sources(patched, acting, None if everywhere else inputs.mask)
    if inputs.lora and inputs.sources[0] in acting:
        patched = _with_lora(patched, inputs.lora, min(1.0, inputs.sources[0].weight))
    if inputs.scene is None:
        if inpainting:
            require_scene(patched)
        return patched
    _put_scene(patched, inputs.scene, inpainting)
    return patched


def _put_scene(model: Any, scene: Scene, inpainting: bool) -> None:
    # Not the MODEL's own method: what is made is remembered by it, and would keep the MODEL alive.
    scaling = model.model.latent_format.process_in
    if inpainting:
        put_channels(model, scene.channels(scaling))
    elif scene.hint is not None:
        put_hint(model, scene.hint(scaling))
    else:
        put_blending(model)


def _with_lora(model: Any, lora: Lora, strength: float) -> Any:
    """The host's own way, so that these are weight patches as any LoRA's."""
    tensors = {}
    for place, (down, up) in lora.items():
        tensors[f"diffusion_model.{place}.lora_down.weight"] = down
        tensors[f"diffusion_model.{place}.lora_up.weight"] = up
    return comfy.sd.load_lora_for_models(model, None, tensors, strength, 0.0)[0]
