"""Dense-Face for any Stable Diffusion 1.x model, trained on a dense-annotation data set."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...dense_face.adapter import PCAdapter
from ...dense_face.checkpoints.adapter_file import DenseFaceAdapter, load_adapter, save_adapter
from ...dense_face.noise_prediction import EMPTY_CAPTION, NO_IDENTITY
from ...dense_face.pose_image import pose_images
from ...errors import IncompatibleError, InputError
from ...faces.encoders.ir_se50 import IRSE50
from ...pipelines.attention import layers_for
from ...pipelines.base import LATENT_SCALE, Base
from ...pipelines.single_file import Tokenize
from ..data.batches import Batch, Batches
from ..data.dataset import FaceDataset, Sample
from ..data.order import Draw
from ..dense_face import (
    NO_POSE,
    DenseFaceTask,
    PeopleBatch,
    new_angle_reader,
    new_pose_branch,
    new_token,
)
from ..runs.loop import seeded, train
from ..runs.processes import on_main
from ..settings.config import DenseFaceConfig
from ..watch.provenance import result_metadata
from ..watch.result import write_result
from .cached import cache_settings, cached_records, encoder_for
from .encoding import Content, Encoder, PhotoEncoder
from .people import batches_of_people, encoder_of, load_frozen, people_of
from .person_words import PersonWords
from .photo_set import PhotoSet
from .validation import validation_of
from .validation_images import DenseFaceImages, HeldOut


def encoded_people(encoder: PhotoEncoder, batch: Batch) -> dict[str, Tensor]:
    """What :class:`PhotoPeople` reads of images, beside their identities and labels."""
    return {"latents": encoder.latents(batch["image"].to(encoder.device))}


# The text encoder is trained through: an identity stands among the words.
CONTENT = Content("dense-face", encoded_people, ("pose",), texts=False)


class PhotoPeople(nn.Module):
    """A :class:`.PeopleSource` of the batches of a data set (:func:`people_batches`)."""

    def __init__(self, encoder: Encoder, words: PersonWords) -> None:
        super().__init__()
        self.encoder, self.words = encoder, words
        self.placeholder = words.placeholder
        self.empty_ids = words.ids([""], [False], [True])

    @torch.no_grad()
    def draw(self, generator: torch.Generator, batch: Batch | None = None) -> PeopleBatch:
        """As :class:`.PeopleSource`."""
        if batch is None:
            raise InputError("a batch of the data set is needed", where="PhotoPeople")
        shown = self.encoder(batch)
        latents = LATENT_SCALE * shown["latents"].float()
        count, device = len(latents), latents.device
        known = torch.rand(count, generator=generator) >= NO_IDENTITY
        posed = torch.rand(count, generator=generator) >= NO_POSE
        empty = torch.rand(count, generator=generator) < EMPTY_CAPTION
        people = F.normalize(shown["other_feature"].to(latents), dim=1)
        ids = self.words.ids(shown["caption"], known.tolist(), empty.tolist())
        there = shown["pose"].to(latents).isfinite().all(1)
        return PeopleBatch(
            latents=latents,
            identity=people * known[:, None].to(latents),
            ids=ids.to(device),
            hints=shown["hint"].to(latents) / 255,
            posed=posed.to(latents) * there,
            angles=shown["pose"].to(latents),
        )


def people_photos(config: DenseFaceConfig, *, recogniser: bool, held_out: bool = False) -> PhotoSet:
    """The data set: images with identities.

    Args:
        recogniser: Whether identities are read by a network; else the data set must have them.
        held_out: Whether those of the people who are held out, instead of those trained on.

    Raises:
        InputError: There is no data set.
    """
    return people_of(config, 1, (), "Landmarks", recogniser=recogniser, held_out=held_out)


def people_batches(
    config: DenseFaceConfig,
    *,
    recogniser: bool,
    held_out: bool = False,
    encoder: PhotoEncoder | None = None,
) -> Batches:
    """The batches of :func:`people_photos`.

    Args:
        encoder: Fills the cache that the settings name; None for none.

    Raises:
        InputError: There is no data set; or the cache is another one.
        ModelFileError: The cache is damaged.
    """
    photos = people_photos(config, recogniser=recogniser, held_out=held_out)
    cache = cached_records(photos, encoder, config, held_out=held_out)
    return batches_of_people(config, photos, _PoseImage(), recogniser=recogniser, cache=cache)


# A class, for the processes that read images.
class _PoseImage:
    """Adds to a sample the image of its pose, in the size of the image."""

    def __call__(self, sample: Sample, _draw: Draw) -> None:
        scale, shown = (1, sample["image"]) if "image" in sample else (8, sample["latents"])
        height, width = (scale * side for side in shown.shape[-2:])
        sample["hint"] = _hint(sample["pose"], height, width)


def train_dense_face(
    base: Base,
    config: DenseFaceConfig,
    tokenize: Tokenize,
    net: IRSE50 | None = None,
    *,
    write: Callable[[DenseFaceAdapter, int], None] | None = None,
    fresh: bool = False,
) -> DenseFaceAdapter:
    """Train an adapter and return it with averaged weights; a killed run resumes.

    Under ``accelerate launch`` or ``torchrun`` each process reads other records.

    Args:
        net: Encodes identities.
        write: Writes the adapter of an unfinished run, given its steps (:func:`.train`).

    Raises:
        InputError: As :func:`.train`; or there is no data set, or it has no usable image; or the
            cache is another one.
        ModelFileError: The work folder holds a run of another adapter; or the cache is damaged.
        IncompatibleError: ``config.start`` fits neither base nor encoder.
    """
    encoder = PhotoEncoder(base, tokenize, CONTENT, net)
    batches = partial(people_batches, config, recogniser=net is not None, encoder=encoder)
    trained = batches()
    task = dense_face_task(base, config, tokenize, net, encoder_for(trained, encoder))
    source = cast(PhotoPeople, task.source)
    about = {"encoder": encoder_of(config)}
    adapter = DenseFaceAdapter(task.adapter, task.pose_branch, task.token, about)

    def images(data: FaceDataset) -> DenseFaceImages:
        return DenseFaceImages(HeldOut(data, config, encoder.recogniser), base, task, source.words)

    train(
        task,
        config.schedule,
        seed=config.seed,
        folder=config.folder,
        batches=trained,
        settings={
            **config.shaping,
            **cache_settings(trained),
            "encoder": encoder_of(config),
            "delta": task.adapter.delta,
        },
        validation=validation_of(
            config,
            trained,
            batches(held_out=True),
            "mse",
            images if config.validation_images else None,
        ),
        write=None if write is None else partial(write, adapter),
        fresh=fresh,
    )
    return adapter


def dense_face_task(
    base: Base,
    config: DenseFaceConfig,
    tokenize: Tokenize,
    net: IRSE50 | None = None,
    encoder: Encoder | None = None,
) -> DenseFaceTask:
    """The task of :func:`train_dense_face`, new or with the networks of ``config.start``.

    Args:
        encoder: Of the images; None encodes them in every step.

    Raises:
        ModelFileError: ``config.start`` is no adapter file.
        IncompatibleError: It fits neither base nor encoder.
    """
    start = None if config.start is None else load_adapter(config.start)
    if start is not None:
        _check_start(start, base, config)
    words = PersonWords(base, tokenize, captions=config.tokenizer is not None)
    source = PhotoPeople(encoder or PhotoEncoder(base, tokenize, CONTENT, net), words)
    with seeded(config.seed):
        adapter = start.adapter if start else PCAdapter(layers_for(base.unet), delta=config.delta)
        pose_branch = (start and start.pose_branch) or new_pose_branch(base)
        angles = new_angle_reader(pose_branch)
        token = (start and start.token) or new_token(base, words.person, config.delta)
    return DenseFaceTask(base, adapter, pose_branch, angles, token, source)


def train_and_save(config: DenseFaceConfig, *, fresh: bool = False) -> None:
    """Train an adapter for a base and write its file.

    Raises:
        FacePackError: As :func:`train_dense_face`; or a model file or the tokenizer cannot be
            used, or nothing can be written.
    """
    frozen = load_frozen(config)
    about = on_main(lambda: result_metadata(config, "dense-face", frozen.base.metadata))

    def write(adapter: DenseFaceAdapter, step: int) -> None:
        def save(path: Path, full: dict[str, str]) -> None:
            save_adapter(path, dataclasses.replace(adapter, metadata=full))

        write_result(config, {**about, **adapter.metadata}, save, step)

    write(
        train_dense_face(
            frozen.base, config, frozen.tokenize, frozen.net, write=write, fresh=fresh
        ),
        config.steps,
    )


def _check_start(start: DenseFaceAdapter, base: Base, config: DenseFaceConfig) -> None:
    where = str(config.start)
    own = {(layer.key, layer.channels, layer.context_dim) for layer in layers_for(base.unet)}
    theirs = {(layer.key, layer.channels, layer.context_dim) for layer in start.adapter.layers}
    if own != theirs:
        raise IncompatibleError(
            "the adapter to start from does not fit the base",
            where=where,
            fix="Start from one for the same kind of base, or from nothing",
        )
    if start.encoder and start.encoder != encoder_of(config):
        raise IncompatibleError(
            f"the adapter to start from was trained with identities of {start.encoder}, "
            f"not of {encoder_of(config)}",
            where=where,
            fix="Give that encoder, or start from nothing",
        )


def _hint(pose: Tensor, height: int, width: int) -> Tensor:
    """The pose image [3, H, W] of yaw, pitch, roll in degrees, bytes; white if unknown.

    Drawn as a square and cropped at its centre, as the host fits hints to images.
    """
    if not bool(pose.isfinite().all()):
        return torch.full((3, height, width), 255, dtype=torch.uint8)
    yaw, pitch, roll = pose.tolist()
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    return pose_images([(yaw, pitch, roll)], side)[0, :, top : top + height, left : left + width]
