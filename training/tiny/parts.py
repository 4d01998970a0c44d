"""Stage ``parts``: the analyzer's maps of face parts and head, on renders and reconstructions.

The maps are trained again on the frozen trunk, with VAE reconstructions among the images and an
overlap loss, in which the frame of a pair of glasses counts as much as the background.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...demo.networks.analyzer import TinyAnalyzer
from ...dense_face.annotation.loss import part_losses
from .augment import augmented_parts
from .data import Images

#: Prefix of the layers' names in the analyzer.
LAYERS = "part_"


class PartsTask(nn.Module):
    """Cross-entropy and overlap loss of the parts, cross-entropy of the head.

    Args:
        net: The trained analyzer, whose part layers are trained.
        reconstructed: VAE reconstructions of the same images, bytes [N, 3, 128, 128].
        batch: Samples per step, an even number.
    """

    def __init__(
        self, net: TinyAnalyzer, images: Images, reconstructed: Tensor, batch: int
    ) -> None:
        super().__init__()
        self.net = net
        for name, weight in net.named_parameters():
            weight.requires_grad_(name.startswith(LAYERS))
        self.kinds = (images, replace(images, rgb=reconstructed))
        self.batch = batch

    def train(self, mode: bool = True) -> PartsTask:
        """Part layers only: the trunk's batch norms keep their statistics."""
        super().train(mode)
        self.net.eval()
        self.net.part_out.train(mode)
        return self

    def forward(self, generator: torch.Generator) -> dict[str, Tensor]:
        shown = augmented_parts(self.kinds, self.batch, generator)
        with torch.no_grad():
            features = self.net.trunk(torch.cat([part.rgb for part in shown]))
        part_logits, head_logit = self.net.maps(features)
        parts, overlap = part_losses(part_logits.float(), torch.cat([s.parts for s in shown]))
        head = F.binary_cross_entropy_with_logits(
            head_logit.float(), torch.cat([s.head for s in shown])
        )
        terms = {"parts": parts, "overlap": overlap, "head": head}
        loss = parts + overlap + head
        return {"loss": loss, **{name: term.detach() for name, term in terms.items()}}
