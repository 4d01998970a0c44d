"""Stage ``annotation``: depth, parts and landmarks read from the frozen UNet's features."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..demo.captions import caption
from ..dense_face.annotation_head import TIMESTEPS, AnnotationHead
from ..dense_face.annotation_loss import annotation_losses
from ..dense_face.feature_tap import tapped
from ..dense_face.schedule import alphas_cumprod
from ..pipelines.annotation import fitting_config, stage_modules
from ..pipelines.base import Base, token_ids
from ..pipelines.text import encode_text
from .annotation_data import MAP_SIZE, AnnotationTruth
from .base import DROPPED_GROUP, PlainAttention
from .demo_data import Latents

TINY_WIDTH = 64
#: Half of the looks know no words: finished pictures are mostly looked at without.
EMPTY_CAPTION = 0.5
POINTS_AT_ONCE = 20


class AnnotationTask(nn.Module):
    """Labels of pictures from their noisy latents, by one pass of the frozen UNet.

    Timesteps are 1000 u² of a uniform u: every noise level, light ones more often, because there
    most can be read.

    Args:
        base: The trained base, frozen; it gets no gradients.
        data: Latents of N pictures and their mirror images.
        truth: Labels of the same.
        batch: Samples a step.
    """

    def __init__(self, base: Base, data: Latents, truth: AnnotationTruth, batch: int) -> None:
        super().__init__()
        scale = MAP_SIZE // data.latents.shape[-1]
        self.head = AnnotationHead(fitting_config(base.unet, TINY_WIDTH, scale, "ibug"))
        self.unet = base.unet
        self.text_encoder = base.text_encoder
        self.data, self.truth = data, truth
        self.batch = batch
        self.alphas = alphas_cumprod()
        plain: Any = PlainAttention()  # diffusers lists its own classes only
        base.unet.set_attn_processor(plain)

    def forward(self, generator: torch.Generator) -> dict[str, Tensor]:
        pick = torch.randint(len(self.data), (self.batch,), generator=generator)
        t = (TIMESTEPS * torch.rand(self.batch, generator=generator).square()).long()
        latents = self.data.latents[pick]
        noise = torch.randn(latents.shape, generator=generator)
        alpha = self.alphas[t].to(latents)[:, None, None, None]
        noisy = alpha.sqrt() * latents + (1 - alpha).sqrt() * noise
        with torch.no_grad(), tapped(stage_modules(self.unet)) as features:
            self.unet(noisy, t, self._context(pick, generator))
        maps, labels = self.head(features, t), self.truth.labels(pick)
        # Some of the landmarks at a time: their maps are most of the numbers, and one teaches all.
        some = torch.randperm(self.head.config.points, generator=generator)[:POINTS_AT_ONCE]
        maps = replace(maps, heat_logits=maps.heat_logits[:, some])
        labels = replace(labels, landmarks=labels.landmarks[:, some])
        losses = annotation_losses(maps, labels)
        return {n: value if n == "loss" else value.detach() for n, value in losses.items()}

    def _context(self, pick: Tensor, generator: torch.Generator) -> Tensor:
        texts = caption(self.data.heads[pick], generator, DROPPED_GROUP)
        empty = torch.rand(self.batch, generator=generator) < EMPTY_CAPTION
        texts = ["" if gone else text for text, gone in zip(texts, empty, strict=True)]
        return encode_text(self.text_encoder, token_ids(texts))
