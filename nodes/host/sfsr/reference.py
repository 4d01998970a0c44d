"""Arc2Face's reference adapter on a MODEL: a photo's self-attention inputs beside the image's own.

    prompt's half    A(q(h), k([h ; r]), v([h ; r]))
    other half       A(q(h), k(h), v(h))

h is a self-attention's input, r what the same layer read of the reference image: the bank, taken
once by the MODEL without any patches at timestep 0. Projections are the MODEL's own, with the LoRA,
which acts in both halves. The halves have different numbers of keys, so each is computed by itself.
Source: docs/reference/published_weights.md A7.

Host objects used: ``attn1_patch``, ``patches_replace``, ``WrappersMP.APPLY_MODEL`` and the model
that it is called for; of the UNet ``attn1`` with ``to_k`` and ``to_v``; of a ModelPatcher all that
it puts on a model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import torch
from comfy.patcher_extension import CallbacksMP, WrappersMP
from torch import Tensor

from ....errors import IncompatibleError, InputError
from ....sfsr.ip_adapter.lora import AdapterLora
from ....sfsr.ip_adapter.places import SD15, Target, transformer_place
from ..attention import AttentionSlot, Extra, SlotChange, for_part
from ..compatibility import require_layers
from ..compilation import uncompiled
from ..dense_face.apply import block_key
from ..single_call import call_once, positive_guider
from ..weight_patches import KEY
from .lora import put_lora
from .scene import INPAINTING, channels_of
from .sources import PROMPT, SPLIT, call_with, own_clone, parts

NETWORKS = "arc2face_networks"
"""Key in ``transformer_options``: uid to the UNet of this call, for its projections."""
WHERE = "Apply Arc2Face Reference"
TARGET = SD15
"""What the published file fits."""
CHANNELS = 4
"""Of Stable Diffusion's latents."""
Bank = Mapping[str, Tensor]
"""Block (``input_blocks.1``) -> inputs of its self-attention [1 or B, M, C], on the CPU."""


def require_model(model: Any, target: Target) -> None:
    """Check that a MODEL has the layers of the adapter.

    Raises:
        IncompatibleError: It is of another architecture, or an inpainting model.
    """
    if channels_of(model) == INPAINTING:
        raise IncompatibleError(
            "this is an inpainting model, and the reference adapter is for Arc2Face's own UNet",
            where=WHERE,
            fix="Connect Load Diffusion Model with Arc2Face's UNet",
        )
    require_layers(model, target.layers, target.width, WHERE)


def reference_bank(model: Any, target: Target, latent: Tensor, positive: Any) -> Bank:
    """What all self-attentions read of reference images.

    Args:
        model: MODEL; the pass is made without its patches.
        latent: [N, 4, h, w] of the VAE, N = 1 or one for each person.
        positive: CONDITIONING of the people.

    Raises:
        InputError: The prompt has several parts, there is neither one reference for all people nor
            one for each, or the VAE is of another base.
    """
    if latent.shape[1] != CHANNELS:
        raise InputError(
            f"the VAE gives latents of {latent.shape[1]} channels",
            where=WHERE,
            fix="Connect the VAE of Stable Diffusion 1.5",
        )
    if len(positive) != 1:
        raise InputError(
            f"the prompt consists of {len(positive)} parts",
            where=WHERE,
            fix="Connect the positive output of Encode Arc2Face Identity directly",
        )
    text = positive[0][0]
    if len(latent) != len(text) and 1 not in (len(latent), len(text)):
        raise InputError(
            f"there are {len(latent)} reference images for {len(text)} people",
            where=WHERE,
            fix="Give one for all or exactly one for each",
        )
    latent = latent.expand(max(len(latent), len(text)), -1, -1, -1)
    found: dict[Any, Tensor] = {}

    def keep(h: Tensor, context: Tensor, value: Tensor, extra: Extra) -> tuple[Tensor, ...]:
        found[tuple(extra["block"])] = h.cpu()
        return h, context, value

    bare = _without_patches(model)
    bare.set_model_attn1_patch(keep)
    level = bare.get_model_object("model_sampling").sigma(torch.tensor(0.0)).float().cpu()
    # The host scales a noisy latent down; this one has no noise, and the network gets it as it is.
    latent = latent * (1 + level**2) ** 0.5
    guider = positive_guider(bare, [[text, {}]])
    call_once(guider, torch.zeros_like(latent), latent, torch.stack([level, torch.zeros(())]))
    return {block: found[block_key(block)] for block in target.layers}


