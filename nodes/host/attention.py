"""The adapter's place inside the host's attention layers.

ComfyUI has one replace slot per attention layer. An :class:`AttentionSlot` sits in it, changes q, k
and v as the adapter asks (docs/reference/dense_face.md A2.2), and keeps room for others:

- whatever stood in the slot before is called as ``inner``, with the changed q, k and v;
- packs that come later add their share through :meth:`AttentionSlot.add`, the protocol that
  IP-Adapter, InstantID and PuLID use (``callback(out, q, k, v, extra, **options)`` returns a
  residual);
- copies are made whenever a MODEL is cloned (:func:`copy_slots`), so that such additions never
  reach a cached MODEL.

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

ACTIVE = "dense_face_active"
"""Key in ``transformer_options``: the uids of the run-time adapters that act in this model call."""

INPUTS = "dense_face_inputs"
"""Key in the block's ``extra``: (x, context, value) before the projections."""


@dataclass(frozen=True)
class SlotChange:
    """What one adapter does in one attention layer; all parts are optional.

    N and M below are 1 or the number of images in the latent batch.

    bias: added to q, [N, C] on the CPU in float32.
    delta: run-time weight deltas (see ``runtime.SiteDelta``), scaled by ``strength``.
    mask: [M, H, W] in 0..1, where the change acts; None = everywhere.
    uid: acts only while this id is in ``extra[ACTIVE]``; None = always.
    """

    bias: Tensor | None = None
    delta: SiteDelta | None = None
    strength: float = 1.0
    mask: Tensor | None = None
    uid: str | None = None


class AttentionSlot:
    """For the host's ``patches_replace``: q, k, v [B * parts, N, C] -> attention before to_out."""

    def __init__(self, change: SlotChange, inner: Attention | None = None) -> None:
        self.change = change
        self.inner = inner
        self.callbacks: list[tuple[Callable[..., Tensor | None], dict[str, Any]]] = []
        self._cache = DeviceCache()

    def add(self, callback: Callable[..., Tensor | None], **options: Any) -> AttentionSlot:
        """Let another pack add ``callback(out, q, k, v, extra, **options)`` to this layer's output.

        ``sigma_start`` and ``sigma_end`` among the options are the highest and the lowest sigma at
        which it acts. A callback that returns None adds nothing; one with ``cleanup`` is told of
        the end of every sampling.
        """
        self.callbacks.append((callback, options))
        return self

    def copied(self) -> AttentionSlot:
        """An independent copy: later ``add`` calls on it do not reach this one."""
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
        if self.change.delta is not None and self.change.delta.is_self:
            # In self-attention keys and values have places too: the mask acts on them as on q.
            k2, v2 = torch.lerp(k, k2, mask), torch.lerp(v, v2, mask)
            return self._with_callbacks(self._core(q2, k2, v2, extra), q2, k2, v2, extra)
        # Text tokens have no place: both attentions are computed and mixed by the query's place.
        out = torch.lerp(self._core(q, k, v, extra), self._core(q2, k2, v2, extra), mask)
        return self._with_callbacks(out, q2, k2, v2, extra)

    def _core(self, q: Tensor, k: Tensor, v: Tensor, extra: Extra) -> Tensor:
        if self.inner is not None:
            return self.inner(q, k, v, extra)
        # The host's own choice (sage, xformers, an override by another pack) stays in force.
        return optimized_attention(
            q,
            k,
            v,
            extra["n_heads"],
            attn_precision=extra.get("attn_precision"),
            transformer_options=extra,
        )

    def _with_callbacks(self, out: Tensor, q: Tensor, k: Tensor, v: Tensor, extra: Extra) -> Tensor:
        for callback, options in self.callbacks:
            share = callback(out, q, k, v, extra, **options) if _in_range(options, extra) else None
            if share is not None:
                out = out + share
        return out.to(q.dtype)

    def _bias(self, q: Tensor, extra: Extra) -> Tensor | None:
        """The bias as [1 or B * parts, 1, C] on q's device."""
        bias = self.change.bias
        if bias is None:
            return None
        return _per_sample(
            self._cache.get("bias", q.device, q.dtype, lambda: bias), q, extra, "identities"
        )[:, None]

    def _at_tokens(self, mask: Tensor, q: Tensor, extra: Extra) -> Tensor:
        """A mask [M, H, W] as [1 or B * parts, N, 1] for the N places of q."""
        height, width = (int(n) for n in extra["activations_shape"][-2:])
        small = self._cache.get(
            ("mask", height, width), q.device, q.dtype, lambda: site_mask(mask, height, width)
        )
        return _per_sample(small, q, extra, "masks")


def _per_sample(value: Tensor, q: Tensor, extra: Extra, name: str) -> Tensor:
    """Spread [1 or B, ...] over the batch, which is a row of CFG parts of B samples each."""
    if value.shape[0] == 1:
        return value
    parts = len(extra["cond_or_uncond"])
    value = for_part(value, q.shape[0] // parts, extra, name, "Apply Dense-Face Adapter")
    return value.repeat(parts, *(1 for _ in value.shape[1:]))


def for_part(value: Tensor, samples: int, extra: Extra, name: str, where: str) -> Tensor:
    """What [1 or B, ...] is for the samples of one CFG part, as [1 or ``samples``, ...].

    Raises:
        IncompatibleError: It is neither one for all nor one for each; ``name`` and ``where`` are
            for the sentence.
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
    """Whether a callback acts at this sigma; sigma is read only where somebody asks for it."""
    asks = "sigma_start" in options or "sigma_end" in options
    if not asks or "sigmas" not in extra:
        return True
    sigma = float(extra["sigmas"].flatten()[0])
    high, low = options.get("sigma_start", float("inf")), options.get("sigma_end", 0.0)
    return high >= sigma >= low


def _window(extra: Extra) -> list[int] | None:
    """Which images of the batch this call shows, where a sliding window picks some."""
    core = extra.get("context_window")  # the host's own context windows, over the batch
    if core is not None and getattr(core, "dim", None) == 0:
        return list(core.index_list)
    return (extra.get("ad_params") or {}).get("sub_idxs")  # AnimateDiff-Evolved


def keep_inputs(
    x: Tensor, context: Tensor, value: Tensor, extra: Extra
) -> tuple[Tensor, Tensor, Tensor]:
    """An attention patch that changes nothing; it keeps its inputs for the slot of the layer."""
    extra[INPUTS] = (x, context, value)
    return x, context, value


def install(model: Any, layer: str, block: tuple[str, int], change: SlotChange) -> None:
    """Put ``change`` into a slot of a cloned MODEL, in front of an occupant.

    ``layer`` is "attn1" or "attn2". The key is the pair (block name, number), as IP-Adapter and its
    kin use it for SD1.5: a triple would hide theirs.
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
