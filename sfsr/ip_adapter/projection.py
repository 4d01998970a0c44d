"""An IP-Adapter file's projection, keys and values under the names of this pack's modules."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from .places import Target

_PROJECTION = "image_proj."


def projection_state(
    tensors: Mapping[str, Tensor], target: Target, source: str
) -> dict[str, Tensor]:
    """State dict, float32, of a module with an ``embedding`` and a ``TokenAttention`` of a source.

    Args:
        tensors: A checked file (``expected.check_layout``).
        source: Of ``token_attention.SOURCES``.
    """
    state = {
        name.replace(_PROJECTION, "embedding.", 1): tensor.float()
        for name, tensor in tensors.items()
        if name.startswith(_PROJECTION)
    }
    for i, block in enumerate(target.layers):
        for side in "kv":
            # As TokenAttention names them: a module's name must not hold dots.
            ours = f"attention.projections.{block.replace('.', '_')}.{source}.to_{side}.weight"
            state[ours] = tensors[f"ip_adapter.{2 * i + 1}.to_{side}_ip.weight"].float()
    return state
