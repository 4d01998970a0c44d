"""An SFSR adapter for any Stable Diffusion 1.x model, trained on a dense-annotation data set."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import InputError
from ...faces.encoders.ir_se50 import IDENTITY_DIM, IRSE50
from ...faces.face import five_points
from ...pipelines.base import LATENT_SCALE, Base
from ...pipelines.single_file import Tokenize
from ...pipelines.source_attention import layers_of
from ...sfsr.adapter import SFSRAdapter
from ...sfsr.background import background_channels, emptied, latent_mask
from ...sfsr.compound_inputs import CompoundLayout
from ..data.batches import Batch, Batches
from ..data.dataset import FaceDataset, Sample
from ..data.order import Draw
from ..rollout import Rollout
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
from .cached import cache_settings, cached_records, encoder_for
from .encoding import (
    Content,
    Encoder,
    PhotoEncoder,
    Precomputed,
    dropped_at_random,
    without_image_encoder,
)
from .face_mask import at_least, face_mask, own_face_mask, unless_all
from .other_images import has_landmarks
from .people import batches_of_people, encoder_of, load_frozen, people_of
from .photo_set import PhotoSet
from .sfsr_start import start_from
from .validation import validation_of
from .validation_images import HeldOut, SFSRImages

_PIXELS = 16
"""Of the part mask in a latent cell: the mask has half the image's resolution."""


