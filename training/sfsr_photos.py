"""An SFSR adapter for any Stable Diffusion 1.x model, trained on a dense-annotation data set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import InputError
from ..faces.alignment import ALIGNED_SIZE, aligned
from ..faces.blendshapes import ARKIT_NAMES
from ..faces.encoders.ir_se50 import ENCODER, IDENTITY_DIM, IRSE50
from ..faces.face import five_points
from ..pipelines.base import LATENT_SCALE, Base
from ..pipelines.single_file import Tokenize
from ..pipelines.source_attention import layers_of
from ..pipelines.text import encode_text
from ..sfsr.adapter import SFSRAdapter
from ..sfsr.background import background_channels, dilated, emptied, latent_mask
from ..sfsr.compound_inputs import CompoundLayout
from .annotation_head import VAE_FACTOR
from .data.stream import Batch, FaceStream, ResumedBatches
from .loop import Schedule, fit, seeded
from .sfsr import FaceLosses, SFSRTask
from .sfsr_faces import NO_WORDS, Seen, SFSRFaces, half_known
from .tiny.vae import FIRST_FEATURE

MARGIN = 0.15
"""Around the face, as a share of its diameter, where the scene is emptied."""
_NEEDED = (
    "Part masks and landmarks are needed, as denseface annotate writes them; without a recogniser "
    "identities, too"
)
_FEWEST = 2
"""Faces in a step: one of them is drawn with the other's identity."""


