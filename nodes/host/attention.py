"""Attention patches that coexist with those of other packs.

ComfyUI has one replace slot per attention layer. An :class:`AttentionSlot` fills it, applies the
adapter to q, k and v (docs/reference/dense_face.md A2.2), and leaves room for others:

- a patch already in the slot is called as ``inner``, with the changed q, k and v;
- packs applied later add theirs through :meth:`AttentionSlot.add`, the protocol that
  IP-Adapter, InstantID and PuLID use (``callback(out, q, k, v, extra, **options)`` returns a
  residual);
- cloning a MODEL copies its slots (:func:`copy_slots`), so that such additions never affect a
  cached MODEL.

Host hooks used, all older than the pack's floor: ``patches_replace``, ``attn1_patch`` and
``attn2_patch`` lists, ``models`` and ``cleanup`` of patch objects.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from comfy.ldm.modules.attention import optimized_attention
from torch import Tensor

from ...errors import IncompatibleError
from .device_cache import DeviceCache
from .runtime import SiteDelta, site_mask

Extra = dict[str, Any]
Attention = Callable[[Tensor, Tensor, Tensor, Extra], Tensor]

WHERE = "Apply Dense-Face Adapter"

ACTIVE = "dense_face_active"
"""Key in ``transformer_options``: uids of the run-time adapters that are active in this call."""

INPUTS = "dense_face_inputs"
"""Key in the block's ``extra``: (x, context, value) before the projections."""


@dataclass(frozen=True)
class SlotChange:
    """The change that one adapter makes in one attention layer; all parts are optional.

    N and M below are 1 or the number of images in the latent batch.

    bias: added to q, [N, C] on the CPU in float32.
    delta: run-time weight deltas of a masked cross-attention, scaled by ``strength``. All other
        layers get theirs at the projections (``dense_face/projections.py``).
    mask: where the change applies, [M, H, W] in 0..1; None = everywhere.
    uid: applies only while this id is in ``extra[ACTIVE]``; None = always.
    """

    bias: Tensor | None = None
    delta: SiteDelta | None = None
    strength: float = 1.0
    mask: Tensor | None = None
    uid: str | None = None


class AttentionSlot:
    """A patch for ``patches_replace``: q, k, v [B * parts, N, C] -> attention before to_out."""

    def __init__(self, change: SlotChange, inner: Attention | None = None) -> None:
        self.change = change
        self.inner = inner
        self.callbacks: list[tuple[Callable[..., Tensor | None], dict[str, Any]]] = []
        self._cache = DeviceCache()

    def add(self, callback: Callable[..., Tensor | None], **options: Any) -> AttentionSlot:
        """Let another pack add ``callback(out, q, k, v, extra, **options)`` to this layer's output.

        ``sigma_start`` and ``sigma_end`` among the options are the highest and the lowest sigma at
        which it acts. A callback that returns None adds nothing; its ``cleanup`` method, if any, is
        called after every sampling.
        """
        self.callbacks.append((callback, options))
        return self

    def copied(self) -> AttentionSlot:
        """An independent copy: later ``add`` calls on it do not affect this one."""
        fresh = copy.copy(self)
        fresh.callbacks = list(self.callbacks)
        fresh._cache = DeviceCache()
        if isinstance(self.inner, AttentionSlot):
            fresh.inner = self.inner.copied()
        return fresh

    def models(self) -> list[Any]:
        """The host loads these together with the MODEL."""
        own = [self.change.delta.patcher] if self.change.delta is not None else []
        inner = getattr(self.inner, "models", None)
        return [*own, *(inner() if inner else [])]

    def cleanup(self) -> None:
        """Called by the host after every sampling: drop copies on the device."""
        self._cache.clear()
        for other in (self.inner, *(callback for callback, _ in self.callbacks)):
            cleanup = getattr(other, "cleanup", None)
            if cleanup:
                cleanup()

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, extra: Extra) -> Tensor:
        change = self.change
        if change.uid is not None and change.uid not in extra.get(ACTIVE, ()):
            return self._with_callbacks(self._core(q, k, v, extra), q, k, v, extra)
        bias = self._bias(q, extra)
        if change.mask is None:
            q, k, v = self._changed(q, k, v, bias, extra)
            return self._with_callbacks(self._core(q, k, v, extra), q, k, v, extra)
        return self._masked(q, k, v, bias, self._at_tokens(change.mask, q, extra), extra)

    def _changed(
        self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, extra: Extra
    ) -> tuple[Tensor, Tensor, Tensor]:
        """q, k, v with bias and deltas added (new tensors: the given ones belong to the host)."""
        if self.change.delta is not None:
            dq, dk, dv = self.change.delta(*extra[INPUTS])
            s = self.change.strength
            q = q if dq is None else q.add(dq, alpha=s)
            k, v = k.add(dk, alpha=s), v.add(dv, alpha=s)
        return (q if bias is None else q + bias), k, v

    def _masked(
        self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, mask: Tensor, extra: Extra
    ) -> Tensor:
        q2, k2, v2 = self._changed(q, k, v, bias, extra)
        q2 = torch.lerp(q, q2, mask)
        # Text tokens have no position: both attentions are computed and blended at the queries.
        out = torch.lerp(self._core(q, k, v, extra), self._core(q2, k2, v2, extra), mask)
        return self._with_callbacks(out, q2, k2, v2, extra)

    def _core(self, q: Tensor, k: Tensor, v: Tensor, extra: Extra) -> Tensor:
        if self.inner is not None:
            return self.inner(q, k, v, extra)
        # Keeps the host's choice of kernel (sage, xformers, an override by another pack).
        options = {"attn_precision": extra.get("attn_precision"), "transformer_options": extra}
        return optimized_attention(q, k, v, extra["n_heads"], **options)

    def _with_callbacks(self, out: Tensor, q: Tensor, k: Tensor, v: Tensor, extra: Extra) -> Tensor:
        for callback, options in self.callbacks:
            added = callback(out, q, k, v, extra, **options) if _in_range(options, extra) else None
            if added is not None:
                out = out + added
        return out.to(q.dtype)

    def _bias(self, q: Tensor, extra: Extra) -> Tensor | None:
        """The bias as [1 or B * parts, 1, C] on q's device."""
        bias = self.change.bias
        if bias is None:
            return None
        kept = self._cache.get("bias", q.device, q.dtype, lambda: bias)
        return per_sample(kept, q, extra, "identities")[:, None]

    def _at_tokens(self, mask: Tensor, q: Tensor, extra: Extra) -> Tensor:
        """A mask [M, H, W] as [1 or B * parts, N, 1] for the N tokens of q."""
        return per_sample(mask_at(mask, q, extra, self._cache, WHERE), q, extra, "masks")


