"""PC-adapter: identity in the attention layers of a Stable Diffusion 1.x UNet (dense_face.md A2).

For hidden tokens x, context c (c = x in self-attention) and identity a, with W the frozen maps of
the base and W' those of the adapter:

    q = W_q x + delta * W'_q u,   u = x, or F a at every position where the identity reaches
    k = W_k c + delta * W'_k c
    v = W_v c + delta * W'_v c

The identity reaches the cross-attentions of the input and output blocks. It reaches neither a
self-attention nor the middle block, where u = x: so it is in the release, and its weights want it.

There are two equivalent forms: at run time (``AdapterAttention.deltas``, also used in training)
and folded (:meth:`PCAdapter.fold`): constant deltas on the base's weights and, since F a does not
depend on the position, one bias on the queries of each layer that the identity reaches.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import IncompatibleError, ModelFileError
from .folded import FoldedAdapter
from .strict import load_strictly

MIDDLE = "middle_block"
DELTA = 0.01
"""Strength of the release, at training and test."""
ID_DIM = 512
"""Width of the identities of the release."""


@dataclass(frozen=True)
class AttentionSite:
    """One attention layer of the UNet.

    Args:
        block: LDM name of the block: ``input_blocks.1``, ``middle_block``, ``output_blocks.11``.
        channels: Width C of the queries.
        context_dim: Width of what keys and values are made from; equals C in self-attention.
        cross: Whether it attends to the text (``attn2``) or to the picture (``attn1``).
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


Projections = tuple[nn.Module, nn.Module, nn.Module]
"""to_q, to_k and to_v of an attention layer."""


