"""An SFSR adapter for any Stable Diffusion 1.x model, trained on a dense-annotation data set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import InputError
from ..faces.blendshapes import ARKIT_NAMES
from ..faces.crops.alignment import ALIGNED_SIZE, align_face
from ..faces.encoders.ir_se50 import ENCODER, IDENTITY_DIM, IRSE50
from ..faces.face import five_points
from ..faces.masks.dilate import dilate_by_fraction
from ..pipelines.base import LATENT_SCALE, Base
from ..pipelines.single_file import Tokenize
from ..pipelines.source_attention import layers_of
from ..pipelines.text import encode_text
from ..sfsr.adapter import SFSRAdapter
from ..sfsr.background import background_channels, emptied, latent_mask
from ..sfsr.compound_inputs import CompoundLayout
from .annotation_head import VAE_FACTOR
from .data.batches import Batch, Batches
from .data.dataset import FaceDataset, Sample
from .loop import Schedule, seeded, train
from .sfsr import FaceLosses, SFSRTask
from .sfsr_faces import NO_CAPTION, FaceReading, SFSRFaces, half_known
from .tiny.vae import FIRST_FEATURE

MARGIN = 0.15
"""Width of the emptied margin around the face, as a fraction of the face's diameter."""
_NEEDED = (
    "Part masks and landmarks are needed, as denseface annotate writes them, and without a "
    "recogniser identities as well"
)
_KINDS = ("images", "masks", "landmarks", "attributes")
_MIN_BATCH = 2
"""Faces per step: one is generated with the identity of another."""


