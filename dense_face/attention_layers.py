"""Where the PC-adapter sits in a Stable Diffusion 1.x UNet, and which maps it has there.

An adapter is stored in one of two equivalent forms. They differ at the sites that the identity
reaches: unfused, two maps ``per_q`` [C, C] and ``feat_to_q`` [C, D]; fused, their product
``id_to_q`` [C, D], since nothing stands between the two. ``per_k`` [C, context] and ``per_v`` are
the same in both, and so is ``per_q`` where no identity comes. There, the release also holds a dead
``feat_to_q``; our files leave it out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from ..errors import IncompatibleError, ModelFileError

MIDDLE = "middle_block"
ID_DIM = 512
"""Width of the identities of the release."""


@dataclass(frozen=True)
class AttentionSite:
    """One attention layer of the UNet.

    Args:
        block: LDM name of the block: ``input_blocks.1``, ``middle_block``, ``output_blocks.11``.
        channels: Width C of the queries.
        context_dim: Width of what keys and values are made from; equals C in self-attention.
        cross: Whether it attends to the text (``attn2``) or to the image (``attn1``).
    """

    block: str
    channels: int
    context_dim: int
    cross: bool

    @property
    def key(self) -> str:
        """Name of the attention in the LDM layout, without file prefix."""
        return f"{self.block}.1.transformer_blocks.0.{'attn2' if self.cross else 'attn1'}"

    @property
    def takes_identity(self) -> bool:
        """Whether the identity replaces x in the adapter's query path here."""
        return self.cross and self.block != MIDDLE

    def maps(self, fused: bool) -> tuple[str, ...]:
        """Names of the adapter's live maps here."""
        if not self.takes_identity:
            return ("per_q", "per_k", "per_v")
        query = ("id_to_q",) if fused else ("per_q", "feat_to_q")
        return (*query, "per_k", "per_v")


def sites_of_block(block: str, channels: int, context_dim: int) -> list[AttentionSite]:
    """Self- and cross-attention of one transformer block, in the order in which they run."""
    return [
        AttentionSite(block, channels, channels, cross=False),
        AttentionSite(block, channels, context_dim, cross=True),
    ]


def is_fused(tensors: Iterable[str]) -> bool:
    """Whether names of an adapter's tensors are those of the fused form."""
    return any(name.endswith(_FUSED) for name in tensors)


def sites_from_state_dict(tensors: Mapping[str, Tensor]) -> tuple[list[AttentionSite], int]:
    """All sites and the identity's width, read from names and shapes.

    Args:
        tensors: The adapter's tensors, without file prefix and without others.

    Raises:
        ModelFileError: An attention lacks one of its maps (it is named), or there is none. Only
            ``feat_to_q`` may be absent, where no identity reaches.
        IncompatibleError: A name or shape that this layout does not know.
    """
    layers: dict[str, re.Match[str]] = {}
    for name, tensor in tensors.items():
        match = _ADAPTER_KEY.fullmatch(name)
        if match is None or tensor.ndim != 2:
            raise IncompatibleError(
                f"the adapter holds an unknown weight {name}",
                fix="Use a PC-adapter for a Stable Diffusion 1.x UNet",
            )
        layers[match["attention"]] = match
    sites: dict[str, AttentionSite] = {}
    fused = is_fused(tensors)
    for key, match in layers.items():
        _need(tensors, f"{key}.per_k.weight")
        channels, context_dim = tensors[f"{key}.per_k.weight"].shape
        sites[key] = AttentionSite(match["block"], channels, context_dim, match["kind"] == "attn2")
        for needed in sites[key].maps(fused):
            _need(tensors, f"{key}.{needed}.weight")
    if not sites:
        raise ModelFileError("the file holds no PC-adapter", fix="Use a Dense-Face adapter file")
    id_dims = {t.shape[1] for name, t in tensors.items() if name.endswith(_FROM_IDENTITY)}
    if len(id_dims) > 1:
        raise IncompatibleError(f"the adapter mixes identity widths {sorted(id_dims)}")
    ordered = sorted(sites.values(), key=_running_order)
    return ordered, id_dims.pop() if id_dims else ID_DIM


_FUSED = ".id_to_q.weight"
_FROM_IDENTITY = (".feat_to_q.weight", _FUSED)
_ADAPTER_KEY = re.compile(
    r"(?P<attention>(?P<block>(?:in|out)put_blocks\.\d+|middle_block)"
    r"\.1\.transformer_blocks\.0\.(?P<kind>attn[12]))\.(?:per_[qkv]|feat_to_q|id_to_q)\.weight"
)


def _need(tensors: Mapping[str, Tensor], name: str) -> None:
    if name not in tensors:
        raise ModelFileError(
            f"the adapter lacks the weight {name}", fix="Download or convert it again"
        )


def _running_order(site: AttentionSite) -> tuple[int, int, bool]:
    side, _, number = site.block.partition(".")
    return ("input_blocks", MIDDLE, "output_blocks").index(side), int(number or 0), site.cross