def encoded_scenes(encoder: PhotoEncoder, batch: Batch) -> dict[str, Tensor]:
    """What :class:`PhotoFaces` reads of images, beside their identities, texts and labels.

    latents, empty: Of the image and of the scene without the face, not scaled [B, 4, h, w].
    heads, wide: Cells of the person's own head, and of all that is emptied [B, 1, h, w], bytes.
    features: Of the 16 pixels of the part mask in each cell, how many are eye, brow or mouth
        [B, 1, h, w], bytes.
    """
    images = batch["image"].to(encoder.device)
    shape = images.shape[2], images.shape[3]
    height, width = (side // VAE_FACTOR for side in shape)
    parts, others = (batch[n][:, None].to(images.device) for n in ("parts", "stranger"))
    mask = face_mask(parts, shape)
    # Another face's area is emptied as well: the outline alone would reveal the person.
    wide = unless_all(torch.maximum(mask, face_mask(others, shape)), mask)
    features = F.adaptive_avg_pool2d(at_least(parts, FIRST_FEATURE), (height, width))
    return {
        "latents": encoder.latents(images),
        "empty": encoder.latents(emptied(images, wide)),
        "heads": latent_mask(mask, height, width).byte(),
        "wide": latent_mask(wide, height, width).byte(),
        "features": (_PIXELS * features).round().byte(),
    }


CONTENT = Content("sfsr", encoded_scenes, ("blendshapes", "five"))


class PhotoFaces(nn.Module):
    """A :class:`.FaceSource` of the batches of a data set (:func:`face_batches`)."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    @property
    def empty_context(self) -> Tensor:
        """As of :class:`.FaceSource`."""
        return self.encoder.empty_context

    @torch.no_grad()
    def draw(self, generator: torch.Generator, batch: Batch | None = None) -> SFSRFaces:
        """As :class:`.FaceSource`."""
        if batch is None:
            raise InputError("a batch of the data set is needed", where="PhotoFaces")
        shown = self.encoder(batch)
        latents, empty = (LATENT_SCALE * shown[name].float() for name in ("latents", "empty"))
        known = half_known(shown["blendshapes"].isfinite(), generator).to(latents.device)
        return SFSRFaces(
            latents=latents,
            people=F.normalize(shown["other_feature"].to(latents), dim=1),
            values=shown["blendshapes"].nan_to_num().to(latents) * known,
            known=known,
            context=dropped_at_random(shown, self.encoder, NO_CAPTION, generator),
            background=background_channels(shown["wide"].float(), empty),
            heads=shown["heads"].float(),
            features=shown["features"].float() / _PIXELS,
            five=shown["five"].to(latents),
        )


def face_photos(config: SFSRConfig, *, recogniser: bool, held_out: bool = False) -> PhotoSet:
    """The data set: images with part masks and landmarks.

    Args:
        recogniser: Whether identities are read by a network; else the data set must have them.
        held_out: Whether those of the people who are held out, instead of those trained on.

    Raises:
        InputError: There is no data set.
    """
    photos = people_of(
        config,
        config.size // 2,  # latent cells are four times coarser still
        ("masks", "landmarks", "attributes"),
        "Part masks and landmarks",
        has_face,
        recogniser=recogniser,
        held_out=held_out,
    )
    return replace(photos, add=_Scene(photos.data))


def face_batches(
    config: SFSRConfig,
    *,
    recogniser: bool,
    held_out: bool = False,
    encoder: PhotoEncoder | None = None,
) -> Batches:
    """The batches of :func:`face_photos`.

    Args:
        encoder: Fills the cache that the settings name; None for none.

    Raises:
        InputError: There is no data set; or the cache is another one.
        ModelFileError: The cache is damaged.
    """
    photos = face_photos(config, recogniser=recogniser, held_out=held_out)
    cache = cached_records(photos, encoder, config, held_out=held_out)
    return batches_of_people(config, photos, recogniser=recogniser, cache=cache)


def has_face(sample: Sample) -> bool:
    """Without parts (-1), face or background there is no scene to empty."""
    parts = sample["parts"]
    seen = bool((parts > 0).any()) and bool((parts == 0).any())
    return seen and has_landmarks(sample)


@dataclass(frozen=True, eq=False)
class _Scene:
    """Adds to a sample its five points and the part masks of another record."""

    data: FaceDataset

    def __call__(self, sample: Sample, draw: Draw) -> None:
        chance = random.Random(f"{sample['key']} {sample['variant']}")
        steps = chance.randrange(1, max(2, len(self.data)))
        other = (draw.record + steps) % len(self.data)
        height, width = sample["parts"].shape
        sample["stranger"] = self.data.parts(other, (height, width))
        sample["five"] = five_points(sample["landmarks"], self.data.scheme)


def train_sfsr(
    base: Base,
    config: SFSRConfig,
    tokenize: Tokenize,
    net: IRSE50 | None = None,
    *,
    write: Callable[[SFSRAdapter, int], None] | None = None,
    fresh: bool = False,
) -> SFSRAdapter:
    """Train an adapter and return it with averaged weights; a killed run resumes.

    Under ``accelerate launch`` or ``torchrun`` each process reads other records.

    Args:
        net: Encodes identities and, with ``identity_loss``, enables the cross-identity losses;
            without it only the noise prediction loss is used.
        write: Writes the adapter of an unfinished run, given its steps (:func:`.train`).

    Raises:
        InputError: As :func:`.train`; or there is no data set, or it has too few usable images; or
            the cache is another one.
        ModelFileError: The work folder holds a run of another adapter; or the cache is damaged.
    """
    encoder = PhotoEncoder(base, tokenize, CONTENT, net)
    batches = partial(face_batches, config, recogniser=net is not None, encoder=encoder)
    trained = batches()
    task = sfsr_task(base, config, tokenize, net, encoder_for(trained, encoder))

    def images(data: FaceDataset) -> SFSRImages:
        held_out = HeldOut(data, config, encoder.recogniser, has_face)
        return SFSRImages(held_out, base, task, tokenize, own_face_mask)

    train(
        task,
        config.schedule,
        seed=config.seed,
        folder=config.folder,
        batches=trained,
        settings={
            **config.shaping,
            **cache_settings(trained),
            "encoder": task.adapter.layout.required,
        },
        validation=validation_of(
            config,
            trained,
            batches(held_out=True),
            draw=images if config.validation_images else None,
        ),
        write=None if write is None else partial(write, task.adapter),
        fresh=fresh,
    )
    return task.adapter


def sfsr_task(
    base: Base,
    config: SFSRConfig,
    tokenize: Tokenize,
    net: IRSE50 | None = None,
    encoder: Encoder | None = None,
) -> SFSRTask:
    """The task of :func:`train_sfsr`, with a new adapter or that of ``config.start``.

    Args:
        encoder: Of the images; None encodes them in every step.

    Raises:
        ModelFileError: A file to start from is no adapter, or damaged.
        IncompatibleError: It fits neither base nor encoder, or is of another kind.
    """
    encoder = encoder or PhotoEncoder(base, tokenize, CONTENT, net)
    layout = CompoundLayout(
        {encoder_of(config): IDENTITY_DIM},
        tokens=config.tokens,
        width=base.text_encoder.config.hidden_size,
    )
    with seeded(config.seed):
        first = base.unet.config["block_out_channels"][0]
        adapter = SFSRAdapter(layout, layers_of(base.unet), first)
    for path in (config.start, config.start_expression):
        if path is not None:
            start_from(adapter, path, config.seed)
    reader = ArcFaceReader(net) if net is not None and config.identity_loss else None
    rollout = Rollout() if config.rollout else None
    faces = FaceLosses(rows=max(2, config.batch // 3), rollout=rollout) if reader else None
    if isinstance(encoder, Precomputed):
        base = without_image_encoder(base)
    source = PhotoFaces(encoder)
    return SFSRTask(base, adapter, source, reader, faces=faces, noise=config.noise_loss)


def train_and_save(config: SFSRConfig, *, fresh: bool = False) -> None:
    """Train an adapter for a base and write its file.

    Raises:
        FacePackError: As :func:`train_sfsr`; or a model file or the tokenizer cannot be used, or
            nothing can be written.
    """
    frozen = load_frozen(config)
    about = on_main(lambda: result_metadata(config, "sfsr", frozen.base.metadata))
    about["encoder"] = encoder_of(config)

    def write(adapter: SFSRAdapter, step: int) -> None:
        write_result(config, about, adapter.save, step)

    write(
        train_sfsr(frozen.base, config, frozen.tokenize, frozen.net, write=write, fresh=fresh),
        config.steps,
    )