@dataclass(frozen=True)
class SFSRPlan:
    """The adapter to train, and its data.

    dataset: Folder in the Dense-Face layout, or of its WebDataset shards.
    folder: Work folder with the saved state, from which a killed run resumes.
    encoder: Name of the network that encoded the data set's identities; ignored with a recogniser,
        which encodes them itself.
    size: Side of the images in pixels, a multiple of 64.
    scheme: Of the data set's landmarks.
    tokens: Identity and expression tokens of the adapter.
    batch: Records per step and process. workers: Processes that read images.
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
        """Raise InputError for values out of range."""
        if self.size < 64 or self.size % 64:
            raise InputError(
                f"the images' side is {self.size}", fix="Use a multiple of 64, such as 512"
            )
        if self.batch < _MIN_BATCH:
            raise InputError(f"the batch size is {self.batch}", fix="Use 2 or more")
        if self.tokens < 1:
            raise InputError(f"the number of tokens is {self.tokens}", fix="Use 1 or more")


class PhotoFaces(nn.Module):
    """A :class:`.FaceSource` of the batches of a data set (:func:`face_batches`).

    Args:
        base: Encodes images and captions; it gets no gradients.
        recogniser: Encodes identities; None takes those of the data set.
    """

    def __init__(
        self,
        base: Base,
        plan: SFSRPlan,
        tokenize: Tokenize,
        recogniser: ArcFaceReader | None = None,
    ) -> None:
        super().__init__()
        self.vae, self.text_encoder = base.vae, base.text_encoder
        self.plan, self.tokenize = plan, tokenize
        self.recogniser = recogniser

    @property
    def empty_context(self) -> Tensor:
        """As of :class:`.FaceSource`."""
        device = next(self.text_encoder.parameters()).device
        return encode_text(self.text_encoder, self.tokenize([""]).to(device))

    @torch.no_grad()
    def draw(self, generator: torch.Generator, batch: Batch | None = None) -> SFSRFaces:
        """As :class:`.FaceSource`."""
        if batch is None:
            raise InputError("a batch of the data set is needed", where="PhotoFaces")
        images, five, people = self._faces(batch)
        cells = self.plan.size // VAE_FACTOR
        parts = batch["parts"][:, None].to(images.device)
        side = (self.plan.size, self.plan.size)
        face = F.interpolate(_at_least(parts, 1), side, mode="nearest-exact")
        mask = _unless_all(dilate_by_fraction(face, MARGIN), face)
        # Another face's area is emptied as well: the outline alone would reveal the person.
        wide = _unless_all(torch.maximum(mask, mask.roll(1, 0)), mask)
        known = half_known(batch["blendshapes"].isfinite(), generator).to(images.device)
        values = batch["blendshapes"].nan_to_num().to(images)
        dropped = (torch.rand(len(images), generator=generator) < NO_CAPTION).tolist()
        texts = ["" if drop else text for text, drop in zip(batch["caption"], dropped, strict=True)]
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
            features=F.adaptive_avg_pool2d(_at_least(parts, FIRST_FEATURE), cells),
            five=five,
        )

    def _encode(self, images: Tensor) -> Tensor:
        vae: Any = self.vae
        return LATENT_SCALE * vae.encode(2 * images - 1).latent_dist.mode().float()

    def _faces(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """The images of a batch, their five points and identities."""
        images = batch["image"].to(next(self.vae.parameters()).device)
        points = [five_points(marks, self.plan.scheme) for marks in batch["landmarks"]]
        five = torch.stack(points).to(images)
        if self.recogniser is None:
            return images, five, F.normalize(batch["feature"].to(images), dim=1)
        return images, five, self.recogniser.identities(images, five)


def face_batches(plan: SFSRPlan, *, recogniser: bool) -> Batches:
    """The plan's data set: images with part masks and landmarks.

    Args:
        recogniser: Whether identities are read by a network; else the data set must have them.

    Raises:
        InputError: There is no data set.
    """
    # Part masks at half resolution suffice: latent cells are four times coarser still.
    kinds = _KINDS if recogniser else (*_KINDS, "feat_file_v2")
    data = FaceDataset(plan.dataset, plan.size, plan.size // 2, plan.scheme, kinds)
    usable = _has_face if recogniser else _has_person
    return Batches(data, plan.batch, plan.seed, workers=plan.workers, usable=usable, needed=_NEEDED)


def _has_face(sample: Sample) -> bool:
    """Without parts (-1), face or background there is no scene to empty."""
    parts = sample["parts"]
    seen = bool((parts > 0).any()) and bool((parts == 0).any())
    return seen and bool(sample["landmarks"].isfinite().all())


def _has_person(sample: Sample) -> bool:
    return _has_face(sample) and bool(sample["feature"].isfinite().all())


class ArcFaceReader(nn.Module):
    """IR-SE50 on aligned faces, as a :class:`.FaceReader` without expressions."""

    reliability: Tensor | None = None

    def __init__(self, net: IRSE50) -> None:
        super().__init__()
        self.net = net

    def identities(self, images: Tensor, five: Tensor) -> Tensor:
        """Identities [B, 512] of images [B, 3, S, S] in 0..1 with five points [B, 5, 2] in 0..1."""
        side = images.shape[-1]
        crops = [align_face(p, side * points) for p, points in zip(images, five, strict=True)]
        return self.net(2 * torch.stack(crops) - 1).float()  # also under mixed precision

    def forward(self, images: Tensor, faces: SFSRFaces, generator: torch.Generator) -> FaceReading:
        if faces.five is None:
            raise InputError("faces without five points cannot be aligned", where="ArcFaceReader")
        # Jitter makes it harder to fool the network with single pixels.
        jitter = torch.randn(faces.five.shape, generator=generator).to(faces.five) / ALIGNED_SIZE
        repeats = len(images) // len(faces)
        found = self.identities(images, (faces.five + jitter).repeat(repeats, 1, 1))
        return FaceReading(found, found.new_zeros(len(found), len(ARKIT_NAMES)))


def train_sfsr(
    base: Base,
    plan: SFSRPlan,
    tokenize: Tokenize,
    schedule: Schedule,
    net: IRSE50 | None = None,
    *,
    fresh: bool = False,
) -> SFSRAdapter:
    """Train an adapter and return it with averaged weights; a killed run resumes.

    Under ``accelerate launch`` or ``torchrun`` each process reads other records.

    Args:
        net: Encodes identities and enables the cross-identity losses; without it only the noise
            prediction loss is used.

    Raises:
        InputError: As :func:`.train`; or there is no data set, or it has too few usable images.
        ModelFileError: The work folder holds a run of another adapter.
    """
    reader = None if net is None else ArcFaceReader(net)
    source = PhotoFaces(base, plan, tokenize, reader)
    config = base.unet.config
    encoder = plan.encoder if net is None else ENCODER
    layout = CompoundLayout(
        {encoder: IDENTITY_DIM},
        tokens=plan.tokens,
        width=base.text_encoder.config.hidden_size,
    )
    with seeded(plan.seed):
        adapter = SFSRAdapter(layout, layers_of(base.unet), config["block_out_channels"][0])
    faces = None if net is None else FaceLosses(rows=max(_MIN_BATCH, plan.batch // 3))
    task = SFSRTask(base, adapter, source, reader, faces=faces)
    settings = {name: getattr(plan, name) for name in ("size", "tokens", "scheme")}
    train(
        task,
        schedule,
        seed=plan.seed,
        folder=plan.folder,
        batches=face_batches(plan, recogniser=net is not None),
        settings={"encoder": encoder, **settings},
        fresh=fresh,
    )
    return task.adapter


def _at_least(parts: Tensor, first: int) -> Tensor:
    """1 where the part class is ``first`` or higher."""
    return (parts >= first).float()


def _unless_all(mask: Tensor, smaller: Tensor) -> Tensor:
    """A mask [B, 1, H, W], replaced by the smaller one where it covers a whole image."""
    return torch.where(mask.amin((1, 2, 3), keepdim=True) > 0, smaller, mask)
