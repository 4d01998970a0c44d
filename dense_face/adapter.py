"""PC-adapter: identity in the attention layers of a Stable Diffusion 1.x UNet.

Source: docs/reference/dense_face.md A2.

For hidden states x, context c (c = x in self-attention) and identity a, with W the frozen
projections of the base and W' those of the adapter:

    q = W_q x + delta * W'_q u,   u = F a in layers that receive the identity, else x
    k = W_k c + delta * W'_k c
    v = W_v c + delta * W'_v c

The cross-attentions of the input and output blocks receive the identity. Self-attentions and the
middle block do not, as in the release.

There are two equivalent ways to compute this: at run time (:meth:`AdapterAttention.projected`, used
in training too) and fused (:meth:`PCAdapter.fuse`): constant deltas on the base's weights and,
because F a does not depend on the position, one query bias per layer that receives the identity.
Both work with either form of the stored weights (``attention_layers.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError
from ..state_dict import check_state_dict
from .attention_layers import ID_DIM, AttentionLayer, is_fused, layers_from_state_dict
from .fused import FusedAdapter, fuse

DELTA = 0.01
"""Strength used by the release in training and inference."""

Projections = tuple[nn.Module, nn.Module, nn.Module]
"""to_q, to_k and to_v of an attention layer."""


class AdapterAttention(nn.Module):
    """The adapter's projections for one attention layer.

    Unfused there are always four, as in the release; fused, only those that have an effect.

    New ``per_*`` weights are zero, so that an untrained adapter changes nothing; their gradients
    are not zero. ``feat_to_q`` keeps torch's default initialisation and starts to learn once
    ``per_q`` is no longer zero.
    """

    def __init__(
        self,
        layer: AttentionLayer,
        id_dim: int,
        fused: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.layer = layer
        self.needs_identity = fused and layer.takes_identity

        def linear(width_in: int) -> nn.Linear:
            return nn.Linear(width_in, layer.channels, bias=False, device=device, dtype=dtype)

        if self.needs_identity:
            self.id_to_q = linear(id_dim)
        else:
            self.per_q = linear(layer.channels)
        self.per_k = linear(layer.context_dim)
        self.per_v = linear(layer.context_dim)
        for parameter in self.parameters():
            nn.init.zeros_(parameter)
        if not fused:
            self.feat_to_q = linear(id_dim)

    def query(self, x: Tensor, identity: Tensor | None) -> Tensor:
        """Query delta before the strength: [B, N, C] from x, or [B, 1, C] from the identity.

        ``identity`` [B, D] is used only in layers with :attr:`AttentionLayer.takes_identity`.
        """
        if identity is None or not self.layer.takes_identity:
            return self._query_without_identity(x)
        return self.identity_query(identity.to(x))[:, None, :]

    def identity_query(self, identity: Tensor) -> Tensor:
        """Query delta [B, C] from identities [B, D], before the strength."""
        if self.needs_identity:
            return self.id_to_q(identity)
        return self.per_q(self.feat_to_q(identity))

    def projected(
        self,
        base: Projections,
        x: Tensor,
        context: Tensor | None,
        identity: Tensor | None,
        delta: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """q [B, N, C], k and v [B, M, C] of base + delta * adapter.

        Args:
            base: The layer's own to_q, to_k and to_v.
            x: Hidden tokens [B, N, C].
            context: Text embeddings [B, M, context_dim]; None in self-attention.
            identity: [B, D] or None.

        Raises:
            InputError: The adapter is fused and needs an identity.
        """
        to_q, to_k, to_v = base
        context = x if context is None else context
        if identity is None or not self.layer.takes_identity:
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
                where=self.layer.key,
                fix="Give an identity, or convert the checkpoint with --unfused",
            )
        return self.per_q


class PCAdapter(nn.Module):
    """The adapter of a whole UNet; state-dict keys are the release's, without file prefix.

    ``delta`` is the strength, applied when the adapter runs and never multiplied into the weights.
    ``fused`` chooses the form of the weights (``attention_layers.py``).
    """

    def __init__(
        self,
        layers: Iterable[AttentionLayer],
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
        self.layers = tuple(layers)
        for layer in self.layers:
            attention = AdapterAttention(layer, id_dim, fused, device=device, dtype=dtype)
            _add_module(self, layer.key, attention)

    @classmethod
    def from_shapes(
        cls,
        tensors: Mapping[str, Tensor],
        *,
        delta: float = DELTA,
        device: torch.device | str | None = "meta",
    ) -> PCAdapter:
        """An uninitialised adapter with the shapes of a state dict, whose keys are checked.

        On the default device ``meta`` it takes no memory.

        Raises:
            ModelFileError: A weight is missing or unknown.
            IncompatibleError: A weight has a name or shape that does not fit the others.
        """
        layers, id_dim = layers_from_state_dict(tensors)
        adapter = cls(layers, id_dim=id_dim, delta=delta, fused=is_fused(tensors), device=device)
        check_state_dict(adapter, tensors, "the PC-adapter", optional=adapter._unused())
        return adapter

    @classmethod
    def from_state_dict(cls, tensors: Mapping[str, Tensor], *, delta: float = DELTA) -> PCAdapter:
        """Build an adapter (float32) and load a state dict into it.

        Weights that have no effect may be missing (:meth:`live_state_dict`); they become zero.

        Raises:
            ModelFileError, IncompatibleError: As :meth:`from_shapes`.
        """
        cls.from_shapes(tensors)  # without memory, which a weight of another shape could make huge
        adapter = cls.from_shapes(tensors, delta=delta, device=None)
        for name in adapter._unused() - tensors.keys():
            nn.init.zeros_(adapter.get_parameter(name))
        adapter.load_state_dict(dict(tensors), strict=False)
        return adapter

    def attention(self, block: str, cross: bool) -> AdapterAttention:
        """The projections for ``attn2`` (``cross``) or ``attn1`` of a block; KeyError if none."""
        for layer in self.layers:
            if layer.block == block and layer.cross == cross:
                found = self.get_submodule(layer.key)
                if isinstance(found, AdapterAttention):
                    return found
        raise KeyError(f"{block} attn{2 if cross else 1}")

    def attentions(self) -> Iterator[AdapterAttention]:
        """The projections of every layer, in execution order."""
        for layer in self.layers:
            yield self.attention(layer.block, layer.cross)

    def live_state_dict(self) -> dict[str, Tensor]:
        """The state dict without weights that have no effect: all that a file needs."""
        unused = self._unused()
        return {name: tensor for name, tensor in self.state_dict().items() if name not in unused}

    def fuse(self) -> FusedAdapter:
        """The equivalent weight deltas and bias matrices (docs/reference/dense_face.md A3)."""
        return fuse({k: t.detach() for k, t in self.live_state_dict().items()}, self.delta)

    def _unused(self) -> set[str]:
        if self.fused:
            return set()
        return {
            f"{layer.key}.feat_to_q.weight" for layer in self.layers if not layer.takes_identity
        }


def _summed(base: nn.Module, adapter: nn.Linear, x: Tensor, delta: float) -> Tensor:
    """base(x) + delta * adapter(x).

    For a plain Linear the weights are added first: one matrix product instead of two, forward and
    backward. A wrapped Linear (LoRA, for example) is called as it is.
    """
    if type(base) is nn.Linear:
        return F.linear(x, base.weight + delta * adapter.weight.to(base.weight), base.bias)
    return base(x) + delta * adapter(x)


def _add_module(root: nn.Module, path: str, module: nn.Module) -> None:
    """Register a module under a dotted path, creating empty modules in between."""
    *parents, name = path.split(".")
    for part in parents:
        if part not in root._modules:
            root.add_module(part, nn.Module())
        root = root.get_submodule(part)
    root.add_module(name, module)
