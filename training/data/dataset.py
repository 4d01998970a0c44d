"""A dense-annotation data set as a stream of tensors for training.

Source: docs/reference/dense_face.md A12, B1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import IterableDataset, get_worker_info

from ...dense_face.annotation.loss import NO_PART, small_parts
from ...errors import InputError
from ...faces.blendshapes import ARKIT_NAMES
from ...faces.face import SCHEMES
from ..tiny.annotation_data import MAP_SIZE
from . import codec as codec
from .folder import Defects, find_table, read_records
from .record import Record
from .shards import read_shards, shard_files

NAN = float("nan")
FEATURES = 512


def require_data_set(folder: Path) -> None:
    """Raise InputError unless there is a data set in the folder."""
    if not shard_files(folder):
        find_table(folder)


class FaceDataset(IterableDataset[dict[str, Any]]):
    """Samples of a folder in the Dense-Face layout, or of its WebDataset shards, in order.

    A sample holds ``image`` [3, size, size] in 0..1; ``depth`` [map_size, map_size] and ``parts``
    of the same size (int64); ``landmarks`` [K, 2] in 0..1; ``feature`` [512]; ``pose`` [3], yaw,
    pitch and roll in degrees; ``blendshapes`` [51] in 0..1; ``caption``; ``subject``; ``key``.
    Missing labels are NaN, missing parts ``NO_PART`` (``dense_face.annotation.loss``). The workers
    of a DataLoader split the images among them.

    Args:
        size: Side of the images in pixels.
        map_size: Side of depth and parts in cells.
        scheme: Of the landmarks, a key of ``faces.face.SCHEMES``; others count as missing.

    ``defects`` lists what was left out (each worker keeps its own).

    Raises:
        InputError: There is no data set in the folder, or (while reading) its table is unreadable.
    """

    def __init__(
        self, folder: Path, size: int = 256, map_size: int = MAP_SIZE, scheme: str = "mesh"
    ) -> None:
        super().__init__()
        self.size, self.map_size, self.points = size, map_size, SCHEMES[scheme]
        self.defects = Defects()
        shards = shard_files(folder)
        self._records: Callable[[int, int], Iterator[Record]]
        if shards:
            self._records = lambda rank, world_size: read_shards(
                shards, self.defects, rank=rank, world_size=world_size
            )
        else:
            table = find_table(folder)
            self._records = lambda rank, world_size: read_records(
                table, self.defects, rank=rank, world_size=world_size
            )

    def __iter__(self) -> Iterator[dict[str, Any]]:
        worker = get_worker_info()
        rank, world_size = (0, 1) if worker is None else (worker.id, worker.num_workers)
        for record in self._records(rank, world_size):
            sample = self._sample(record)
            if sample is not None:
                yield sample

    def _sample(self, record: Record) -> dict[str, Any] | None:
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
