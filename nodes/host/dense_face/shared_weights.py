"""Two MODELs of one network in one sampling: both need the same weight patches.

Attention patches can change from call to call; weight patches cannot, because they are merged into
the network while it is loaded. An adapter in the weight patches of only one MODEL is therefore
moved to run time, with the same result.
"""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from ....errors import IncompatibleError
from ..weight_patches import InWeights, holds, in_weights
from .apply import AdapterScope, patch_runtime


def on_shared_weights(one: Any, other: Any) -> tuple[Any, Any]:
    """Clones of two MODELs that can be sampled together.

    Raises:
        IncompatibleError: They hold the same network and differ in weight patches of other packs.
    """
    if one.model is not other.model:
        return one.clone(), other.clone()
    first, second = in_weights(one), in_weights(other)
    one = _without(one, [a for a in first if a not in second])
    other = _without(other, [a for a in second if a not in first])
    if not _same(one, other):
        raise IncompatibleError(
            "the two models are one network that would need different weights (a LoRA on one of "
            "them, say)",
            where="Joint Guider",
            fix="Put it on before the two ways part, or load the checkpoint a second time",
        )
    # Tells the host that switching between the two needs no repatching.
    other.patches_uuid = one.patches_uuid
    return one, other


def _without(model: Any, adapters: list[InWeights]) -> Any:
    """A clone with these adapters moved from weight patches to run time."""
    moved = model.clone()
    for adapter in adapters:
        ours = {id(delta) for delta in adapter.fused.weights.values()}
        for key, patches in list(moved.patches.items()):
            rest = [patch for patch in patches if not holds(patch[1], ours)]
            if rest:
                moved.patches[key] = rest
            else:
                del moved.patches[key]
        moved.patches_uuid = uuid4()  # the loaded weights are not these
        scope = AdapterScope(adapter.weight)
        # The query bias is already in the attention slots.
        patch_runtime(moved, adapter.deltas(), {}, scope, adapter.fused.delta)
    return moved


def _same(one: Any, other: Any) -> bool:
    """Whether two MODELs have the same weight patches, object patches and injections."""
    weights = all(
        len(mine) == len(theirs) and all(a is b for a, b in zip(mine, theirs, strict=True))
        for mine, theirs in ((one.patches[k], other.patches.get(k, ())) for k in one.patches)
    )
    parts = all(other.object_patches.get(k) is v for k, v in one.object_patches.items())
    return (
        weights
        and parts
        and one.patches.keys() == other.patches.keys()
        and one.object_patches.keys() == other.object_patches.keys()
        and one.injections.keys() == other.injections.keys()
    )
