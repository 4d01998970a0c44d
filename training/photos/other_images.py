"""Another image of the person on an image, for the identity.

With its own identity, a network copies what else the vector knows of the image: pose, light,
background (docs/reference/dense_face.md A11).
"""

from __future__ import annotations

import logging
import random
from collections import defaultdict
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from ...faces.face import five_points
from ..data.batches import Batch, Draw
from ..data.dataset import FaceDataset, Sample
from .arcface_reader import ArcFaceReader

log = logging.getLogger(__name__)


@dataclass(eq=False)
class OtherImages:
    """Adds to a sample another image of the person, or the identity that the data set has of it.

    A person with one image is their own other image.

    images: Whether images are added, with landmarks.
    """

    data: FaceDataset
    seed: int
    images: bool
    people: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        """Find out who is on which image."""
        for number, entry in enumerate(self.data.entries):
            self.people[entry.subject].append(number)
        alone = sum(len(images) == 1 for images in self.people.values())
        if alone:
            log.warning(
                "%d of %d people have a single image: their identity is from that image itself",
                alone,
                len(self.people),
            )

    def __call__(self, sample: Sample, draw: Draw) -> None:
        """The other image depends on the number in the run alone."""
        number, record = draw
        others = [i for i in self.people[self.data.entries[record].subject] if i != record]
        chance = random.Random(f"{self.seed} {number}")
        other = chance.choice(others) if others else record
        if self.images:
            found = self.data.sample(other) if others else sample
            if found is None or not has_landmarks(found):
                found = sample
            sample["other_image"] = found["image"]
            sample["other_landmarks"] = found["landmarks"]
        else:
            feature = self.data.feature(other) if others else sample["feature"]
            usable = bool(feature.isfinite().all())
            sample["other_feature"] = feature if usable else sample["feature"]


def other_identities(
    batch: Batch, images: Tensor, recogniser: ArcFaceReader | None, scheme: str
) -> Tensor:
    """Identities [B, D] of the other images of a batch, unit norm, on the device of ``images``.

    Args:
        recogniser: Reads them; None takes those of the data set. scheme: Of the landmarks.
    """
    if recogniser is None:
        return F.normalize(batch["other_feature"].to(images), dim=1)
    points = [five_points(marks, scheme) for marks in batch["other_landmarks"]]
    return recogniser.identities(batch["other_image"].to(images), torch.stack(points).to(images))


def has_landmarks(sample: Sample) -> bool:
    """Whether a recogniser can read the face."""
    return bool(sample["landmarks"].isfinite().all())


def has_feature(sample: Sample) -> bool:
    """Whether the data set has its identity."""
    return bool(sample["feature"].isfinite().all())
