"""The annotation head of any Stable Diffusion 1.x model, trained on a dense-annotation data set."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from ...dense_face.annotation.head import TIMESTEPS, AnnotationHead
from ...dense_face.annotation.head_file import save_head
from ...dense_face.annotation.loss import NO_PART, AnnotationLabels, annotation_losses
from ...dense_face.feature_hooks import capture_features
from ...dense_face.schedule import alphas_cumprod
from ...pipelines.annotation import fitting_config, stage_modules
from ...pipelines.base import LATENT_SCALE, Base
from ...pipelines.single_file import Tokenize, load_checkpoint, tokenizer_for
from ..data.batches import Batch, Batches
from ..data.dataset import FaceDataset
from ..data.folder import Defects
from ..data.held_out import split
from ..runs.loop import seeded, train
from ..runs.memory import DTYPES, save_memory
from ..runs.processes import on_main
from ..settings.config import AnnotationsConfig
from ..tiny.feature_cache import EMPTY_CAPTION
from ..watch.provenance import result_metadata
from ..watch.result import write_result
from .cached import cache_settings, cached_records, encoder_for
from .encoding import Content, Encoder, PhotoEncoder, dropped_at_random
from .photo_set import PhotoSet
from .validation import validation_of

VAE_FACTOR = 8
_KINDS = ("images", "masks", "landmarks", "xyzmaps")
_LOOKED_AT = 64

log = logging.getLogger(__name__)


def encoded_labels(encoder: PhotoEncoder, batch: Batch) -> dict[str, Tensor]:
    """What :class:`HeadTask` reads of images, beside their texts and labels."""
    images = batch["image"].to(encoder.device)
    return {"latents": encoder.latents(images), "parts": batch["parts"].to(torch.int8)}


CONTENT = Content("annotations", encoded_labels, ("depth", "landmarks"))


class HeadTask(nn.Module):
    """Predicts the labels of images from their noisy latents, in one pass of the frozen UNet.

    Args:
        base: The model; its UNet gets no gradients.
        encoder: Encodes the images.
    """

    def __init__(self, base: Base, config: AnnotationsConfig, encoder: Encoder) -> None:
        super().__init__()
        with seeded(config.seed):
            self.head = AnnotationHead(
                fitting_config(base.unet, config.width, config.scale, config.scheme)
            )
        self.unet, self.encoder = base.unet, encoder
        self.alphas = alphas_cumprod()

    def forward(self, generator: torch.Generator, batch: Batch) -> dict[str, Tensor]:
        shown = self.encoder(batch)
        latents = LATENT_SCALE * shown["latents"].float()
        device = latents.device
        # Preferring little noise.
        t = (TIMESTEPS * torch.rand(len(latents), generator=generator).square()).long()
        noise = torch.randn(latents.shape, generator=generator).to(device)
        with torch.no_grad():
            alpha = self.alphas[t].to(latents)[:, None, None, None]
            noisy = alpha.sqrt() * latents + (1 - alpha).sqrt() * noise
            context = dropped_at_random(shown, self.encoder, EMPTY_CAPTION, generator)
            with capture_features(stage_modules(self.unet)) as features:
                self.unet(noisy, t.to(device), context)
        depth, parts, marks = (shown[k].to(device) for k in ("depth", "parts", "landmarks"))
        labels = AnnotationLabels(depth, parts.long(), marks)
        losses = annotation_losses(self.head(features, t.to(device)), labels)
        return {n: value if n == "loss" else value.detach() for n, value in losses.items()}


def labelled_photos(config: AnnotationsConfig, *, held_out: bool = False) -> PhotoSet:
    """The data set; an image with few labels trains what it can.

    Args:
        held_out: Whether those of the people who are held out, instead of those trained on.

    Raises:
        InputError: There is no data set.
    """
    cells = config.size // VAE_FACTOR * config.scale
    data = FaceDataset(config.dataset, config.size, cells, config.scheme, _KINDS, config.views)
    return PhotoSet(split(data, config.held_out)[held_out])


def missing_labels(data: FaceDataset) -> list[str]:
    """Those of depth, parts and landmarks that none of some images, spread over the data, has.

    What a head predicts of them is noise. Nothing is missing where no image is readable.
    """
    looked = copy.copy(data)
    looked.defects = Defects()  # they are counted where the images are trained on
    missing, readable = {"depth", "parts", "landmarks"}, False
    for number in range(0, len(data), max(1, len(data) // _LOOKED_AT)):
        if sample := looked.sample(number):
            readable = True
            known = {
                "depth": not sample["depth"].isnan().all(),
                "parts": bool((sample["parts"] != NO_PART).any()),
                "landmarks": not sample["landmarks"].isnan().all(),
            }
            missing -= {name for name, there in known.items() if there}
        if not missing:
            break
    return sorted(missing) if readable else []


def head_batches(
    config: AnnotationsConfig, *, held_out: bool = False, encoder: PhotoEncoder | None = None
) -> Batches:
    """The batches of :func:`labelled_photos`.

    Args:
        encoder: Fills the cache that the settings name; None for none.

    Raises:
        InputError: There is no data set; or the cache is another one.
        ModelFileError: The cache is damaged.
    """
    photos = labelled_photos(config, held_out=held_out)
    cache = cached_records(photos, encoder, config, held_out=held_out)
    return Batches(
        photos.data if cache is None else cache,
        config.batch,
        config.seed,
        workers=config.workers,
        variants=config.variants,
    )


def train_head(
    base: Base,
    config: AnnotationsConfig,
    tokenize: Tokenize,
    *,
    write: Callable[[AnnotationHead, int], None] | None = None,
    fresh: bool = False,
) -> AnnotationHead:
    """Train a head and return it with the averaged weights; a killed run resumes.

    Under ``accelerate launch`` or ``torchrun`` each process reads other records.

    Args:
        write: Writes the head of an unfinished run, given its steps (:func:`.train`).

    Raises:
        InputError: As :func:`.train`; or there is no data set, or it has no usable image; or the
            cache is another one.
        ModelFileError: The work folder holds a run of another head; or the cache is damaged.
    """
    encoder = PhotoEncoder(base, tokenize, CONTENT)
    batches = partial(head_batches, config, encoder=encoder)
    trained = batches()
    on_main(lambda: _warn_of_missing(trained.data.images))
    task = HeadTask(base, config, encoder_for(trained, encoder))
    train(
        task,
        config.schedule,
        seed=config.seed,
        folder=config.folder,
        batches=trained,
        settings={**config.shaping, **cache_settings(trained)},
        validation=validation_of(config, trained, batches(held_out=True)),
        write=None if write is None else partial(write, task.head),
        fresh=fresh,
    )
    return task.head


def _warn_of_missing(data: FaceDataset) -> None:
    for name in missing_labels(data):
        log.warning(
            "%s: none of the images looked at has %s: what a head predicts that it was never shown "
            "means nothing",
            data.folder,
            name,
        )


def train_and_save(config: AnnotationsConfig, *, fresh: bool = False) -> None:
    """Train a head for a base and write its file.

    Raises:
        FacePackError: As :func:`train_head`; or the base or the tokenizer cannot be used, or
            nothing can be written.
    """
    base = load_checkpoint(config.base, dtype=DTYPES[config.precision])
    save_memory(base, config.precision, checkpointing=False)  # nothing is trained through it
    tokenize = tokenizer_for(base, config.tokenizer)
    about = on_main(lambda: result_metadata(config, "annotations", base.metadata))

    def write(head: AnnotationHead, step: int) -> None:
        write_result(config, about, lambda path, full: save_head(path, head, full), step)

    write(train_head(base, config, tokenize, write=write, fresh=fresh), config.steps)
