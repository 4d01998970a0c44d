"""SFSR's sources on a MODEL: what identity and expression add to each cross-attention.

``weight * A(q, source)`` is added to each cross-attention before its ``to_out``, in the conditional
half of the guidance; the query is the layer's own, including Dense-Face's delta. Keys and values,
or the constant vector of a source with a single token, are computed before sampling
(``nodes/sfsr/tokens.py``), so that no additional network runs in a step. They use the attention
slots as other packs do, through ``AttentionSlot.add``.

Host objects used: ``WrappersMP.APPLY_MODEL``, ``patches_replace``, ``ON_CLONE``; and in a call
``cond_or_uncond``, where 0 is the conditional half.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import torch
from comfy.patcher_extension import CallbacksMP, WrappersMP
from torch import Tensor

from ....sfsr.ip_adapter.places import split_layer
from ....sfsr.token_attention import LayerTokens, constant_attention, source_attention
from ..attention import AttentionSlot, Extra, SlotChange, copy_slots, for_part, mask_at
from ..compilation import uncompiled
from ..dense_face.apply import block_key
from ..device_cache import DeviceCache
from ..sigmas import sigma_range
from ..weight_patches import KEY

ACTING = "sfsr_acting"
"""Key in ``transformer_options``: uid to the names of the sources that act in this model call."""
SPLIT = "sfsr_split"
"""Key in ``transformer_options``: number of a prediction to the names of the sources that act in
it, where that is not all for the prompt's and none for others (``split_guider.py``)."""
IDENTITIES, EXPRESSIONS = "identities", "expressions"
WHERE = "Apply SFSR"
PROMPT = 0
"""The host's number of the positive half in ``cond_or_uncond``."""
_OPTIONS = 5
"""Place of ``transformer_options`` among the arguments of the host's ``apply_model``."""


@dataclass(frozen=True, eq=False)
class Source:
    """Identity or expression, as the layers read it.

    name: ``IDENTITIES`` or ``EXPRESSIONS``; also used in messages.
    tokens: Layer -> keys and values [N, n, C] or a constant vector [N, C], on the CPU; N is 1 or
        the number of images.
    weight: 0 = absent.
    start, end: Fractions of the denoising, 0 = pure noise, 1 = finished.
    absent: The same for the unconditional half, N = 1; None if it gets no tokens.
    mask: [M, H, W] in 0..1 over the whole image, 1 = act; None = everywhere.
    """

    name: str
    tokens: Mapping[str, LayerTokens]
    weight: float = 1.0
    start: float = 0.0
    end: float = 1.0
    absent: Mapping[str, LayerTokens] | None = None
    mask: Tensor | None = None

    @property
    def nothing(self) -> bool:
        """Whether it never acts."""
        masked = self.mask is not None and not bool(self.mask.any())
        return self.weight == 0 or self.start >= self.end or masked


def put_sources(model: Any, sources: tuple[Source, ...]) -> None:
    """Put sources that act into a cloned MODEL, which has all their layers."""
    uid = uuid4().hex
    for layer in dict.fromkeys(layer for source in sources for layer in source.tokens):
        here = tuple(source for source in sources if layer in source.tokens)
        _own_slot(model, layer).add(LayerSources(uid, layer, here))
    levels = {source.name: sigma_range(model, source.start, source.end) for source in sources}
    model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, f"{KEY}_{uid}", _Gate(uid, levels))


def own_clone(model: Any) -> Any:
    """A clone of a MODEL whose slots are its own, and those of its clones theirs."""
    patched = model.clone()
    patched.remove_callbacks_with_key(CallbacksMP.ON_CLONE, KEY)
    patched.add_callback_with_key(CallbacksMP.ON_CLONE, KEY, copy_slots)
    return patched


