"""PC-adapter: identity in the attention layers of a Stable Diffusion 1.x UNet.

Source: docs/reference/dense_face.md A2.

For hidden tokens x, context c (c = x in self-attention) and identity a, with W the frozen maps of
the base and W' those of the adapter:

    q = W_q x + delta * W'_q u,   u = x, or F a at every position where the identity reaches
    k = W_k c + delta * W'_k c
    v = W_v c + delta * W'_v c

The identity reaches the cross-attentions of the input and output blocks. It reaches neither a
self-attention nor the middle block, where u = x: so it is in the release, and its weights want it.

There are two equivalent ways to compute it: at run time (``AdapterAttention.deltas``, also used in
training) and fused (:meth:`PCAdapter.fuse`): constant deltas on the base's weights and, since F a
does not depend on the position, one bias on the queries of each layer that the identity reaches.
Either can be had from either form of the stored weights (``sites.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError
from ..state_dict import check_strictly
from .attention_layers import ID_DIM, AttentionSite, is_fused, sites_from_state_dict
from .fused import FusedAdapter, fuse

DELTA = 0.01
"""Strength of the release, at training and test."""


Projections = tuple[nn.Module, nn.Module, nn.Module]
"""to_q, to_k and to_v of an attention layer."""


class AdapterAttention(nn.Module):
    """The adapter's maps beside one attention layer.

    Unfolded there are always four, as in the release; fused, only the live ones.

    Fresh ``per_*`` are zero, so that an untrained adapter changes nothing; their gradients are not
    zero, because each is multiplied by inputs that are not. ``feat_to_q`` keeps torch's default
    initialisation: it starts to learn as soon as ``per_q`` has left zero.
    """

    def __init__(
        self,
        site: AttentionSite,
        id_dim: int,
        fused: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.site = site
        self.needs_identity = fused and site.takes_identity

        def linear(width_in: int) -> nn.Linear:
            return nn.Linear(width_in, site.channels, bias=False, device=device, dtype=dtype)

        if self.needs_identity:
            self.id_to_q = linear(id_dim)
        else:
            self.per_q = linear(site.channels)
        self.per_k = linear(site.context_dim)
        self.per_v = linear(site.context_dim)
        for fresh in self.parameters():
            nn.init.zeros_(fresh)
        if not fused:
            self.feat_to_q = linear(id_dim)

    def query(self, x: Tensor, identity: Tensor | None) -> Tensor:
        """Query delta before the strength: [B, N, C] from x, or [B, 1, C] from the identity.

        ``identity`` [B, D] is heeded only where it reaches (:attr:`AttentionSite.takes_identity`).
        """
        if identity is None or not self.site.takes_identity:
            return self._query_without_identity(x)
        return self.identity_query(identity.to(x))[:, None, :]

    def identity_query(self, identity: Tensor) -> Tensor:
        """Query delta [B, C] from identities [B, D], before the strength."""
        if self.needs_identity:
            return self.id_to_q(identity)
        return self.per_q(self.feat_to_q(identity))

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
            q = _summed(to_q, self._query_without_identity, x, delta)
        else:
            q = to_q(x) + delta * self.query(x, identity)
        return (
            q,
            _summed(to_k, self.per_k, context, delta),
            _summed(to_v, self.per_v, context, delta),
        )

    @property
    def _query_without_identity(self) -> nn.Linear:
        if self.needs_identity:
            raise InputError(
                "a fused adapter cannot run without an identity",
                where=self.site.key,
                fix="Give an identity, or convert the checkpoint with --unfused",
            )
        return self.per_q


class PCAdapter(nn.Module):
    """The adapter of a whole UNet; state-dict keys are the release's, without file prefix.

    ``delta`` is the strength, applied on use and never stored in the weights. ``fused`` chooses
    the form of the weights (``sites.py``).
    """

    def __init__(
        self,
        sites: Iterable[AttentionSite],
        *,
        id_dim: int = ID_DIM,
        delta: float = DELTA,
        fused: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.id_dim = id_dim
        self.delta = delta
        self.fused = fused
        self.sites = tuple(sites)
        for site in self.sites:
            maps = AdapterAttention(site, id_dim, fused, device=device, dtype=dtype)
            _place(self, site.key, maps)

    @classmethod
    def described_by(
        cls,
        tensors: Mapping[str, Tensor],
        *,
        delta: float = DELTA,
        device: torch.device | str | None = "meta",
    ) -> PCAdapter:
        """The adapter that the tensors describe, fresh; their names and shapes are checked.

        On the default device it takes no memory and serves as that check alone.

        Raises:
            ModelFileError: A weight is missing or unknown.
            IncompatibleError: A weight has a name or shape that does not fit the others.
        """
        sites, id_dim = sites_from_state_dict(tensors)
        adapter = cls(sites, id_dim=id_dim, delta=delta, fused=is_fused(tensors), device=device)
        check_strictly(adapter, tensors, "the PC-adapter", optional=adapter._dead())
        return adapter

    @classmethod
    def from_state_dict(cls, tensors: Mapping[str, Tensor], *, delta: float = DELTA) -> PCAdapter:
        """Build the adapter that the tensors describe (float32) and load them, strictly.

        Dead ``feat_to_q`` may be left out (:meth:`live_state_dict`); they become zero.
        """
        adapter = cls.described_by(tensors, delta=delta, device=None)
        for name in adapter._dead() - tensors.keys():
            nn.init.zeros_(adapter.get_parameter(name))
        adapter.load_state_dict(dict(tensors), strict=False)
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
        dead = self._dead()
        return {name: tensor for name, tensor in self.state_dict().items() if name not in dead}

    def query_bias(self, identity: Tensor) -> dict[str, Tensor]:
        """Bias on the queries of each cross-attention that the identity reaches, times ``delta``.

        Args:
            identity: [B, D].

        Returns:
            Block name -> [B, C], to be added to q [B, N, C] at every position.
        """
        return {
            attention.site.block: self.delta * attention.identity_query(identity)
            for attention in self.attentions()
            if attention.site.takes_identity
        }

    def fuse(self) -> FusedAdapter:
        """The equivalent weight deltas and bias matrices (docs/reference/dense_face.md A3)."""
        return fuse({k: t.detach() for k, t in self.live_state_dict().items()}, self.delta)

    def _dead(self) -> set[str]:
        if self.fused:
            return set()
        return {f"{site.key}.feat_to_q.weight" for site in self.sites if not site.takes_identity}


def _summed(base: nn.Module, adapter: nn.Linear, x: Tensor, delta: float) -> Tensor:
    """base(x) + delta * adapter(x).

    Where the base is a plain Linear the weights are added first: one product instead of two,
    forward and backward. A wrapped Linear (LoRA and the like) is called as it is.
    """
    if type(base) is nn.Linear:
        return F.linear(x, base.weight + delta * adapter.weight.to(base.weight), base.bias)
    return base(x) + delta * adapter(x)


def _place(root: nn.Module, path: str, module: nn.Module) -> None:
    """Hang a module under a dotted path, making empty modules on the way."""
    *parents, name = path.split(".")
    for part in parents:
        if part not in root._modules:
            root.add_module(part, nn.Module())
        root = root.get_submodule(part)
    root.add_module(name, module)
