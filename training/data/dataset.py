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
from ...faces.mirror import MIRROR_SHAPES, mirrored_angles, mirrored_parts
from ..tiny.annotation_data import MAP_SIZE
from . import codec as codec
from .annotate_plan import require_complete
from .folder import Defects, find_table, index_table
from .record import KINDS, Record
from .shards import index_shards, shard_files
from .views import Shape, View, Views

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
    pitch and roll in degrees; ``blendshapes`` [51] in 0..1; ``caption``; ``subject``; ``key``;
    ``variant``.
    Missing labels are NaN, missing parts ``NO_PART`` (``dense_face.annotation.loss``). All but
    the identity ``feature`` follow the image where it is cropped or mirrored.

    Only where the records are is kept in memory; any record is read at once, from any process.

    Args:
        size: Side of the images in pixels.
        map_size: Side of depth and parts in cells, of a square image.
        scheme: Of the landmarks, a key of ``faces.face.SCHEMES``; others count as missing.
        kinds: Of files to read (``record.KINDS``); labels of others count as missing.
        views: How images are shown; None for whole, stretched to squares.

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
        views: Views | None = None,
    ) -> None:
        self.views, self.map_size, self.scheme = views or Views(size), map_size, scheme
        self.kinds, self.folder, self.defects = kinds, folder, Defects()
        shards = shard_files(folder)
        index = index_shards(shards, self.defects) if shards else None
        self.entries = list(index or index_table(find_table(folder), self.defects))

    @property
    def checksum(self) -> str:
        """Changes with the names and contents of the records, not with their place.

        Of large files only samples are compared (``storage.sparse_checksum``).
        """
        digest = hashlib.sha256()
        for entry in self.entries:
            digest.update(entry.checksum)
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

    @property
    def subjects(self) -> list[str]:
        """The person on each image."""
        return [entry.subject for entry in self.entries]

    @property
    def images(self) -> FaceDataset:
        """Itself (``batches.Records``)."""
        return self

    def groups(self) -> list[list[int]]:
        """The records by the shape of their samples; every image's header is read for that."""
        if not self.views.buckets:
            return [list(range(len(self)))]
        found: dict[Shape, list[int]] = {}
        for number in range(len(self)):
            found.setdefault(self._shape(number), []).append(number)
        return [found[shape] for shape in sorted(found)]

    def sample(self, number: int, variant: int = 0) -> Sample | None:
        """A variant of a sample; None, which is noted, if the record has no usable image."""
        record = self.entries[number].read(self.defects, self.kinds)
        return None if record is None else self._sample(record, variant)

    def parts(self, number: int, shape: Shape) -> Tensor:
        """The part masks of a record alone, whole, int64 of this shape in cells."""
        record = self.entries[number].read(self.defects, ("images", "masks"))
        if record is None:
            return torch.full(shape, NO_PART)
        return self._parts(record, None, shape)

    def feature(self, number: int) -> Tensor:
        """The identity vector [512] of a record; NaN where it has none."""
        record = self.entries[number].read(self.defects, ("images", "feat_file_v2"))
        if record is None:
            return torch.full((FEATURES,), NAN)
        return self._read(record, "feat_file_v2", _feature, (FEATURES,))

    def _shape(self, number: int) -> Shape:
        record = self.entries[number].read(Defects(), ("images",))
        try:
            size = (1, 1) if record is None else codec.image_size(record.files["images"])
        except InputError:  # noted when it is read
            size = (1, 1)
        return self.views.shape(size)

    def _sample(self, record: Record, variant: int) -> Sample | None:
        try:
            image = codec.decode_image(record.files["images"])
        except InputError as error:
            self.defects.note(error.what, record.key)
            return None
        shape = (image.shape[1], image.shape[2])
        points = self._read(record, "landmarks", _points, (SCHEMES[self.scheme], 2))
        known = points if bool(points.isfinite().all()) else None
        view = self.views.view(record.key, variant, shape, known)
        cells = self._cells(view.shape)

        def depth(record: Record, data: bytes) -> Tensor:
            return self._depth(record, data, view, cells)

        shapes = self._read(record, "attributes", _blendshapes, (len(ARKIT_NAMES),))
        pose = record.row.head_pose
        angles = torch.tensor([NAN] * 3 if pose is None else [pose[1], pose[0], pose[2]])
        return {
            "image": view.of_image(image),
            "depth": self._read(record, "xyzmaps", depth, cells),
            "parts": self._parts(record, view, cells),
            "landmarks": view.of_points(points, self.scheme),
            "feature": self._read(record, "feat_file_v2", _feature, (FEATURES,)),
            "blendshapes": shapes[list(MIRROR_SHAPES)] if view.mirrored else shapes,
            "pose": mirrored_angles(angles) if view.mirrored else angles,
            "variant": variant,
            "caption": record.row.caption,
            "subject": record.row.subject_id,
            "key": record.key,
        }

    def _cells(self, shape: Shape) -> Shape:
        """The size of the maps of an image of this shape."""
        height, width = (max(1, side * self.map_size // self.views.size) for side in shape)
        return height, width

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

    def _depth(self, record: Record, data: bytes, view: View, cells: Shape) -> Tensor:
        xyz, absurd = codec.decode_xyz(data, record.row.depth_range)
        if absurd:
            self.defects.note("absurd depths, clipped", record.key, absurd)
        depth = F.adaptive_avg_pool2d(view.of_map(xyz[..., 2])[None], cells)[0]
        return depth.flip(-1) if view.mirrored else depth

    def _parts(self, record: Record, view: View | None, cells: Shape) -> Tensor:
        if "masks" in record.files:
            try:
                labels = codec.decode_part_mask(record.files["masks"])
            except InputError as error:
                self.defects.note(error.what, record.key)
            else:
                if view is not None:
                    labels = view.of_map(labels)
                    labels = mirrored_parts(labels) if view.mirrored else labels
                return small_parts(labels[None], cells)[0].long()
        return torch.full(cells, NO_PART)


def _points(_record: Record, data: bytes) -> Tensor:
    return codec.decode_landmarks(data)


def _feature(_record: Record, data: bytes) -> Tensor:
    return codec.decode_feature(data)


def _blendshapes(_record: Record, data: bytes) -> Tensor:
    return codec.decode_blendshapes(data)