@dataclass(frozen=True)
class SFSRPlan:
    """What is trained, on what.

    dataset: Folder in the layout, or with its WebDataset shards.
    folder: Work folder, where the run goes on after a kill.
    encoder: Name of the network that measured the data set's identities; not used with a
        recogniser, which measures them itself.
    size: Side of the images in pixels, a multiple of 64.
    scheme: Of the data set's landmarks.
    batch: Records a step and process. workers: Processes that read images.
    """

    dataset: Path
    folder: Path
    encoder: str
    size: int = 512
    scheme: str = "mesh"
    tokens: int = 4
    batch: int = 8
    workers: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise InputError for numbers that cannot be."""
        if self.size < 64 or self.size % 64:
            raise InputError(
                f"the images' side is {self.size}", fix="Use a multiple of 64, such as 512"
            )
        if self.batch < _FEWEST:
            raise InputError(f"a batch of {self.batch} was asked for", fix="Use 2 or more")
        if self.tokens < 1:
            raise InputError(f"{self.tokens} tokens were asked for", fix="Use 1 or more")


class PhotoFaces(nn.Module):
    """Faces of a data set, as a :class:`.FaceSource`: a stream that goes on after a kill.

    An image without a part mask, or without an identity, is passed over.

    Args:
        base: Encodes images and words; it gets no gradients.
        recogniser: Measures who they are; None takes the data set's own identities.
        share: Number of this process from 0, and of how many.
    """

    def __init__(
        self,
        base: Base,
        plan: SFSRPlan,
        tokenize: Tokenize,
        recogniser: ArcFaceReader | None = None,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        super().__init__()
        self.vae, self.text_encoder = base.vae, base.text_encoder
        self.plan, self.tokenize, self.share = plan, tokenize, share
        self.recogniser = recogniser
        self.stream = ResumedBatches(plan.dataset, self._stream, plan.workers, share)

    @property
    def wordless(self) -> Tensor:
        """As of :class:`.FaceSource`."""
        device = next(self.text_encoder.parameters()).device
        return encode_text(self.text_encoder, self.tokenize([""]).to(device))

    @torch.no_grad()
    def draw(self, generator: torch.Generator) -> SFSRFaces:
        """As :class:`.FaceSource`.

        Raises:
            InputError: The data set has hardly an image that can be used.
        """
        chance = self.stream.chance(generator)
        batch, images, five, people = self._next()
        cells = self.plan.size // VAE_FACTOR
        parts = batch["parts"][:, None].to(images.device)
        side = (self.plan.size, self.plan.size)
        face = F.interpolate(_among(parts, 1), side, mode="nearest-exact")
        mask = _not_all(dilated(face, MARGIN), face)
        # Where another face would be, too: the outline of the own one tells of who was there.
        wide = _not_all(torch.maximum(mask, mask.roll(1, 0)), mask)
        known = half_known(batch["blendshapes"].isfinite(), chance).to(images.device)
        values = batch["blendshapes"].nan_to_num().to(images)
        unsaid = (torch.rand(len(images), generator=chance) < NO_WORDS).tolist()
        texts = ["" if no else text for text, no in zip(batch["caption"], unsaid, strict=True)]
        tokens = self.tokenize(texts).to(images.device)
        return SFSRFaces(
            latents=self._encode(images),
            people=people,
            values=values * known,
            known=known,
            context=encode_text(self.text_encoder, tokens),
            background=background_channels(
                latent_mask(wide, cells, cells), self._encode(emptied(images, wide))
            ),
            heads=latent_mask(mask, cells, cells),
            features=F.adaptive_avg_pool2d(_among(parts, FIRST_FEATURE), cells),
            five=five,
        )

    def _encode(self, images: Tensor) -> Tensor:
        vae: Any = self.vae
        return LATENT_SCALE * vae.encode(2 * images - 1).latent_dist.mode().float()

    def _next(self) -> tuple[Batch, Tensor, Tensor, Tensor]:
        """What can be used of the next batch: itself, its images, five points, and people."""
        batch = self.stream.next(self._usable, _NEEDED)
        images = batch["image"].to(next(self.vae.parameters()).device)
        points = [five_points(marks, self.plan.scheme) for marks in batch["landmarks"]]
        five = torch.stack(points).to(images)
        if self.recogniser is None:
            return batch, images, five, F.normalize(batch["feature"].to(images), dim=1)
        return batch, images, five, self.recogniser.identities(images, five)

    def _usable(self, batch: Batch) -> Batch | None:
        """The images of a batch that have all it takes; None for fewer than two."""
        parts = batch["parts"].flatten(1)
        # Nothing known (-1), no face, or a face all over the image: there is no scene to empty.
        usable = (parts > 0).any(1) & (parts == 0).any(1)
        usable &= batch["landmarks"].isfinite().flatten(1).all(1)
        if self.recogniser is None:
            usable &= batch["feature"].isfinite().all(1)
        rows = usable.nonzero()[:, 0].tolist()
        if len(rows) < _FEWEST:
            return None
        return {
            name: values[rows] if isinstance(values, Tensor) else [values[i] for i in rows]
            for name, values in batch.items()
        }

    def _stream(self, skip: int) -> FaceStream:
        plan = self.plan
        # Masks half as fine as the images: cells of a latent are eight times as coarse.
        return FaceStream(
            plan.dataset, plan.size, plan.size // 2, plan.scheme,
            seed=plan.seed, batch=plan.batch, share=self.share, skip=skip,
        )  # fmt: skip


class ArcFaceReader(nn.Module):
    """IR-SE50 on aligned faces, as a :class:`.FaceReader`; it reads no expressions.

    Args:
        net: Frozen.
    """

    legible: Tensor | None = None

    def __init__(self, net: IRSE50) -> None:
        super().__init__()
        self.net = net

    def identities(self, images: Tensor, five: Tensor) -> Tensor:
        """Of images [B, 3, S, S] in 0..1 with five points [B, 5, 2] in 0..1: [B, 512]."""
        side = images.shape[-1]
        cut = [aligned(p, side * points) for p, points in zip(images, five, strict=True)]
        return self.net(2 * torch.stack(cut) - 1).float()  # whatever the training's precision

    def forward(self, images: Tensor, faces: SFSRFaces, generator: torch.Generator) -> Seen:
        if faces.five is None:
            raise InputError("faces without five points cannot be aligned", where="ArcFaceReader")
        # A little off, so that what pleases the network is more than a trick on single pixels.
        off = torch.randn(faces.five.shape, generator=generator).to(faces.five) / ALIGNED_SIZE
        again = len(images) // len(faces)
        found = self.identities(images, (faces.five + off).repeat(again, 1, 1))
        return Seen(found, found.new_zeros(len(found), len(ARKIT_NAMES)))


def train_sfsr(
    base: Base, plan: SFSRPlan, tokenize: Tokenize, schedule: Schedule, net: IRSE50 | None = None
) -> tuple[SFSRAdapter, PhotoFaces]:
    """Train an adapter and return it with its averaged weights; resumes after a kill.

    Started by ``accelerate launch`` on several GPUs or machines, each process reads its own share.

    Args:
        net: Measures who people are, and with it faces are drawn as other people and looked at;
            without it noise alone teaches.

    Raises:
        InputError: There is no data set, or too little in it can be used.
        ModelFileError: The work folder holds a run of another adapter.
    """
    from accelerate import PartialState

    state = PartialState()
    reader = None if net is None else ArcFaceReader(net)
    source = PhotoFaces(base, plan, tokenize, reader, (state.process_index, state.num_processes))
    config = base.unet.config
    layout = CompoundLayout(
        {plan.encoder if net is None else ENCODER: IDENTITY_DIM},
        tokens=plan.tokens,
        width=base.text_encoder.config.hidden_size,
    )
    with seeded(plan.seed):
        adapter = SFSRAdapter(layout, layers_of(base.unet), config["block_out_channels"][0])
    faces = None if net is None else FaceLosses(rows=max(_FEWEST, plan.batch // 3))
    task = SFSRTask(base, adapter, source, reader, faces=faces)
    fit(task, schedule, seed=plan.seed, folder=plan.folder)
    return task.adapter, source


def _among(parts: Tensor, first: int) -> Tensor:
    """1 where the class is ``first`` or a later one."""
    return (parts >= first).float()


def _not_all(mask: Tensor, smaller: Tensor) -> Tensor:
    """A mask [B, 1, H, W], the smaller one for images of which it leaves nothing."""
    return torch.where(mask.amin((1, 2, 3), keepdim=True) > 0, smaller, mask)
