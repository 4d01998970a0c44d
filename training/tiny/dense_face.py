"""Stage ``dense-face``: PC-adapter, identity token and pose branch on the frozen tiny base."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from ...demo.captions import caption, identity_free_caption
from ...demo.networks.analyzer import TinyAnalyzer
from ...demo.vocabulary import PLACEHOLDER, WORDS
from ...dense_face.adapter import PCAdapter
from ...dense_face.noise_prediction import EMPTY_CAPTION, NO_IDENTITY
from ...pipelines.attention import layers_for
from ...pipelines.base import LATENT_SCALE, Base
from ...pipelines.text import token_ids
from ..data.batches import Batch
from ..dense_face import (
    NO_POSE,
    DenseFaceTask,
    PeopleBatch,
    new_angle_reader,
    new_pose_branch,
    new_token,
)
from ..likeness import PersonReading
from .augment import augment_pixels
from .base import DROPPED_GROUP
from .data import PER_PERSON, Latents

#: Strengths of the tiny adapter. The release's 0.01 suits weights a hundred times larger.
TINY_DELTA = 1.0
TINY_REFERENCE_DELTA = 0.1
TINY_HINT_WIDTHS = (8, 8, 16, 16, 32, 32, 64)


def tiny_task(
    base: Base,
    data: Latents,
    identities: Tensor,
    hints: Tensor,
    batch: int,
    analyzer: TinyAnalyzer | None = None,
) -> DenseFaceTask:
    """The task of the stage, with untrained networks.

    Args:
        data, identities, hints, batch: As of :class:`TinyPeople`.
        analyzer: Reads the images that the network draws; None trains on noise prediction alone.
    """
    adapter = PCAdapter(layers_for(base.unet), delta=TINY_DELTA)
    pose_branch = new_pose_branch(base, TINY_HINT_WIDTHS)
    angles = new_angle_reader(pose_branch)
    token = new_token(base, WORDS.index("person"), TINY_REFERENCE_DELTA)
    source = TinyPeople(data, identities, hints, batch)
    reader = None if analyzer is None else TinyPersonReader(base.vae, analyzer)
    return DenseFaceTask(base, adapter, pose_branch, angles, token, source, reader)


@dataclass(eq=False)
class TinyPeople:
    """Images of the tiny world, with the identity of another image of the same person.

    data: Latents of N images and their mirror images.
    identities: Identity vectors [N, 512] of the images themselves.
    hints: Pose images [2N, 3, 128, 128] of the same images, bytes.
    """

    data: Latents
    identities: Tensor
    hints: Tensor
    batch: int
    placeholder: int = PLACEHOLDER
    empty_ids: Tensor = field(default_factory=lambda: token_ids([""]))

    def draw(self, generator: torch.Generator, batch: Batch | None = None) -> PeopleBatch:
        """As :class:`.PeopleSource`."""
        half = len(self.data) // 2
        pick = torch.randint(half, (self.batch,), generator=generator)
        target = pick + torch.randint(2, (self.batch,), generator=generator) * half
        # The other image of the same person: images 2i and 2i + 1 belong together.
        other = pick // PER_PERSON * PER_PERSON + 1 - pick % PER_PERSON

        known = torch.rand(self.batch, generator=generator) >= NO_IDENTITY
        posed = torch.rand(self.batch, generator=generator) >= NO_POSE
        empty = torch.rand(self.batch, generator=generator) < EMPTY_CAPTION
        heads = self.data.heads[target]
        faces = identity_free_caption(heads, generator, DROPPED_GROUP)
        people = caption(heads, generator, DROPPED_GROUP)
        texts = [
            "" if gone else (face if is_known else person)
            for gone, is_known, face, person in zip(empty, known, faces, people, strict=True)
        ]
        return PeopleBatch(
            latents=self.data.latents[target],
            identity=self.identities[other] * known[:, None],
            ids=token_ids(texts),
            hints=self.hints[target].float() / 255,
            posed=posed.float(),
            angles=heads.angles,
        )


class TinyPersonReader(nn.Module):
    """A :data:`.PersonReader`: the tiny world's analyzer on decoded and augmented images."""

    def __init__(self, vae: AutoencoderKL, analyzer: TinyAnalyzer) -> None:
        super().__init__()
        self.vae, self.analyzer = vae, analyzer

    def forward(self, latents: Tensor, generator: torch.Generator) -> PersonReading:
        """As :data:`.PersonReader`."""
        vae: Any = self.vae
        images = vae.decode(latents / LATENT_SCALE).sample.float() / 2 + 0.5
        seen = self.analyzer(augment_pixels(images.clamp(0, 1), generator))
        return PersonReading(seen.identity.float(), seen.pose.float())
