"""Validation images: people who are held out, drawn as the command line draws on the user's base.

A row per person: the reference, which gives the identity; the photo, which gives prompt and head
pose, or the scene and the expression; and two drawn images, with the same seeds every time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import cast

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from ...demo.contact_sheet import labelled_sheet
from ...dense_face.checkpoints.adapter_file import DenseFaceAdapter
from ...errors import InputError
from ...faces.angles import ANGLE_LIMITS, Angles
from ...faces.identity import Identity
from ...pipelines.base import Base
from ...pipelines.real.adapters import prepare_sources
from ...pipelines.real.inputs import RealInputs
from ...pipelines.real.pipeline import SAMPLER, RealPipeline
from ...pipelines.real.scene import masked_crop
from ...pipelines.single_file import Tokenize
from ...sfsr.expression import Expression
from ..data.dataset import FaceDataset, Sample
from ..dense_face import DenseFaceTask
from ..settings.config import AdapterConfig
from ..sfsr import SFSRTask
from .arcface_reader import ArcFaceReader
from .other_images import aligned_face, has_feature, has_landmarks
from .people import encoder_of
from .person_words import PersonWords, with_placeholder

STEPS, SEEDS = 20, (0, 1)
_THUMBNAIL = 256
_MOST_TRIED = 20
"""Images of a person among which two usable ones are looked for."""


@dataclass(frozen=True, eq=False)
class HeldOut:
    """The people who are drawn.

    data: Of the people held out. recogniser: Reads identities; None takes those of the data set.
    usable: What a photo needs beside that.
    """

    data: FaceDataset
    config: AdapterConfig
    recogniser: ArcFaceReader | None = None
    usable: Callable[[Sample], bool] = lambda sample: True

    def people(self) -> list[tuple[Sample, Sample]]:
        """Reference and photo of each; the same one where a person has only one.

        Raises:
            InputError: None of their images can be used.
        """
        wanted = self.config.validation_images
        found: list[tuple[Sample, Sample]] = []
        for numbers in self._by_person():
            some = [sample for sample in map(self.data.sample, numbers) if self._fits(sample)]
            if some:
                found.append((cast(Sample, some[-1]), cast(Sample, some[0])))
            if len(found) == wanted:
                break
        if not found:
            raise InputError(
                "no image of the people held out can be used", where=str(self.data.folder)
            )
        return found

    def identity(self, sample: Sample, device: torch.device) -> Identity:
        """Who is on a reference."""
        vector = sample["feature"]
        if self.recogniser is not None:
            face = aligned_face(sample, self.config.scheme)
            where = next(self.recogniser.parameters()).device
            vector = self.recogniser.read(face[None].to(where))[0]
        vector = vector.to(device)
        return Identity(vector / vector.norm(), encoder_of(self.config))

    def _by_person(self) -> Iterator[list[int]]:
        numbers: dict[str, list[int]] = {}
        for number, entry in enumerate(self.data.entries):
            numbers.setdefault(entry.subject, []).append(number)
        for some in numbers.values():
            yield some[:_MOST_TRIED]

    def _fits(self, sample: Sample | None) -> bool:
        known = has_feature if self.recogniser is None else has_landmarks
        return sample is not None and known(sample) and self.usable(sample)


@dataclass(frozen=True, eq=False)
class DenseFaceImages:
    """Draws people with the photo's caption and head pose."""

    held_out: HeldOut
    base: Base
    task: DenseFaceTask
    words: PersonWords

    def __call__(self) -> Image.Image:
        """The sheet, with the weights that the networks have.

        Raises:
            InputError: No image can be used.
        """
        task, config = self.task, self.held_out.config
        device = next(task.adapter.parameters()).device
        about = {"encoder": encoder_of(config)}
        adapter = DenseFaceAdapter(task.adapter, task.pose_branch, task.token, about)
        rows: list[list[Tensor]] = []
        with _moved_back(self.base):
            pipeline = RealPipeline(self.base, self.words.prompts, adapter, device)
            for reference, photo in self.held_out.people():
                inputs = RealInputs(
                    prompt=with_placeholder(photo["caption"]),
                    person=self.held_out.identity(reference, device),
                    angles=_angles(photo["pose"]),
                )
                rows.append(_row(pipeline, inputs, config, reference, photo))
        note = "Identity of the reference, prompt and head pose of the photo"
        return _sheet(rows, note, config)


