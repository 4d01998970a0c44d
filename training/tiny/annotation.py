"""Stage ``annotation``: depth, parts and landmarks read from the frozen UNet's features."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...dense_face.annotation.head import AnnotationHead, HeadConfig
from ...dense_face.annotation.loss import annotation_losses
from .annotation_data import AnnotationTruth
from .annotation_features import FeatureCache

TINY_WIDTH = 128


class AnnotationTask(nn.Module):
    """Labels of images from what the frozen UNet saw in their noisy latents.

    Args:
        config: Of the head; its maps are as fine as the labels.
        looks: Features, and of which images they are.
        truth: Labels of the images.
        batch: Samples a step.
    """

    def __init__(
        self, config: HeadConfig, looks: FeatureCache, truth: AnnotationTruth, batch: int
    ) -> None:
        super().__init__()
        self.head = AnnotationHead(config)
        self.looks, self.truth = looks, truth
        self.batch = batch

    def forward(self, generator: torch.Generator) -> dict[str, Tensor]:
        pick = torch.randint(len(self.looks), (self.batch,), generator=generator)
        features = [stage[pick].float() for stage in self.looks.features]
        maps = self.head(features, self.looks.timestep[pick])
        losses = annotation_losses(maps, self.truth.labels(self.looks.image[pick]))
        return {n: value if n == "loss" else value.detach() for n, value in losses.items()}
