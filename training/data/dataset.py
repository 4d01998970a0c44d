"""A dense-annotation data set as tensors for training, each record by its number.

Source: docs/reference/dense_face.md A12, B1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Container, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from ...dense_face.annotation.loss import NO_PART, small_parts
from ...errors import InputError
from ...faces.blendshapes import ARKIT_NAMES
from ...faces.face import SCHEMES
from ..tiny.annotation_data import MAP_SIZE
from . import codec as codec
from .annotate_plan import require_complete
from .folder import Defects, find_table, index_table
from .record import KINDS, Record
from .shards import index_shards, shard_files

NAN = float("nan")
FEATURES = 512
Sample = dict[str, Any]


def require_data_set(folder: Path) -> None:
    """Raise InputError unless there is a data set in the folder, written to its end."""
    require_complete(folder)
    if not shard_files(folder):
        find_table(folder)


class FaceDataset(Dataset[Sample]):
    """Samples of a folder in the Dense-Face layout, or of its WebDataset shards.

    A sample holds ``image`` [3, size, size] in 0..1; ``depth`` [map_size, map_size] and ``parts``
    of the same size (int64); ``landmarks`` [K, 2] in 0..1; ``feature`` [512]; ``pose`` [3], yaw,
    pitch and roll in degrees; ``blendshapes`` [51] in 0..1; ``caption``; ``subject``; ``key``.
    Missing labels are NaN, missing parts ``NO_PART`` (``dense_face.annotation.loss``).

    Only where the records are is kept in memory; any record is read at once, from any process.

    Args:
        size: Side of the images in pixels.
        map_size: Side of depth and parts in cells.
        scheme: Of the landmarks, a key of ``faces.face.SCHEMES``; others count as missing.
        kinds: Of files to read (``record.KINDS``); labels of others count as missing.

    ``defects`` lists what was left out so far.

    Raises:
        InputError: There is no data set in the folder, or its table is unreadable.
    """

    def __init__(
        self,
        folder: Path,
        size: int = 256,
        map_size: int = MAP_SIZE,
        scheme: str = "mesh",
        kinds: Container[str] = KINDS,
    ) -> None:
        self.size, self.map_size, self.points = size, map_size, SCHEMES[scheme]
        self.kinds, self.folder, self.defects = kinds, folder, Defects()
        shards = shard_files(folder)
        index = index_shards(shards, self.defects) if shards else None
        self.entries = list(index or index_table(find_table(folder), self.defects))

    @property
    def checksum(self) -> str:
        """Changes with the names, labels and file sizes of the records, not with their place."""
        digest = hashlib.sha256()
        for entry in self.entries:
            digest.update(f"{entry.stamp}\n".encode())
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, number: int) -> Sample:
        """A sample; InputError if the record has no usable image."""
        sample = self.sample(number)
        if sample is None:
            raise InputError("the record has no usable image", where=f"number {number}")
        return sample

    def __iter__(self) -> Iterator[Sample]:
        """The usable samples, in order."""
        for number in range(len(self)):
            sample = self.sample(number)
            if sample is not None:
                yield sample

    def sample(self, number: int) -> Sample | None:
        """A sample; None, which is noted, if the record has no usable image."""
        record = self.entries[number].read(self.defects, self.kinds)
        return None if record is None else self._sample(record)

    def feature(self, number: int) -> Tensor:
        """The identity vector [512] of a record; NaN where it has none."""
        record = self.entries[number].read(self.defects, ("images", "feat_file_v2"))
        if record is None:
            return torch.full((FEATURES,), NAN)
        return self._read(record, "feat_file_v2", self._feature, (FEATURES,))

    def _sample(self, record: Record) -> Sample | None:
        try:
            image = codec.decode_image(record.files["images"])
        except InputError as error:
            self.defects.note(error.what, record.key)
            return None
        side = (self.size, self.size)
        image = F.interpolate(image[None], side, mode="bilinear", antialias=True)[0].clamp(0, 1)
        pose = record.row.head_pose
        return {
            "image": image,
            "depth": self._read(record, "xyzmaps", self._depth, (self.map_size, self.map_size)),
            "parts": self._parts(record),
            "landmarks": self._read(record, "landmarks", self._points, (self.points, 2)),
            "feature": self._read(record, "feat_file_v2", self._feature, (FEATURES,)),
            "blendshapes": self._read(record, "attributes", self._blendshapes, (len(ARKIT_NAMES),)),
            "pose": torch.tensor([NAN] * 3 if pose is None else [pose[1], pose[0], pose[2]]),
            "caption": record.row.caption,
            "subject": record.row.subject_id,
            "key": record.key,
        }

    def _read(
        self,
        record: Record,
        kind: str,
        decode: Callable[[Record, bytes], Tensor],
        shape: tuple[int, ...],
    ) -> Tensor:
        """A label; NaN of its shape where it is missing, or unusable (which is noted)."""
        if kind in record.files:
            try:
                found = decode(record, record.files[kind])
                if found.shape == shape:
                    return found
                self.defects.note(f"{kind} of another size", record.key)
            except InputError as error:
                self.defects.note(error.what, record.key)
        return torch.full(shape, NAN)

    def _depth(self, record: Record, data: bytes) -> Tensor:
        xyz, absurd = codec.decode_xyz(data, record.row.depth_range)
        if absurd:
            self.defects.note("absurd depths, clipped", record.key, absurd)
        return F.adaptive_avg_pool2d(xyz[None, ..., 2], self.map_size)[0]

    def _points(self, _record: Record, data: bytes) -> Tensor:
        return codec.decode_landmarks(data)

    def _feature(self, _record: Record, data: bytes) -> Tensor:
        return codec.decode_feature(data)

    def _blendshapes(self, _record: Record, data: bytes) -> Tensor:
        return codec.decode_blendshapes(data)

    def _parts(self, record: Record) -> Tensor:
        if "masks" in record.files:
            try:
                labels = codec.decode_part_mask(record.files["masks"])
                return small_parts(labels[None], self.map_size)[0].long()
            except InputError as error:
                self.defects.note(error.what, record.key)
        return torch.full((self.map_size, self.map_size), NO_PART)