def apply_reference(model: Any, bank: Bank, lora: AdapterLora, strength: float) -> Any:
    """A clone of MODEL that reads the bank, with the LoRA.

    Raises:
        IncompatibleError: It has the LoRA already.
    """
    patched = own_clone(model)
    if strength:
        put_lora(patched, lora.pairs, strength, WHERE)
    uid = uuid4().hex
    for block, states in bank.items():
        _put_innermost(patched, block, ReferenceSlot(uid, block, states))
    patched.add_wrapper_with_key(WrappersMP.APPLY_MODEL, f"{KEY}_{uid}", _NetworkOfCall(uid))
    return patched


class ReferenceSlot(AttentionSlot):
    """A self-attention that also reads the bank in the prompt's half.

    Args:
        uid: In ``NETWORKS``.
        block: Of the self-attention.
        bank: [1 or B, M, C].
    """

    def __init__(self, uid: str, block: str, bank: Tensor) -> None:
        super().__init__(SlotChange())
        self._uid, self._bank = uid, bank
        self._place = f"{transformer_place(block)}.attn1"

    def _core(self, q: Tensor, k: Tensor, v: Tensor, extra: Extra) -> Tensor:
        several = []
        for rows, half in parts(q, extra):
            own = {**extra, "cond_or_uncond": [half]}
            keys, values = k[rows], v[rows]
            if half == PROMPT or half in extra.get(SPLIT, ()):
                keys, values = self._with_bank(keys, values, own)
            several.append(super()._core(q[rows], keys, values, own))
        return torch.cat(several)

    def _with_bank(self, k: Tensor, v: Tensor, extra: Extra) -> tuple[Tensor, Tensor]:
        bank = self._cache.get("bank", k.device, k.dtype, lambda: self._bank)
        bank = for_part(bank, len(k), extra, "references", WHERE)
        attention = extra[NETWORKS][self._uid].get_submodule(self._place)
        more = attention.to_k(bank), attention.to_v(bank)
        keys, values = (
            torch.cat([own, theirs.expand(len(own), -1, -1)], 1)
            for own, theirs in zip((k, v), more, strict=True)
        )
        return keys, values


def _put_innermost(model: Any, block: str, slot: ReferenceSlot) -> None:
    """Behind all slots of this pack, which change keys and values place by place."""
    key = block_key(block)
    options = model.model_options["transformer_options"]
    occupant = options.get("patches_replace", {}).get("attn1", {}).get(key)
    outer = occupant
    while isinstance(outer, AttentionSlot) and isinstance(outer.inner, AttentionSlot):
        outer = outer.inner
    if isinstance(outer, AttentionSlot):
        slot.inner, outer.inner = outer.inner, slot
        return
    slot.inner = occupant
    model.set_model_patch_replace(slot, "attn1", *key)


@dataclass(frozen=True)
class _NetworkOfCall:
    """APPLY_MODEL wrapper: says which network is called, and runs a compiled one uncompiled."""

    uid: str

    def __call__(self, executor: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        network = executor.class_obj.diffusion_model  # type: ignore[attr-defined]
        with uncompiled():  # it was traced without the slots
            return call_with(executor, args, kwargs, NETWORKS, self.uid, network)


def _without_patches(model: Any) -> Any:
    """A clone of MODEL without anything that nodes put on it."""
    bare = model.clone()
    if bare.patches or bare.hook_patches:
        bare.patches, bare.hook_patches, bare.patches_uuid = {}, {}, uuid4()
    bare.object_patches, bare.weight_wrapper_patches = {}, {}
    bare.model_options = {"transformer_options": {}}
    bare.wrappers, bare.callbacks = WrappersMP.init_wrappers(), CallbacksMP.init_callbacks()
    bare.injections, bare.additional_models, bare.attachments = {}, {}, {}
    return bare
