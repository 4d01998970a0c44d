"""Stage ``annotation``: depth, parts and landmarks from the frozen UNet's features."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...dense_face.annotation.head import AnnotationHead, HeadConfig
from ...dense_face.annotation.loss import annotation_losses
from .annotation_data import AnnotationTruth
from .feature_cache import FeatureCache

TINY_WIDTH, TINY_FINE_WIDTHS = 128, (64, 32)


class AnnotationTask(nn.Module):
    """Predicts the labels of images from the frozen UNet's features of their noisy latents.

    Args:
        config: Of the head; its maps have the resolution of the labels.
    """

    def __init__(
        self, config: HeadConfig, cache: FeatureCache, truth: AnnotationTruth, batch: int
    ) -> None:
        super().__init__()
        self.head = AnnotationHead(config)
        self.cache, self.truth = cache, truth
        self.batch = batch

    def forward(self, generator: torch.Generator) -> dict[str, Tensor]:
        pick = torch.randint(len(self.cache), (self.batch,), generator=generator)
        features = [stage[pick].float() for stage in self.cache.features]
        maps = self.head(features, self.cache.timestep[pick])
        losses = annotation_losses(maps, self.truth.labels(self.cache.image[pick]))
        return {n: value if n == "loss" else value.detach() for n, value in losses.items()}
