"""The attention layers that a PC-adapter changes, and the projections it adds to each.

An adapter is stored in one of two equivalent forms, which differ only in the layers that receive
the identity. Unfused there are two projections, ``per_q`` [C, C] and ``feat_to_q`` [C, D]; fused
there is their product ``id_to_q`` [C, D]. ``per_k`` [C, context] and ``per_v`` are the same in both
forms, and so is ``per_q`` in the other layers. The release also stores a ``feat_to_q`` there that
has no effect; files of this pack omit it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from ..errors import IncompatibleError, ModelFileError

MIDDLE = "middle_block"
ID_DIM = 512
"""Length of the release's identity vectors."""


@dataclass(frozen=True)
class AttentionLayer:
    """One attention layer of the UNet.

    Args:
        block: LDM name of the block: ``input_blocks.1``, ``middle_block``, ``output_blocks.11``.
        channels: Width C of the queries.
        context_dim: Width of the input of keys and values; equals C in self-attention.
        cross: True for cross-attention to the text (``attn2``), False for self-attention
            (``attn1``).
    """

    block: str
    channels: int
    context_dim: int
    cross: bool

    @property
    def key(self) -> str:
        """Name of the layer in the LDM layout, without file prefix."""
        return f"{self.block}.1.transformer_blocks.0.{'attn2' if self.cross else 'attn1'}"

    @property
    def takes_identity(self) -> bool:
        """Whether the adapter's query is computed from the identity instead of x."""
        return self.cross and self.block != MIDDLE

    def projections(self, fused: bool) -> tuple[str, ...]:
        """Names of the adapter's projections that have an effect in this layer."""
        if not self.takes_identity:
            return ("per_q", "per_k", "per_v")
        query = ("id_to_q",) if fused else ("per_q", "feat_to_q")
        return (*query, "per_k", "per_v")


def layers_of_block(block: str, channels: int, context_dim: int) -> list[AttentionLayer]:
    """Self- and cross-attention of one transformer block, in execution order."""
    return [
        AttentionLayer(block, channels, channels, cross=False),
        AttentionLayer(block, channels, context_dim, cross=True),
    ]


def is_fused(tensors: Iterable[str]) -> bool:
    """Whether these tensor names belong to a fused adapter."""
    return any(name.endswith(ID_TO_Q) for name in tensors)


def layers_from_state_dict(tensors: Mapping[str, Tensor]) -> tuple[list[AttentionLayer], int]:
    """All layers in execution order and the identity's length, from tensor names and shapes.

    Args:
        tensors: The adapter's tensors and no others, without file prefix.

    Raises:
        ModelFileError: A projection is missing (it is named), or there are none. Only ``feat_to_q``
            may be missing, in layers that do not receive the identity.
        IncompatibleError: A name or shape is not part of this layout.
    """
    matches: dict[str, re.Match[str]] = {}
    for name, tensor in tensors.items():
        match = _ADAPTER_KEY.fullmatch(name)
        if match is None or tensor.ndim != 2:
            raise IncompatibleError(
                f"the adapter contains an unknown weight {name}",
                fix="Use a PC-adapter for a Stable Diffusion 1.x UNet",
            )
        matches[match["attention"]] = match
    layers: dict[str, AttentionLayer] = {}
    fused = is_fused(tensors)
    for key, match in matches.items():
        _need(tensors, f"{key}.per_k.weight")
        channels, context_dim = tensors[f"{key}.per_k.weight"].shape
        layers[key] = AttentionLayer(
            match["block"], channels, context_dim, match["kind"] == "attn2"
        )
        for needed in layers[key].projections(fused):
            _need(tensors, f"{key}.{needed}.weight")
    if not layers:
        raise ModelFileError("the file contains no PC-adapter", fix="Use a Dense-Face adapter file")
    id_dims = {t.shape[1] for name, t in tensors.items() if name.endswith(_FROM_IDENTITY)}
    if len(id_dims) > 1:
        raise IncompatibleError(
            f"the adapter mixes identity vectors of different lengths, {sorted(id_dims)}"
        )
    ordered = sorted(layers.values(), key=_execution_order)
    return ordered, id_dims.pop() if id_dims else ID_DIM


ID_TO_Q = ".id_to_q.weight"
"""End of the name of a fused adapter's matrix from the identity to the query bias."""
_FROM_IDENTITY = (".feat_to_q.weight", ID_TO_Q)
_ADAPTER_KEY = re.compile(
    r"(?P<attention>(?P<block>(?:in|out)put_blocks\.[0-9]{1,3}|middle_block)"
    r"\.1\.transformer_blocks\.0\.(?P<kind>attn[12]))\.(?:per_[qkv]|feat_to_q|id_to_q)\.weight"
)


def _need(tensors: Mapping[str, Tensor], name: str) -> None:
    if name not in tensors:
        raise ModelFileError(
            f"the adapter lacks the weight {name}", fix="Download or convert it again"
        )


def _execution_order(layer: AttentionLayer) -> tuple[int, int, bool]:
    side, _, number = layer.block.partition(".")
    return ("input_blocks", MIDDLE, "output_blocks").index(side), int(number or 0), layer.cross