@dataclass(frozen=True, eq=False)
class SFSRImages:
    """Draws people into the photo of the next one, with that one's expression.

    mask: Of a sample, [S, S], 1 = the face.
    """

    held_out: HeldOut
    base: Base
    task: SFSRTask
    tokenize: Tokenize
    mask: Callable[[Sample], Tensor]

    def __call__(self) -> Image.Image:
        """The sheet, with the weights that the networks have.

        Raises:
            InputError: No image can be used.
        """
        config, adapter = self.held_out.config, self.task.adapter
        device = next(adapter.parameters()).device
        people = self.held_out.people()
        rows: list[list[Tensor]] = []
        with _moved_back(self.base):
            pipeline = RealPipeline(self.base, self.tokenize, device=device)
            for index, (reference, _) in enumerate(people):
                scene = people[(index + 1) % len(people)][1]
                who = self.held_out.identity(reference, device)
                inputs = RealInputs(
                    prompt=scene["caption"],
                    sources=prepare_sources(adapter, None, [who], _expression(scene)),
                    scene=masked_crop(scene["image"], self.mask(scene), config.size),
                )
                rows.append(_row(pipeline, inputs, config, reference, scene))
        note = "Identity of the reference, scene and expression of the photo"
        return _sheet(rows, note, config)


@contextmanager
def _moved_back(base: Base) -> Iterator[None]:
    """What training from a cache leaves off the device is there for drawing only.

    Part by part: of the VAE, losses may need the decoder there, and nothing needs the encoder.
    """
    networks: list[nn.Module] = [base.unet, base.vae, base.text_encoder]
    parts = [part for network in networks for part in network.children()]
    before = [(part, each.device) for part in parts for each in islice(part.parameters(), 1)]
    try:
        yield
    finally:
        for part, device in before:
            part.to(device)


def _row(
    pipeline: RealPipeline,
    inputs: RealInputs,
    config: AdapterConfig,
    reference: Sample,
    photo: Sample,
) -> list[Tensor]:
    size, guidance = config.size, config.validation_guidance
    drawn = [
        pipeline.draw(inputs, seed, size=size, steps=STEPS, guidance=guidance).float()
        for seed in SEEDS
    ]
    return [reference["image"][None], photo["image"][None], *drawn]


def _sheet(rows: Sequence[Sequence[Tensor]], note: str, config: AdapterConfig) -> Image.Image:
    side = (_THUMBNAIL, _THUMBNAIL)
    tables = [
        torch.cat([F.interpolate(image, side, mode="bilinear", antialias=True) for image in row])
        for row in rows
    ]
    guidance = config.validation_guidance
    notes = [note, f"{SAMPLER}, {STEPS} steps, guidance {guidance:g}; people held out"]
    columns = ["reference", "photo", *(f"seed {seed}" for seed in SEEDS)]
    return labelled_sheet(tables, columns, "Validation", notes)


def _angles(pose: Tensor) -> Angles | None:
    """Yaw, pitch and roll within what can be drawn; None where they are unknown."""
    if not bool(pose.isfinite().all()):
        return None
    limits = torch.tensor(ANGLE_LIMITS)
    yaw, pitch, roll = pose.clamp(-limits, limits).tolist()
    return yaw, pitch, roll


def _expression(sample: Sample) -> Expression | None:
    known = sample["blendshapes"].isfinite()
    if not bool(known.any()):
        return None
    return Expression(sample["blendshapes"].nan_to_num(), "the photo", known)
