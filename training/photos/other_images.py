"""Another image of the person on an image, for the identity.

With its own identity, a network copies what else the vector knows of the image: pose, light,
background (docs/reference/dense_face.md A11).
"""

from __future__ import annotations

import logging
import random
from collections import defaultdict
from dataclasses import dataclass, field

from torch import Tensor

from ...faces.face import five_points
from ..data.batches import Records
from ..data.dataset import Sample
from ..data.order import Draw
from .arcface_reader import aligned

log = logging.getLogger(__name__)


@dataclass(eq=False)
class OtherImages:
    """Adds to a sample the face on another image of the person, or the identity known of it.

    A person with one image is their own other image.

    scheme: Of the landmarks. images: Whether faces are added, aligned for a recogniser.
    """

    data: Records
    seed: int
    scheme: str
    images: bool
    people: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        """Find out who is on which image."""
        self.subjects = self.data.subjects
        for number, subject in enumerate(self.subjects):
            self.people[subject].append(number)
        alone = sum(len(images) == 1 for images in self.people.values())
        if alone:
            log.warning(
                "%d of %d people have a single image: their identity is from that image itself",
                alone,
                len(self.people),
            )

    def __call__(self, sample: Sample, draw: Draw) -> None:
        """The other image depends on the number in the run alone."""
        record = draw.record
        others = [i for i in self.people[self.subjects[record]] if i != record]
        chance = random.Random(f"{self.seed} {draw.number}")
        other = chance.choice(others) if others else record
        if self.images:
            found = self.data.sample(other)
            if found is None or not has_landmarks(found):
                found = sample
            sample["other_face"] = aligned_face(found, self.scheme)
        else:
            feature = self.data.feature(other) if others else sample["feature"]
            usable = bool(feature.isfinite().all())
            sample["other_feature"] = feature if usable else sample["feature"]


def aligned_face(sample: Sample, scheme: str) -> Tensor:
    """The face of a sample for a recogniser [3, 112, 112], in 0..1."""
    return aligned(sample["image"], five_points(sample["landmarks"], scheme))


def has_landmarks(sample: Sample) -> bool:
    """Whether a recogniser can read the face."""
    return bool(sample["landmarks"].isfinite().all())


def has_feature(sample: Sample) -> bool:
    """Whether the data set has its identity."""
    return bool(sample["feature"].isfinite().all())
