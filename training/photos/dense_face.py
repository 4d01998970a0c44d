"""Dense-Face for any Stable Diffusion 1.x model, trained on a dense-annotation data set."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from ...dense_face.adapter import PCAdapter
from ...dense_face.checkpoints.adapter_file import DenseFaceAdapter, load_adapter, save_adapter
from ...dense_face.noise_prediction import EMPTY_CAPTION, NO_IDENTITY
from ...dense_face.pose_image import pose_images
from ...errors import IncompatibleError, InputError
from ...faces.encoders.ir_se50 import IRSE50
from ...pipelines.attention import layers_for
from ...pipelines.base import LATENT_SCALE, Base
from ...pipelines.single_file import Tokenize
from ..data.batches import Batch, Batches, Draw
from ..data.dataset import FaceDataset, Sample
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
from .arcface_reader import ArcFaceReader
from .other_images import other_identities
from .people import batches_of_people, encoder_of, load_frozen
from .person_words import PersonWords
from .validation import validation_of
from .validation_images import DenseFaceImages, HeldOut


class PhotoPeople(nn.Module):
    """A :class:`.PeopleSource` of the batches of a data set (:func:`people_batches`).

    Args:
        base: Encodes images; it gets no gradients.
        recogniser: Encodes identities; None takes those of the data set.
    """

    def __init__(
        self,
        base: Base,
        config: DenseFaceConfig,
        words: PersonWords,
        recogniser: ArcFaceReader | None = None,
    ) -> None:
        super().__init__()
        self.vae, self.recogniser = base.vae, recogniser
        self.config, self.words = config, words
        self.placeholder = words.placeholder
        self.empty_ids = words.ids([""], [False], [True])

    @torch.no_grad()
    def draw(self, generator: torch.Generator, batch: Batch | None = None) -> PeopleBatch:
        """As :class:`.PeopleSource`."""
        if batch is None:
            raise InputError("a batch of the data set is needed", where="PhotoPeople")
        images = batch["image"].to(next(self.vae.parameters()).device)
        count = len(images)
        known = torch.rand(count, generator=generator) >= NO_IDENTITY
        posed = torch.rand(count, generator=generator) >= NO_POSE
        empty = torch.rand(count, generator=generator) < EMPTY_CAPTION
        vae: Any = self.vae
        latents = LATENT_SCALE * vae.encode(2 * images - 1).latent_dist.mode().float()
        people = other_identities(batch, images, self.recogniser, self.config.scheme)
        ids = self.words.ids(batch["caption"], known.tolist(), empty.tolist())
        there = batch["pose"].to(images).isfinite().all(1)
        return PeopleBatch(
            latents=latents,
            identity=people * known[:, None].to(images),
            ids=ids.to(images.device),
            hints=batch["hint"].to(images) / 255,
            posed=posed.to(images) * there,
            angles=batch["pose"].to(images),
        )


def people_batches(config: DenseFaceConfig, *, recogniser: bool, held_out: bool = False) -> Batches:
    """The data set, each image with another one of the same person wherever there is one.

    Args:
        recogniser: Whether identities are read by a network; else the data set must have them.
        held_out: Whether those of the people who are held out, instead of those trained on.

    Raises:
        InputError: There is no data set.
    """
    return batches_of_people(
        config,
        1,
        (),
        recogniser=recogniser,
        held_out=held_out,
        labels="Landmarks",
        add=_PoseImage(config.size),
    )


@dataclass(frozen=True)
class _PoseImage:
    """Adds to a sample the image of its pose."""

    size: int

    def __call__(self, sample: Sample, _draw: Draw) -> None:
        sample["hint"] = _hint(sample["pose"], self.size)


def train_dense_face(
    base: Base,
    config: DenseFaceConfig,
    tokenize: Tokenize,
    net: IRSE50 | None = None,
    *,
    fresh: bool = False,
) -> DenseFaceAdapter:
    """Train an adapter and return it with averaged weights; a killed run resumes.

    Under ``accelerate launch`` or ``torchrun`` each process reads other records.

    Args:
        net: Encodes identities.

    Raises:
        InputError: As :func:`.train`; or there is no data set, or it has no usable image.
        ModelFileError: The work folder holds a run of another adapter.
        IncompatibleError: ``config.start`` fits neither base nor encoder.
    """
    task = dense_face_task(base, config, tokenize, net)
    batches = partial(people_batches, config, recogniser=net is not None)
    source = cast(PhotoPeople, task.source)

    def images(data: FaceDataset) -> DenseFaceImages:
        return DenseFaceImages(HeldOut(data, config, source.recogniser), base, task, source.words)

    train(
        task,
        config.schedule,
        seed=config.seed,
        folder=config.folder,
        batches=batches(),
        settings={**config.shaping, "encoder": encoder_of(config), "delta": task.adapter.delta},
        validation=validation_of(
            config, batches, "mse", images if config.validation_images else None
        ),
        fresh=fresh,
    )
    about = {"encoder": encoder_of(config)}
    return DenseFaceAdapter(task.adapter, task.pose_branch, task.token, about)


def dense_face_task(
    base: Base, config: DenseFaceConfig, tokenize: Tokenize, net: IRSE50 | None = None
) -> DenseFaceTask:
    """The task of :func:`train_dense_face`, new or with the networks of ``config.start``.

    Raises:
        ModelFileError: ``config.start`` is no adapter file.
        IncompatibleError: It fits neither base nor encoder.
    """
    start = None if config.start is None else load_adapter(config.start)
    if start is not None:
        _check_start(start, base, config)
    words = PersonWords(base, tokenize, captions=config.tokenizer is not None)
    source = PhotoPeople(base, config, words, None if net is None else ArcFaceReader(net))
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
    trained = train_dense_face(frozen.base, config, frozen.tokenize, frozen.net, fresh=fresh)
    parts = trained.adapter, trained.pose_branch, trained.token
    write_result(
        config,
        {**about, **trained.metadata},
        lambda path, full: save_adapter(path, DenseFaceAdapter(*parts, full)),
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


def _hint(pose: Tensor, size: int) -> Tensor:
    """The pose image [3, size, size] of yaw, pitch, roll in degrees, bytes; white if unknown."""
    if not bool(pose.isfinite().all()):
        return torch.full((3, size, size), 255, dtype=torch.uint8)
    yaw, pitch, roll = pose.tolist()
    return pose_images([(yaw, pitch, roll)], size)[0]
