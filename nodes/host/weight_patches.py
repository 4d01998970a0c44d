"""The adapter's deltas as weight patches of the host."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import comfy.model_patcher
import torch
from comfy.patcher_extension import WrappersMP
from torch import nn

from ...dense_face.fused import FusedAdapter
from ...errors import IncompatibleError
from .runtime import SiteDelta

KEY = "dense_face"
"""Key of our attachments and callbacks on a MODEL."""


@dataclass(frozen=True, eq=False)
class InWeights:
    """Attached to a MODEL for each adapter among its weight patches.

    deltas: Returns its run-time form, for callers that must take it out of the weights again.
    """

    fused: FusedAdapter
    deltas: Callable[[], Mapping[tuple[str, str], SiteDelta]]
    weight: float


def put_in_weights(model: Any, adapter: InWeights) -> None:
    """Give a cloned MODEL the deltas, scaled by weight and strength."""
    weights = adapter.fused.weights
    patches = {f"diffusion_model.{key}": ("diff", (delta,)) for key, delta in weights.items()}
    add_weight_patches(model, patches, adapter.weight * adapter.fused.delta)
    model.set_attachments(KEY, (*in_weights(model), adapter))
    key = f"{KEY}_not_scaled_{uuid4().hex}"
    model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, key, NotScaled(adapter))


def add_weight_patches(model: Any, patches: Mapping[str, Any], strength: float) -> None:
    """Add patches to a cloned MODEL whose names are known to exist (``compatibility.py``).

    ``add_patches`` would list all weights of the network to find that out, which takes longer than
    all the rest of applying an adapter; so the host makes its patches for a network that consists
    of these names alone.
    """
    cpu = torch.device("cpu")
    names = comfy.model_patcher.ModelPatcher(_Names(patches), cpu, cpu)
    names.add_patches(dict(patches), strength)
    for key, made in names.patches.items():
        model.patches[key] = [*model.patches.get(key, ()), *made]
    model.patches_uuid = uuid4()


@dataclass(frozen=True, eq=False)
class NotScaled:
    """OUTER_SAMPLE wrapper: no sampling if a later node scales the weights with the deltas in them.

    The query biases, which are not in the weights, would keep their size.
    """

    adapter: InWeights

    def __call__(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        model = executor.class_obj.model_patcher
        for key, delta in self.adapter.fused.weights.items():
            patches = model.patches.get(f"diffusion_model.{key}", ())
            ours = [i for i, patch in enumerate(patches) if holds(patch[1], {id(delta)})]
            if ours and any(patch[2] != 1 for patch in patches[ours[0] + 1 :]):
                raise IncompatibleError(
                    "a later node scales the weights that the adapter is in (a model merge or "
                    "an attention multiplier)",
                    where="Apply Dense-Face Adapter",
                    fix="Put that node before it, or choose mode runtime",
                )
        return executor(*args, **kwargs)


def holds(patch: Any, tensors: set[int]) -> bool:
    """Whether a weight patch ("diff", (tensor,)) of the host holds one of these tensors, by id."""
    return isinstance(patch, tuple) and len(patch) == 2 and id(patch[1][0]) in tensors


def in_weights(model: Any) -> tuple[InWeights, ...]:
    """The adapters in a MODEL's weight patches."""
    return model.get_attachment(KEY) or ()


class _Names(nn.Module):
    """A network without weights: only their names."""

    def __init__(self, names: Mapping[str, Any]) -> None:
        super().__init__()
        self.names = names

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Names without weights."""
        return dict(self.names)