def mask_at(
    mask: Tensor, x: Tensor, extra: Extra, cache: DeviceCache, where: str, key: str = "mask"
) -> Tensor:
    """A mask [M, H, W] as [M, N, 1] for the N tokens of x [B, N, C], kept in ``cache`` as ``key``.

    Raises:
        IncompatibleError: Another patch merged or moved the tokens.
    """
    height, width = (int(n) for n in extra["activations_shape"][-2:])
    if x.shape[1] != height * width:
        raise moved_tokens(where)
    return cache.get(
        (key, height, width), x.device, x.dtype, lambda: site_mask(mask, height, width)
    )


def moved_tokens(where: str) -> IncompatibleError:
    """What to raise where a mask meets other image tokens than those of its layer."""
    return IncompatibleError(
        "the mask cannot follow image tokens that another node merges, moves or adds (Tome Patch "
        "Model, HyperTile)",
        where=where,
        fix="Disconnect the mask, or take that node out",
    )


def per_sample(value: Tensor, q: Tensor, extra: Extra, name: str) -> Tensor:
    """Expand [1 or B, ...] to the batch, which consists of CFG parts of B samples each."""
    if value.shape[0] == 1:
        return value
    parts = len(extra["cond_or_uncond"])
    value = for_part(value, q.shape[0] // parts, extra, name, WHERE)
    return value.repeat(parts, *(1 for _ in value.shape[1:]))


def for_part(value: Tensor, samples: int, extra: Extra, name: str, where: str) -> Tensor:
    """The rows of [1 or B, ...] for the samples of one CFG part, as [1 or ``samples``, ...].

    Args:
        name, where: Used in the error message.

    Raises:
        IncompatibleError: There is neither one row for all samples nor one for each.
    """
    if value.shape[0] == 1:
        return value
    window = _window(extra)
    if window is not None and max(window) < value.shape[0]:
        value = value[window]
    if value.shape[0] != samples:
        raise IncompatibleError(
            f"there are {value.shape[0]} {name} for a batch of {samples} images",
            where=where,
            fix="Give one for all images or exactly one per image",
        )
    return value


def _in_range(options: Mapping[str, Any], extra: Extra) -> bool:
    """Whether a callback is active at this sigma; sigma is read from the device only if needed."""
    limited = "sigma_start" in options or "sigma_end" in options
    if not limited or "sigmas" not in extra:
        return True
    sigma = float(extra["sigmas"].flatten()[0])
    high, low = options.get("sigma_start", float("inf")), options.get("sigma_end", 0.0)
    return high >= sigma >= low


def _window(extra: Extra) -> list[int] | None:
    """Indices of the batch's images in this call, if a sliding window selects some; else None."""
    core = extra.get("context_window")  # the host's own context windows, over the batch
    if core is not None and getattr(core, "dim", None) == 0:
        return list(core.index_list)
    return (extra.get("ad_params") or {}).get("sub_idxs")  # AnimateDiff-Evolved


def keep_inputs(
    x: Tensor, context: Tensor, value: Tensor, extra: Extra
) -> tuple[Tensor, Tensor, Tensor]:
    """An attention patch that changes nothing and stores its inputs for the slot of the layer."""
    extra[INPUTS] = (x, context, value)
    return x, context, value


def install(model: Any, layer: str, block: tuple[str, int], change: SlotChange) -> None:
    """Put ``change`` into a slot of a cloned MODEL; a patch already there becomes its ``inner``.

    ``layer`` is "attn1" or "attn2". The key is the pair (block name, number), as IP-Adapter and
    similar packs use it for SD1.5: a triple would hide theirs.
    """
    options: Mapping[str, Any] = model.model_options["transformer_options"]
    occupant = options.get("patches_replace", {}).get(layer, {}).get(block)
    model.set_model_patch_replace(AttentionSlot(change, occupant), layer, *block)


def copy_slots(old: Any, new: Any) -> None:
    """ON_CLONE callback: the new MODEL gets its own copies of our slots."""
    replace = new.model_options["transformer_options"].get("patches_replace", {})
    for layer in ("attn1", "attn2"):
        table = replace.get(layer, {})
        for key, patch in list(table.items()):
            if isinstance(patch, AttentionSlot):
                table[key] = patch.copied()