class LayerSources:
    """A slot's callback: what the sources add to one layer, [B * parts, N, C]."""

    def __init__(self, uid: str, layer: str, sources: tuple[Source, ...]) -> None:
        self._uid = uid
        self._layer = layer
        self._sources = sources
        self._cache = DeviceCache()

    def __call__(
        self, out: Tensor, q: Tensor, k: Tensor, v: Tensor, extra: Extra, **_: Any
    ) -> Tensor | None:
        """None where no source acts."""
        names = extra.get(ACTING, {}).get(self._uid, ())
        total: Tensor | None = None
        for source in self._sources:
            if source.name not in names:
                continue
            for rows, half in parts(q, extra):
                present = _present(source, half, extra)
                if not present and source.absent is None:
                    continue
                total = torch.zeros_like(out) if total is None else total
                total[rows] += self._added(source, q[rows], present, extra)
        return total

    def cleanup(self) -> None:
        """After a sampling: drop copies on the device."""
        self._cache.clear()

    def _added(self, source: Source, q: Tensor, present: bool, extra: Extra) -> Tensor:
        """What a source adds to a part [B, N or 1, C]; where it is absent, what stands for it."""
        absent = None if present else source.absent
        given = (absent or source.tokens)[self._layer]
        several = (given,) if isinstance(given, Tensor) else given
        near = tuple(
            self._cache.get((source.name, absent is None, i), q.device, q.dtype, lambda x=tensor: x)
            for i, tensor in enumerate(several)
        )
        own = [for_part(x, len(q), extra, source.name, WHERE) for x in near]
        mask = self._at_tokens(source, q, extra)
        if len(own) == 1:
            return constant_attention(own[0], source.weight, mask)
        both = own[0].expand(len(q), -1, -1), own[1].expand(len(q), -1, -1)
        return source_attention(q, both, extra["n_heads"], source.weight, mask)

    def _at_tokens(self, source: Source, q: Tensor, extra: Extra) -> Tensor | None:
        """A source's mask as [1 or B, N] for the N places of q."""
        mask = source.mask
        if mask is None:
            return None
        small = mask_at(mask, q, extra, self._cache, WHERE, key=source.name)
        return for_part(small, len(q), extra, "masks", WHERE)[:, :, 0]


@dataclass(frozen=True)
class _Gate:
    """APPLY_MODEL wrapper: once a model call, says which sources act at this sigma."""

    uid: str
    levels: Mapping[str, tuple[float, float]]

    def __call__(self, executor: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        sigma = float(args[1].flatten()[0])
        names = tuple(name for name, (high, low) in self.levels.items() if low <= sigma <= high)
        with uncompiled():
            return call_with(executor, args, kwargs, ACTING, self.uid, names)


def call_with(
    executor: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    key: str,
    uid: str,
    value: Any,
) -> Any:
    """The host's ``apply_model`` with ``transformer_options[key][uid] = value``."""
    in_place = len(args) > _OPTIONS
    options = args[_OPTIONS] if in_place else kwargs.get("transformer_options", {})
    options = {**options, key: {**options.get(key, {}), uid: value}}
    if in_place:
        return executor(*args[:_OPTIONS], options, *args[_OPTIONS + 1 :], **kwargs)
    return executor(*args, **{**kwargs, "transformer_options": options})


def _own_slot(model: Any, layer: str) -> AttentionSlot:
    """The slot of ours in a layer; an empty one in front of a stranger's patch, or of nothing."""
    options = model.model_options["transformer_options"]
    table = options.get("patches_replace", {}).get("attn2", {})
    block, index = split_layer(layer)
    whole = block_key(block)
    key = whole if index is None else (*whole, index)
    # For each transformer the host prefers its own patch to the block's, which would be hidden.
    occupant = table.get(key, table.get(whole))
    if key in table and isinstance(occupant, AttentionSlot):
        return occupant
    slot = AttentionSlot(SlotChange(), occupant)
    model.set_model_patch_replace(slot, "attn2", *key)
    return slot


def _present(source: Source, half: int, extra: Extra) -> bool:
    """Whether a source acts in a prediction of this number."""
    split = extra.get(SPLIT, {})
    return source.name in split[half] if half in split else half == PROMPT


def parts(q: Tensor, extra: Extra) -> Iterator[tuple[slice, int]]:
    """Rows of each part of the batch, and which half of the guidance it is."""
    halves = extra["cond_or_uncond"]
    count = len(q) // len(halves)
    for i, half in enumerate(halves):
        yield slice(i * count, (i + 1) * count), half
