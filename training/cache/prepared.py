"""Photographs as a cache is built from them: all variants of a record, read by a worker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor
from torch.utils.data import Dataset

from ..data.dataset import Sample
from ..data.folder import Defects
from ..data.order import Draw

if TYPE_CHECKING:
    from ..photos.photo_set import PhotoSet
    from ..settings.config import TrainerConfig


@dataclass(frozen=True, eq=False)
class Prepared:
    """A record.

    variants: Samples; None for those that cannot be used.
    feature: Identity that the data set has [512], NaN if none.
    face: Aligned face of the whole image; None without landmarks or where no network reads it.
    defects: What was left out, and where.
    """

    variants: Sequence[Sample | None]
    feature: Tensor
    face: Tensor | None
    key: str
    caption: str
    defects: Sequence[tuple[str, str]]


class PreparedPhotos(Dataset[Prepared]):
    """The records of a data set, by number.

    Args:
        faces: Whether aligned faces are needed.
    """

    def __init__(self, photos: PhotoSet, config: TrainerConfig, faces: bool) -> None:
        self._photos, self._faces = photos, faces
        self._variants, self._scheme = config.variants, config.scheme

    def __getitem__(self, record: int) -> Prepared:
        photos, data = self._photos, self._photos.data
        data.defects = Defects()
        samples = [data.sample(record, variant) for variant in range(self._variants)]
        first = samples[0]
        usable: list[Sample | None] = []
        for sample in samples:
            if sample is None or not photos.usable(sample):
                usable.append(None)
                continue
            photos.add(sample, Draw(0, record, 0))
            usable.append(sample)
        return Prepared(
            usable,
            data.feature(record),
            self._face(first),
            "" if first is None else first["key"],
            "" if first is None else first["caption"],
            [(what, where[0]) for what, where in data.defects.places.items()],
        )

    def _face(self, sample: Sample | None) -> Tensor | None:
        from ..photos.other_images import aligned_face, has_landmarks

        if not self._faces or sample is None or not has_landmarks(sample):
            return None
        return aligned_face(sample, self._scheme)
