"""Stage ``base``: UNet and text encoder of the tiny world, trained on captions alone."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel

from ...demo.captions import caption
from ...dense_face.noise_prediction import EMPTY_CAPTION, noised
from ...dense_face.schedule import alphas_cumprod
from ...pipelines.attention import attend
from ...pipelines.text import token_ids
from .data import Latents

#: Probability that a group of words is left out, so that prompts may be short.
DROPPED_GROUP = 0.25


class BaseTask(nn.Module):
    """Noise prediction from noisy latents and captions with groups of words left out at random."""

    def __init__(
        self, unet: UNet2DConditionModel, text_encoder: CLIPTextModel, data: Latents, batch: int
    ) -> None:
        super().__init__()
        self.unet, self.text_encoder = unet, text_encoder
        self.data, self.batch = data, batch
        self.alphas = alphas_cumprod()
        use_plain_attention(unet)

    def forward(self, generator: torch.Generator) -> dict[str, Tensor]:
        pick = torch.randint(len(self.data), (self.batch,), generator=generator)
        texts = caption(self.data.heads[pick], generator, DROPPED_GROUP)
        empty = torch.rand(self.batch, generator=generator) < EMPTY_CAPTION
        texts = ["" if drop else text for text, drop in zip(texts, empty, strict=True)]
        x, noise, t, weight = noised(self.data.latents[pick], self.alphas, generator)
        context = self.text_encoder(token_ids(texts)).last_hidden_state
        out = self.unet(x, t, context).sample.float()
        error = F.mse_loss(out, noise, reduction="none").mean((1, 2, 3))
        return {"loss": (error * weight).mean(), "mse": error.detach().mean()}


def use_plain_attention(unet: UNet2DConditionModel) -> None:
    """Give all attention layers of a UNet :class:`PlainAttention`."""
    plain: Any = PlainAttention()  # diffusers' annotation lists its own classes only
    unet.set_attn_processor(plain)


class PlainAttention:
    """Plain attention with the faster kernel on CPUs (:func:`attend`)."""

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """[B, N, C] -> [B, N, C]; the signature is that of diffusers' processors."""
        return attn.to_out[0](self.attended(attn, hidden_states, encoder_hidden_states)[1])

    def attended(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Queries, and the result before ``to_out`` [B, N, C]: sources of SFSR use both."""
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        projected = attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context)
        q, k, v = (t.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for t in projected)
        return projected[0], attend(q, k, v).transpose(1, 2).flatten(2)
