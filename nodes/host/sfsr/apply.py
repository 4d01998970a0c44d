"""SFSR on a MODEL: identity, expression and scene put together, or nothing at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ..compatibility import require_layers
from ..finite import require_finite
from .lora import Lora, put_lora
from .scene import INPAINTING, channels_of, put_blending, put_channels, put_hint, require_scene
from .sources import IDENTITIES, WHERE, Source, own_clone, put_sources

Scaling = Callable[[Tensor], Tensor]


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

    layers: Of each adapter: block -> width C of its cross-attentions, and its base's text width.
    sources: Identity, expression, or both.
    scene: None if not given.
    lora: LoRA of the identity: layer -> (down, up); active while the identity is.
    lora_strength: 1 as trained; 0 leaves it out.
    """

    layers: tuple[tuple[Mapping[str, int], int], ...]
    sources: tuple[Source, ...]
    scene: Scene | None = None
    lora: Lora = field(default_factory=dict)
    lora_strength: float = 1.0


def apply_sfsr(model: Any, inputs: SFSRInputs) -> Any:
    """A clone of MODEL with the inputs applied; MODEL itself if they change nothing.

    Raises:
        IncompatibleError: The MODEL lacks a layer, its width differs, or it has the LoRA already.
    """
    for layers, text_width in inputs.layers:
        require_layers(model, layers, text_width, WHERE)
    acting = tuple(source for source in inputs.sources if not source.nothing)
    inpainting = channels_of(model) == INPAINTING
    if not acting and inputs.scene is None and not inpainting:
        return model
    patched = own_clone(model)
    require_finite(patched, WHERE)
    if acting:
        put_sources(patched, acting)
    if inputs.lora and inputs.lora_strength and any(s.name == IDENTITIES for s in acting):
        put_lora(patched, inputs.lora, inputs.lora_strength)
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
