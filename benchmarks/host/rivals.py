"""The implementations that ours is compared with.

:func:`authors_model` and :func:`authors_pose` compute as the release does
(docs/reference/dense_face.md A2, A7): two projections per layer, the identity's at every position,
attention by explicit softmax, the pose branch with its hint encoder for every CFG half and every
step. :class:`ExtraTokens` is a plain IP-Adapter: its own keys and values beside the text's.
"""

from __future__ import annotations

from typing import Any

import torch
from comfy.controlnet import ControlNet
from comfy.ldm.modules.attention import optimized_attention
from torch import Tensor, nn

from ...dense_face.adapter import AdapterAttention, PCAdapter
from ...nodes.host.dense_face.apply import block_key
from ...nodes.host.dense_face.control import PoseControl, PoseNet

INPUTS = "benchmark_inputs"


class AuthorsAttention:
    """One attention layer as the release computes it: [B, N, C] -> before to_out."""

    def __init__(self, maps: AdapterAttention, identity: Tensor, delta: float) -> None:
        self.maps = maps
        self.identity = identity
        self.delta = delta

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, extra: dict[str, Any]) -> Tensor:
        x, context = extra[INPUTS]
        # In the model's type and on its device; nothing happens from the second call on.
        maps, delta = self.maps.to(q), self.delta
        source = x
        if maps.layer.takes_identity:
            people = self.identity.to(x).expand(x.shape[0], -1)
            source = maps.feat_to_q(people)[:, None].expand(-1, x.shape[1], -1)
        q = q + delta * maps.per_q(source)
        k, v = k + delta * maps.per_k(context), v + delta * maps.per_v(context)
        heads = extra["n_heads"]
        q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))
        scores = torch.einsum("bhid,bhjd->bhij", q, k) * q.shape[-1] ** -0.5
        out = torch.einsum("bhij,bhjd->bhid", scores.softmax(-1), v)
        return out.transpose(1, 2).flatten(2)


def authors_model(model: Any, adapter: PCAdapter, identity: Tensor) -> Any:
    """A clone of MODEL whose every attention computes as the release does."""
    patched = model.clone()
    patched.set_model_attn1_patch(_keep)
    patched.set_model_attn2_patch(_keep)
    for maps in adapter.attentions():
        kind = "attn2" if maps.layer.cross else "attn1"
        patch = AuthorsAttention(maps, identity, adapter.delta)
        patched.set_model_patch_replace(patch, kind, *block_key(maps.layer.block))
    return patched


def _keep(x: Tensor, context: Tensor, value: Tensor, extra: dict[str, Any]) -> tuple[Tensor, ...]:
    extra[INPUTS] = (x, context)
    return x, context, value


class _EveryTime(PoseNet):
    """The pose branch on the whole batch, with the hint encoded at every step."""

    def forward(
        self,
        x: Tensor,
        hint: Tensor,
        timesteps: Tensor,
        context: Tensor | None = None,
        parts: int = 1,
        **kwargs: Any,
    ) -> dict[str, list[Tensor]]:
        self.invalidate()
        return super().forward(x, hint.expand(x.shape[0], -1, -1, -1), timesteps)


def authors_pose(control: PoseControl) -> ControlNet:
    """A CONTROL_NET with the same weights that computes as the release does."""
    net = _EveryTime(control.control_model.branch, control.control_model.dtype)
    return PoseControl(
        net, load_device=control.load_device, manual_cast_dtype=control.manual_cast_dtype
    )


class ExtraTokens:
    """Decoupled cross-attention to image tokens, one set per CFG half."""

    def __init__(self, channels: int, tokens: Tensor) -> None:
        self.to_k = nn.Linear(tokens.shape[-1], channels, bias=False).requires_grad_(False)
        self.to_v = nn.Linear(tokens.shape[-1], channels, bias=False).requires_grad_(False)
        self.tokens = tokens

    def to(self, target: Any) -> ExtraTokens:
        """Called by the host to move patches to its device and dtype."""
        self.to_k, self.to_v = self.to_k.to(target), self.to_v.to(target)
        self.tokens = self.tokens.to(target)
        return self

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, extra: dict[str, Any]) -> Tensor:
        heads = extra["n_heads"]
        self.to(q)
        tokens = self.tokens[extra["cond_or_uncond"]]
        own = optimized_attention(q, self.to_k(tokens), self.to_v(tokens), heads)
        return optimized_attention(q, k, v, heads) + own


def with_extra_tokens(model: Any, adapter: PCAdapter, count: int) -> Any:
    """A clone of MODEL with ``count`` additional tokens in every cross-attention."""
    patched = model.clone()
    for maps in adapter.attentions():
        if maps.layer.cross:
            tokens = torch.randn(2, count, maps.layer.context_dim)
            patch = ExtraTokens(maps.layer.channels, tokens)
            patched.set_model_attn2_replace(patch, *block_key(maps.layer.block))
    return patched
