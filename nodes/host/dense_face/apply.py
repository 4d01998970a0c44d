"""Applying the PC-adapter to a MODEL, in one of two equivalent modes.

``weights``: the deltas become weight patches of the host ("diff"), and only the query bias is
added while sampling, at no cost per step. ``runtime``: the deltas are added in each call of the
model; needed for a percent range, a mask, and base models without plain float weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import uuid4

import torch
from comfy.patcher_extension import CallbacksMP, WrappersMP
from torch import Tensor

from ....dense_face.fused import FusedAdapter
from ....errors import InputError
from ..attention import ACTIVE, WHERE, SlotChange, copy_slots, install, keep_inputs
from ..compatibility import matching_attentions
from ..compilation import Uncompiled, uncompiled
from ..finite import require_finite
from ..runtime import SiteDelta
from ..sigmas import sigma_range
from ..weight_patches import KEY, InWeights, put_in_weights
from .projections import MaskedSelfAttention, Sites, deltas_everywhere

PLAIN = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
"""Dtypes of weights that are plain numbers."""
_SIDES = {"input_blocks": "input", "middle_block": "middle", "output_blocks": "output"}


@dataclass(frozen=True)
class AdapterScope:
    """Strength, range and mask of an adapter.

    start, end: Fraction of the denoising, 0 = pure noise, 1 = finished.
    mask: [M, H, W] in 0..1 over the whole image, 1 = adapter; None = everywhere.
    """

    weight: float = 1.0
    start: float = 0.0
    end: float = 1.0
    mask: Tensor | None = None

    @property
    def nothing(self) -> bool:
        """Whether the adapter has no effect at all."""
        empty = self.mask is not None and not bool(self.mask.any())
        return self.weight == 0 or self.start >= self.end or empty

    @property
    def place(self) -> Tensor | None:
        """The mask, or None where it is 1 everywhere."""
        return None if self.mask is None or bool((self.mask == 1).all()) else self.mask

    @property
    def always(self) -> bool:
        """Whether it acts equally at every step and position."""
        return self.start <= 0 and self.end >= 1 and self.place is None


def apply_adapter(
    model: Any,
    fused: FusedAdapter,
    deltas: Callable[[], Mapping[tuple[str, str], SiteDelta]],
    biases: Mapping[str, Tensor],
    scope: AdapterScope,
    mode: str = "auto",
) -> Any:
    """A clone of MODEL that draws the given person; MODEL itself if the scope is empty.

    Args:
        fused: Deltas and bias matrices.
        deltas: Returns the run-time form; called only if it is needed.
        biases: Block -> query biases [N, C] at weight 1; N = 1 or the number of images in the
            batch.
        mode: auto, weights or runtime.

    Raises:
        IncompatibleError: An attention layer of the adapter is missing or of another size.
        InputError: ``weights`` was chosen with a mask or a percent range.
    """
    attentions = matching_attentions(model, fused)
    if scope.nothing:
        return model
    route = _route(mode, scope, attentions)
    patched = model.clone()
    biases = {block: scope.weight * bias for block, bias in biases.items()}
    if route == "weights":
        put_in_weights(patched, InWeights(fused, deltas, scope.weight))
        for block, bias in biases.items():
            install(patched, "attn2", block_key(block), SlotChange(bias=bias))
        patched.add_wrapper_with_key(WrappersMP.APPLY_MODEL, f"{KEY}_uncompiled", Uncompiled())
    else:
        patch_runtime(patched, deltas(), biases, scope, fused.delta)
    require_finite(patched, WHERE)
    patched.remove_callbacks_with_key(CallbacksMP.ON_CLONE, KEY)
    patched.add_callback_with_key(CallbacksMP.ON_CLONE, KEY, copy_slots)
    return patched


def block_key(block: str) -> tuple[str, int]:
    """``input_blocks.1`` -> the host's ("input", 1); ``middle_block`` -> ("middle", 0)."""
    side, _, number = block.partition(".")
    return _SIDES[side], int(number or 0)


def _route(mode: str, scope: AdapterScope, attentions: Mapping[str, Any]) -> str:
    plain = all(
        type(a.to_k.weight.data) is torch.Tensor and a.to_k.weight.dtype in PLAIN
        for a in attentions.values()
    )
    if mode == "auto":
        return "weights" if scope.always and plain else "runtime"
    if mode == "weights" and not scope.always:
        raise InputError(
            "mode 'weights' cannot vary over time or place",
            where="Apply Dense-Face Adapter",
            fix="Use mode 'auto' with a mask or a percent range",
        )
    return mode


def patch_runtime(
    model: Any,
    deltas: Mapping[tuple[str, str], SiteDelta],
    biases: Mapping[str, Tensor],
    scope: AdapterScope,
    delta: float,
) -> None:
    """Put deltas, scaled by ``scope.weight * delta``, and query biases into a cloned MODEL."""
    uid, strength, mask = uuid4().hex, scope.weight * delta, scope.place
    key = f"{KEY}_{uid}"
    for (block, attention), site in deltas.items():
        change = SlotChange(biases.get(block), None if mask is None else site, strength, mask, uid)
        if attention == "attn2" and (change.bias is not None or mask is not None):
            install(model, attention, block_key(block), change)
    act: _Act = partial(_everywhere, deltas, strength)
    if mask is not None:
        masked = MaskedSelfAttention(deltas, strength, mask)
        model.add_callback_with_key(CallbacksMP.ON_CLEANUP, key, masked.invalidate)
        act = partial(_under_mask, masked)
    gate = _Gate(uid, *sigma_range(model, scope.start, scope.end), act)
    model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, key, gate)
    model.set_additional_models(key, [next(iter(deltas.values())).patcher])


_Act = Callable[[Any, dict[str, Any]], AbstractContextManager[dict[str, Any]]]
"""(UNet, ``transformer_options``) -> a context with the deltas in force, and options for it."""


@contextmanager
def _everywhere(
    deltas: Sites, strength: float, net: Any, options: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    with deltas_everywhere(net, deltas, strength):
        yield options


@contextmanager
def _under_mask(
    masked: MaskedSelfAttention, net: Any, options: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    given = options.get("patches", {})
    with masked.patched(net) as tokens:
        # Behind the patches of other packs: they see what the projections get.
        others = [patch for patch in given.get("attn2_patch", ()) if patch is not keep_inputs]
        own = {
            "attn1_patch": [*given.get("attn1_patch", ()), tokens],
            "attn2_patch": [*others, keep_inputs],
        }
        yield {**options, "patches": {**given, **own}}


@dataclass(frozen=True)
class _Gate:
    """APPLY_MODEL wrapper: the adapter ``uid`` acts in model calls within a range of sigmas."""

    uid: str
    sigma_high: float
    sigma_low: float
    act: _Act

    def __call__(self, executor: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        sigma = float(args[1].flatten()[0])
        if not self.sigma_low <= sigma <= self.sigma_high:
            with uncompiled():
                return executor(*args, **kwargs)
        in_place = len(args) > _OPTIONS
        options = args[_OPTIONS] if in_place else kwargs.get("transformer_options", {})
        options = {**options, ACTIVE: (*options.get(ACTIVE, ()), self.uid)}
        net = executor.class_obj.diffusion_model  # type: ignore[attr-defined]
        with uncompiled(), self.act(net, options) as options:
            if in_place:
                return executor(*args[:_OPTIONS], options, *args[_OPTIONS + 1 :], **kwargs)
            return executor(*args, **{**kwargs, "transformer_options": options})


_OPTIONS = 5
"""Position of ``transformer_options`` in the arguments of the host's ``apply_model``."""