class AdapterAttention(nn.Module):
    """The adapter's four maps beside one attention layer.

    Fresh ``per_*`` are zero, so that an untrained adapter changes nothing; their gradients are not
    zero, because each is multiplied by inputs that are not. ``feat_to_q`` keeps torch's default
    initialisation: it starts to learn as soon as ``per_q`` has left zero.
    """

    def __init__(
        self,
        site: AttentionSite,
        id_dim: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.site = site

        def linear(width_in: int) -> nn.Linear:
            return nn.Linear(width_in, site.channels, bias=False, device=device, dtype=dtype)

        self.per_q = linear(site.channels)
        self.per_k = linear(site.context_dim)
        self.per_v = linear(site.context_dim)
        self.feat_to_q = linear(id_dim)
        for fresh in (self.per_q, self.per_k, self.per_v):
            nn.init.zeros_(fresh.weight)

    def query(self, x: Tensor, identity: Tensor | None) -> Tensor:
        """Query delta before the strength: [B, N, C] from x, or [B, 1, C] from the identity.

        ``identity`` [B, D] is heeded only where it reaches (:attr:`AttentionSite.takes_identity`).
        """
        if identity is None or not self.site.takes_identity:
            return self.per_q(x)
        return self.per_q(self.feat_to_q(identity.to(x)))[:, None, :]

    def deltas(
        self, x: Tensor, context: Tensor | None, identity: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What to add to q, k and v, before the strength.

        Args:
            x: Hidden tokens [B, N, C].
            context: Text [B, M, context_dim]; None in self-attention.
            identity: [B, D], one for each sample, or None.
        """
        context = x if context is None else context
        return self.query(x, identity), self.per_k(context), self.per_v(context)

    def projected(
        self,
        base: Projections,
        x: Tensor,
        context: Tensor | None,
        identity: Tensor | None,
        delta: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """q [B, N, C], k and v [B, M, C] with the adapter's share: base + delta * adapter.

        Arguments as in :meth:`deltas`; ``base`` holds the layer's own to_q, to_k and to_v.
        """
        to_q, to_k, to_v = base
        context = x if context is None else context
        if identity is None or not self.site.takes_identity:
            q = _summed(to_q, self.per_q, x, delta)
        else:
            q = to_q(x) + delta * self.query(x, identity)
        return (
            q,
            _summed(to_k, self.per_k, context, delta),
            _summed(to_v, self.per_v, context, delta),
        )


class PCAdapter(nn.Module):
    """The adapter of a whole UNet; state-dict keys are the release's, without file prefix.

    ``delta`` is the strength, applied on use and never stored in the weights.
    """

    def __init__(
        self,
        sites: Iterable[AttentionSite],
        *,
        id_dim: int = ID_DIM,
        delta: float = DELTA,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.id_dim = id_dim
        self.delta = delta
        self.sites = tuple(sites)
        for site in self.sites:
            _place(self, site.key, AdapterAttention(site, id_dim, device=device, dtype=dtype))

    @classmethod
    def from_state_dict(cls, tensors: Mapping[str, Tensor], *, delta: float = DELTA) -> PCAdapter:
        """Build the adapter that the tensors describe (float32) and load them, strictly.

        Dead ``feat_to_q`` may be left out (:meth:`live_state_dict`); they become zero.
        """
        sites, id_dim = sites_from_state_dict(tensors)
        adapter = cls(sites, id_dim=id_dim, delta=delta)
        dead = {
            f"{site.key}.feat_to_q.weight": torch.zeros(site.channels, id_dim)
            for site in sites
            if not site.takes_identity
        }
        load_strictly(adapter, {**dead, **tensors}, "the PC-adapter")
        return adapter

    def attention(self, block: str, cross: bool) -> AdapterAttention:
        """The maps beside ``attn2`` (``cross``) or ``attn1`` of a block; KeyError if none."""
        for site in self.sites:
            if site.block == block and site.cross == cross:
                found = self.get_submodule(site.key)
                if isinstance(found, AdapterAttention):
                    return found
        raise KeyError(f"{block} attn{2 if cross else 1}")

    def attentions(self) -> Iterator[AdapterAttention]:
        """All attention layers, in the order of the sites."""
        for site in self.sites:
            yield self.attention(site.block, site.cross)

    def live_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters that reach the output; ``feat_to_q`` does not where no identity comes."""
        live = self.live_state_dict()
        for name, parameter in self.named_parameters():
            if name in live:
                yield parameter

    def live_state_dict(self) -> dict[str, Tensor]:
        """The state dict without the dead ``feat_to_q``: all that a file needs to hold."""
        dead = {f"{site.key}.feat_to_q.weight" for site in self.sites if not site.takes_identity}
        return {name: tensor for name, tensor in self.state_dict().items() if name not in dead}

    def query_bias(self, identity: Tensor) -> dict[str, Tensor]:
        """Bias on the queries of each cross-attention that the identity reaches, times ``delta``.

        Args:
            identity: [B, D].

        Returns:
            Block name -> [B, C], to be added to q [B, N, C] at every position.
        """
        return {
            attention.site.block: self.delta * attention.per_q(attention.feat_to_q(identity))
            for attention in self.attentions()
            if attention.site.takes_identity
        }

    @torch.no_grad()
    def fold(self) -> FoldedAdapter:
        """The equivalent weight deltas and bias matrices, in float32 (dense_face.md A3).

        Half precision would round away several percent of a delta that is 1 % of the weight.
        """
        weights: dict[str, Tensor] = {}
        matrices: dict[str, Tensor] = {}
        for attention in self.attentions():
            site = attention.site
            weights[f"{site.key}.to_k.weight"] = attention.per_k.weight.float()
            weights[f"{site.key}.to_v.weight"] = attention.per_v.weight.float()
            per_q = attention.per_q.weight.float()
            if site.takes_identity:
                matrices[site.block] = per_q @ attention.feat_to_q.weight.float()
            else:
                weights[f"{site.key}.to_q.weight"] = per_q
        return FoldedAdapter(weights, matrices, self.delta)


def sites_of_block(block: str, channels: int, context_dim: int) -> list[AttentionSite]:
    """Self- and cross-attention of one transformer block, in the order in which they run."""
    return [
        AttentionSite(block, channels, channels, cross=False),
        AttentionSite(block, channels, context_dim, cross=True),
    ]


def sites_from_state_dict(tensors: Mapping[str, Tensor]) -> tuple[list[AttentionSite], int]:
    """All sites and the identity's width, read from names and shapes.

    Args:
        tensors: The adapter's tensors, without file prefix and without others.

    Raises:
        ModelFileError: An attention lacks one of its maps (it is named), or there is none. Only
            ``feat_to_q`` may be absent, where no identity reaches.
        IncompatibleError: A name or shape that this layout does not know.
    """
    sites: dict[str, AttentionSite] = {}
    for name in tensors:
        match = _ADAPTER_KEY.fullmatch(name)
        if match is None:
            raise IncompatibleError(
                f"the adapter holds an unknown weight {name}",
                fix="Use a PC-adapter for a Stable Diffusion 1.x UNet",
            )
        key = match["attention"]
        for needed in ("per_q", "per_k", "per_v"):
            _need(tensors, f"{key}.{needed}.weight")
        channels, context_dim = tensors[f"{key}.per_k.weight"].shape
        site = AttentionSite(match["block"], channels, context_dim, match["kind"] == "attn2")
        if site.takes_identity:
            _need(tensors, f"{key}.feat_to_q.weight")
        sites[key] = site
    if not sites:
        raise ModelFileError("the file holds no PC-adapter", fix="Use a Dense-Face adapter file")
    id_dims = {t.shape[1] for name, t in tensors.items() if name.endswith(".feat_to_q.weight")}
    if len(id_dims) > 1:
        raise IncompatibleError(f"the adapter mixes identity widths {sorted(id_dims)}")
    ordered = sorted(sites.values(), key=_running_order)
    return ordered, id_dims.pop() if id_dims else ID_DIM


_ADAPTER_KEY = re.compile(
    r"(?P<attention>(?P<block>(?:in|out)put_blocks\.\d+|middle_block)"
    r"\.1\.transformer_blocks\.0\.(?P<kind>attn[12]))\.(?:per_[qkv]|feat_to_q)\.weight"
)


def _need(tensors: Mapping[str, Tensor], name: str) -> None:
    if name not in tensors:
        raise ModelFileError(
            f"the adapter lacks the weight {name}", fix="Download or convert it again"
        )


def _summed(base: nn.Module, adapter: nn.Linear, x: Tensor, delta: float) -> Tensor:
    """base(x) + delta * adapter(x).

    Where the base is a plain Linear the weights are added first: one product instead of two,
    forward and backward. A wrapped Linear (LoRA and the like) is called as it is.
    """
    if type(base) is nn.Linear:
        return F.linear(x, base.weight + delta * adapter.weight.to(base.weight), base.bias)
    return base(x) + delta * adapter(x)


def _running_order(site: AttentionSite) -> tuple[int, int, bool]:
    side, _, number = site.block.partition(".")
    return ("input_blocks", MIDDLE, "output_blocks").index(side), int(number or 0), site.cross


def _place(root: nn.Module, path: str, module: nn.Module) -> None:
    """Hang a module under a dotted path, making empty modules on the way."""
    *parents, name = path.split(".")
    for part in parents:
        if part not in root._modules:
            root.add_module(part, nn.Module())
        root = root.get_submodule(part)
    root.add_module(name, module)
