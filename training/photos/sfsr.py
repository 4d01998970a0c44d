"""An SFSR adapter for any Stable Diffusion 1.x model, trained on a dense-annotation data set."""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import InputError
from ...faces.encoders.ir_se50 import IDENTITY_DIM, IRSE50
from ...faces.face import five_points
from ...faces.masks.dilate import dilate_by_fraction
from ...pipelines.base import LATENT_SCALE, Base
from ...pipelines.single_file import Tokenize
from ...pipelines.source_attention import layers_of
from ...pipelines.text import encode_text
from ...sfsr.adapter import SFSRAdapter
from ...sfsr.background import background_channels, emptied, latent_mask
from ...sfsr.compound_inputs import CompoundLayout
from ..data.batches import Batch, Batches
from ..data.dataset import FaceDataset, Sample
from ..runs.loop import seeded, train
from ..runs.processes import on_main
from ..settings.config import SFSRConfig
from ..sfsr import FaceLosses, SFSRTask
from ..sfsr_faces import NO_CAPTION, SFSRFaces, half_known
from ..tiny.vae import FIRST_FEATURE
from ..watch.provenance import result_metadata
from ..watch.result import write_result
from .annotations import VAE_FACTOR
from .arcface_reader import ArcFaceReader
from .other_images import has_landmarks, other_identities
from .people import batches_of_people, encoder_of, load_frozen
from .validation import validation_of
from .validation_images import HeldOut, SFSRImages

MARGIN = 0.15
"""Width of the emptied margin around the face, as a fraction of the face's diameter."""


class PhotoFaces(nn.Module):
    """A :class:`.FaceSource` of the batches of a data set (:func:`face_batches`).

    Args:
        base: Encodes images and captions; it gets no gradients.
        recogniser: Encodes identities; None takes those of the data set.
    """

    def __init__(
        self,
        base: Base,
        config: SFSRConfig,
        tokenize: Tokenize,
        recogniser: ArcFaceReader | None = None,
    ) -> None:
        super().__init__()
        self.vae, self.text_encoder = base.vae, base.text_encoder
        self.config, self.tokenize = config, tokenize
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
        images = batch["image"].to(next(self.vae.parameters()).device)
        points = [five_points(marks, self.config.scheme) for marks in batch["landmarks"]]
        five = torch.stack(points).to(images)
        people = other_identities(batch, images, self.recogniser, self.config.scheme)
        cells = self.config.size // VAE_FACTOR
        parts = batch["parts"][:, None].to(images.device)
        mask = face_mask(parts, self.config.size)
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


def face_batches(config: SFSRConfig, *, recogniser: bool, held_out: bool = False) -> Batches:
    """The data set: images with part masks and landmarks.

    Args:
        recogniser: Whether identities are read by a network; else the data set must have them.
        held_out: Whether those of the people who are held out, instead of those trained on.

    Raises:
        InputError: There is no data set.
    """
    # Part masks at half resolution suffice: latent cells are four times coarser still.
    return batches_of_people(
        config,
        config.size // 2,
        ("masks", "landmarks", "attributes"),
        recogniser=recogniser,
        held_out=held_out,
        usable=has_face,
        labels="Part masks and landmarks",
    )


def has_face(sample: Sample) -> bool:
    """Without parts (-1), face or background there is no scene to empty."""
    parts = sample["parts"]
    seen = bool((parts > 0).any()) and bool((parts == 0).any())
    return seen and has_landmarks(sample)


def train_sfsr(
    base: Base,
    config: SFSRConfig,
    tokenize: Tokenize,
    net: IRSE50 | None = None,
    *,
    fresh: bool = False,
) -> SFSRAdapter:
    """Train an adapter and return it with averaged weights; a killed run resumes.

    Under ``accelerate launch`` or ``torchrun`` each process reads other records.

    Args:
        net: Encodes identities and, with ``identity_loss``, enables the cross-identity losses;
            without it only the noise prediction loss is used.

    Raises:
        InputError: As :func:`.train`; or there is no data set, or it has too few usable images.
        ModelFileError: The work folder holds a run of another adapter.
    """
    task = sfsr_task(base, config, tokenize, net)
    batches = partial(face_batches, config, recogniser=net is not None)
    source = cast(PhotoFaces, task.source)

    def images(data: FaceDataset) -> SFSRImages:
        held_out = HeldOut(data, config, source.recogniser, has_face)
        return SFSRImages(held_out, base, task, tokenize, _own_mask)

    train(
        task,
        config.schedule,
        seed=config.seed,
        folder=config.folder,
        batches=batches(),
        settings={**config.shaping, "encoder": task.adapter.layout.required},
        validation=validation_of(
            config, batches, draw=images if config.validation_images else None
        ),
        fresh=fresh,
    )
    return task.adapter


def sfsr_task(
    base: Base, config: SFSRConfig, tokenize: Tokenize, net: IRSE50 | None = None
) -> SFSRTask:
    """The task of :func:`train_sfsr`, with an untrained adapter."""
    reader = None if net is None else ArcFaceReader(net)
    source = PhotoFaces(base, config, tokenize, reader)
    layout = CompoundLayout(
        {encoder_of(config): IDENTITY_DIM},
        tokens=config.tokens,
        width=base.text_encoder.config.hidden_size,
    )
    with seeded(config.seed):
        first = base.unet.config["block_out_channels"][0]
        adapter = SFSRAdapter(layout, layers_of(base.unet), first)
    faces = FaceLosses(rows=max(2, config.batch // 3)) if net and config.identity_loss else None
    return SFSRTask(base, adapter, source, reader, faces=faces)


def train_and_save(config: SFSRConfig, *, fresh: bool = False) -> None:
    """Train an adapter for a base and write its file.

    Raises:
        FacePackError: As :func:`train_sfsr`; or a model file or the tokenizer cannot be used, or
            nothing can be written.
    """
    frozen = load_frozen(config)
    about = on_main(lambda: result_metadata(config, "sfsr", frozen.base.metadata))
    adapter = train_sfsr(frozen.base, config, frozen.tokenize, frozen.net, fresh=fresh)
    write_result(config, {**about, "encoder": encoder_of(config)}, adapter.save)


def face_mask(parts: Tensor, size: int) -> Tensor:
    """The face with a margin, [B, 1, size, size], 1 = face, from part classes [B, 1, H, W]."""
    face = F.interpolate(_at_least(parts, 1), (size, size), mode="nearest-exact")
    return _unless_all(dilate_by_fraction(face, MARGIN), face)


def _own_mask(sample: Sample) -> Tensor:
    """That of a sample [S, S], at the size of its image."""
    return face_mask(sample["parts"][None, None], sample["image"].shape[-1])[0, 0]


def _at_least(parts: Tensor, first: int) -> Tensor:
    """1 where the part class is ``first`` or higher."""
    return (parts >= first).float()


def _unless_all(mask: Tensor, smaller: Tensor) -> Tensor:
    """A mask [B, 1, H, W], replaced by the smaller one where it covers a whole image."""
    return torch.where(mask.amin((1, 2, 3), keepdim=True) > 0, smaller, mask)
