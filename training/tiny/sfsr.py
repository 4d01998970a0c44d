"""Data of stage ``sfsr``: training images of the tiny world, and the analyzer as reader."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import CLIPTextModel

from ...demo.captions import GROUPS, IDENTITY_GROUPS, caption
from ...demo.networks.analyzer import ENCODER, IDENTITY_DIM, TinyAnalyzer
from ...pipelines.base import LATENT_SCALE, Base
from ...pipelines.source_attention import layers_of
from ...pipelines.text import encode_text, token_ids
from ...sfsr.adapter import SFSRAdapter
from ...sfsr.background import background_channels
from ...sfsr.compound_inputs import CompoundLayout
from ..data.batches import Batch
from ..sfsr_faces import NO_CAPTION, FaceReading, SFSRFaces, half_known
from .augment import augment_pixels
from .base import DROPPED_GROUP
from .data import PER_PERSON, Latents
from .scenes import Scenes

TOKENS, HIDDEN = 4, 96
#: Probability that the blendshapes are the analyzer's reading of the image, as in inference,
#: instead of the true ones.
READ = 0.3
#: Groups of words in captions: none that describe identity or expression.
CAPTION_GROUPS = tuple(
    g for g in GROUPS if g not in IDENTITY_GROUPS and g not in ("expression", "gaze")
)


def new_adapter(base: Base) -> SFSRAdapter:
    """An untrained adapter for the tiny base."""
    width = base.text_encoder.config.hidden_size
    layout = CompoundLayout({ENCODER: IDENTITY_DIM}, tokens=TOKENS, width=width, hidden=HIDDEN)
    first = base.unet.config["block_out_channels"][0]
    return SFSRAdapter(layout, layers_of(base.unet), first)


@dataclass(frozen=True, eq=False)
class TinyFaces:
    """Faces with the identity of another image of the same person.

    Args:
        data: Latents of N images and their mirror images. scenes: Of the same images.
        hints: Their pose images [2N, 3, 128, 128] as bytes.
    """

    text_encoder: CLIPTextModel
    data: Latents
    scenes: Scenes
    hints: Tensor
    batch: int

    @property
    def empty_context(self) -> Tensor:
        """As of :class:`.FaceSource`."""
        return encode_text(self.text_encoder, token_ids([""]))

    def draw(self, generator: torch.Generator, batch: Batch | None = None) -> SFSRFaces:
        """As :class:`.FaceSource`."""
        half = len(self.data) // 2
        pick = torch.randint(half, (self.batch,), generator=generator)
        # The other image of the same person: images 2i and 2i + 1 belong together.
        other = pick // PER_PERSON * PER_PERSON + 1 - pick % PER_PERSON
        target = pick + torch.randint(2, (self.batch,), generator=generator) * half
        scenes, true = self.scenes, self.data.heads.expression[target]
        read = torch.rand(self.batch, 1, generator=generator) < READ
        known = half_known(torch.ones_like(true, dtype=torch.bool), generator)
        empty = LATENT_SCALE * scenes.emptied[target]
        return SFSRFaces(
            latents=self.data.latents[target],
            people=scenes.identities[other],
            values=torch.where(read, scenes.read[target], true) * known,
            known=known,
            context=self._context(target, generator),
            background=background_channels(scenes.masks[target], empty),
            heads=scenes.heads[target],
            features=scenes.features[target],
            hints=self.hints[target].float() / 255,
        )

    def _context(self, target: Tensor, generator: torch.Generator) -> Tensor:
        texts = caption(self.data.heads[target], generator, DROPPED_GROUP, groups=CAPTION_GROUPS)
        empty = torch.rand(len(target), generator=generator) < NO_CAPTION
        texts = ["" if drop else text for text, drop in zip(texts, empty, strict=True)]
        return encode_text(self.text_encoder, token_ids(texts))


class TinyReader(nn.Module):
    """The tiny world's analyzer on augmented images.

    Args:
        source: Readings and true blendshapes, from which the analyzer's reliability follows:
            blendshapes that it misreads should not be learned from it.
    """

    reliability: Tensor | None

    def __init__(self, analyzer: TinyAnalyzer, source: TinyFaces) -> None:
        super().__init__()
        self.analyzer = analyzer
        self.reliability = blendshape_reliability(source.scenes.read, source.data.heads.expression)

    def forward(self, images: Tensor, faces: SFSRFaces, generator: torch.Generator) -> FaceReading:
        seen = self.analyzer(augment_pixels(images, generator))
        return FaceReading(seen.identity.float(), seen.blendshapes.float())


def blendshape_reliability(read: Tensor, true: Tensor) -> Tensor:
    """Squared correlation [51] of read and true blendshapes [N, 51]."""
    read, true = read - read.mean(0), true - true.mean(0)
    both = (read * true).sum(0) / (read.norm(dim=0) * true.norm(dim=0)).clamp(min=1e-6)
    return both.clamp(min=0).square()
