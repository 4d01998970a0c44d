"""SFSR's scene on a MODEL: the way in depends on what the MODEL and the adapter have.

- an inpainting UNet (nine channels) takes mask and latent as its own channels;
- four channels take the adapter's background hint, added behind the first convolution;
- without a hint the scene is blended in latents by the sampler's noise mask, which grows.

What goes to the network travels with the conditionings, so that the host cuts it with areas and
joins it with batches. It stands in both halves of the guidance.

Host objects used: ``WrappersMP.OUTER_SAMPLE``, ``CALC_COND_BATCH``, ``APPLY_MODEL``,
``input_block_patch``, ``CONDNoiseShape``, ``denoise_mask_function``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import comfy.conds
from comfy.patcher_extension import CallbacksMP, WrappersMP
from torch import Tensor

from ....errors import IncompatibleError, InputError
from ....sfsr.background import scheduled_mask
from ..attention import for_part
from ..compilation import uncompiled
from ..device_cache import DeviceCache
from ..weight_patches import KEY
from .sources import WHERE, call_with

HINTS = "sfsr_hints"
"""Key in ``transformer_options``: uid to what is added behind the first convolution."""
INPAINTING = 9
_CONCAT = "c_concat"


def channels_of(model: Any) -> int:
    """Input channels of a MODEL: 4, or 9 for an inpainting UNet; 0 where it has none of its own."""
    net = getattr(model.model, "diffusion_model", None)
    return int(getattr(net, "in_channels", 0))


def put_hint(model: Any, hint: Tensor) -> None:
    """Let a cloned MODEL add a hint [1 or B, C, h, w] behind its first convolution."""
    uid = uuid4().hex
    _put(model, uid, _Scene(f"sfsr_hint_{uid}", hint))
    model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, f"{KEY}_{uid}", _Unpack(uid))
    model.set_model_input_block_patch(_AddHint(uid))


def put_channels(model: Any, channels: Tensor) -> None:
    """Let a cloned nine-channel MODEL see a scene's five channels [1 or B, 5, h, w]."""
    _put(model, uuid4().hex, _Scene(_CONCAT, channels))


def put_blending(model: Any) -> None:
    """Let a cloned MODEL blend the scene of the sampler's latent in, little at first.

    Another pack's function for the noise mask (Differential Diffusion) stays in force.
    """
    model.model_options.setdefault("denoise_mask_function", _noise_mask)
    wrapper = _Needs(
        "this adapter has no background hint, so the scene must come with the latent",
        "Connect the latent of SFSR Background to the sampler",
        conds_will_do=False,
    )
    model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, f"{KEY}_scene", wrapper)


def require_scene(model: Any) -> None:
    """Let a cloned nine-channel MODEL without a scene refuse to sample without a mask either."""
    wrapper = _Needs(
        "this is an inpainting model, and nothing says what is to be painted",
        "Connect SFSR Background, or a latent with a noise mask",
        conds_will_do=True,
    )
    model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, f"{KEY}_scene", wrapper)


def _put(model: Any, uid: str, scene: _Scene) -> None:
    model.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, f"{KEY}_{uid}", scene)
    model.add_callback_with_key(CallbacksMP.ON_CLEANUP, f"{KEY}_{uid}", scene.invalidate)


class _Scene:
    """CALC_COND_BATCH wrapper: gives every conditioning a tensor of the whole image."""

    def __init__(self, name: str, whole: Tensor) -> None:
        self._name = name
        self._whole = whole
        self._cache = DeviceCache()

    def __call__(
        self, executor: Callable[..., Any], model: Any, conds: Any, x: Tensor, *args: Any, **kw: Any
    ) -> Any:
        dtype = model.get_dtype_inference()
        whole = self._cache.get("scene", x.device, dtype, lambda: self._whole)
        if whole.shape[-2:] != x.shape[-2:]:
            have, want = ("x".join(str(8 * n) for n in t.shape[:-3:-1]) for t in (whole, x))
            raise InputError(
                f"the scene has {have} px, the generated image {want}",
                where=WHERE,
                fix="Generate at the scene's size: connect the latent of SFSR Background",
            )
        options = (args[1] if len(args) > 1 else kw.get("model_options", {})) or {}
        extra = options.get("transformer_options", {})
        entry = comfy.conds.CONDNoiseShape(for_part(whole, len(x), extra, "scenes", WHERE))
        inputs = [
            None if half is None else [self._with(cond, entry) for cond in half] for half in conds
        ]
        return executor(model, inputs, x, *args, **kw)

    def invalidate(self, *_: Any) -> None:
        """After a sampling: drop the copy on the device."""
        self._cache.clear()

    def _with(self, cond: dict[str, Any], entry: Any) -> dict[str, Any]:
        return {**cond, "model_conds": {**cond["model_conds"], self._name: entry}}


class _Unpack:
    """APPLY_MODEL wrapper: takes the hint from the conditionings to where the patch finds it."""

    def __init__(self, uid: str) -> None:
        self._uid = uid

    def __call__(self, executor: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        hint = kwargs.pop(f"sfsr_hint_{self._uid}", None)
        with uncompiled():
            if hint is None:
                return executor(*args, **kwargs)
            return call_with(executor, args, kwargs, HINTS, self._uid, hint)


class _AddHint:
    """Input block patch: the first block of a UNet is its first convolution."""

    def __init__(self, uid: str) -> None:
        self._uid = uid

    def __call__(self, h: Tensor, options: dict[str, Any]) -> Tensor:
        hint = options.get(HINTS, {}).get(self._uid)
        if hint is None or options.get("block") != ("input", 0):
            return h
        return h + hint.to(h)


class _Needs:
    """OUTER_SAMPLE wrapper: no sampling without a mask, of the latent or of the conditionings."""

    def __init__(self, what: str, fix: str, *, conds_will_do: bool) -> None:
        self._what, self._fix, self._conds_will_do = what, fix, conds_will_do

    def __call__(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        masked = (args[4] if len(args) > 4 else kwargs.get("denoise_mask")) is not None
        halves = executor.class_obj.conds.values() if self._conds_will_do else ()
        inputs = any("concat_mask" in cond for half in halves for cond in half or ())
        if not masked and not inputs:
            raise IncompatibleError(self._what, where=WHERE, fix=self._fix)
        return executor(*args, **kwargs)


def _noise_mask(sigma: Tensor, mask: Tensor, extra_options: dict[str, Any]) -> Tensor:
    """The noise mask of a step (1 = redraw): everything at first, the mask alone later on."""
    levels = extra_options["sigmas"].to(sigma)
    gone = (levels > sigma.flatten()[0]).sum() / max(1, len(levels) - 1)
    return scheduled_mask(mask, float(gone))
