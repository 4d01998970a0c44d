"""Reading MediaPipe's ``face_landmarker*.task``: a zip of three networks and the face's geometry.

The geometry is a protocol-buffer message. Its wire format is parsed here, because nothing else of
that library is needed.
"""

from __future__ import annotations

import math
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from ... import limits
from ...errors import ModelFileError, refuse_with

DETECTOR = "face_detector.tflite"
MESH = "face_landmarks_detector.tflite"
BLENDSHAPES = "face_blendshapes.tflite"
GEOMETRY = "geometry_pipeline_metadata_landmarks.binarypb"

_FIX = (
    "Use face_landmarker_v2_with_blendshapes.task, "
    "which Google publishes with MediaPipe's Face Landmarker (Apache-2.0)"
)
_VERTICES = 468
#: x, y, z and the two texture coordinates of a vertex.
_PER_VERTEX = 5


@dataclass(frozen=True, eq=False)
class Geometry:
    """The canonical face.

    vertices [468, 3]: centimetres; x to the right, y up, z towards the viewer.
    weights [468]: how much each vertex counts when the head pose is fitted; most are 0.
    """

    vertices: Tensor
    weights: Tensor


@dataclass(frozen=True)
class TaskFile:
    """The parts of a landmarker file; the networks as bytes of TFLite files."""

    detector: bytes
    mesh: bytes
    blendshapes: bytes
    geometry: Geometry


def read_task_file(path: str | Path) -> TaskFile:
    """Read all parts.

    Raises:
        ModelFileError: The file is missing, truncated, not a zip, or not a face landmarker with
            blendshapes.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelFileError("the face landmarker file is missing", where=str(path), fix=_FIX)
    damaged = ModelFileError(
        "the face landmarker file is damaged, truncated or not a .task file",
        where=str(path),
        fix=_FIX,
    )
    try:
        with path.open("rb") as stream, refuse_with(damaged):
            if path.stat().st_size > limits.TASK_BYTES:
                raise damaged
            parts, geometry = _parts(zipfile.ZipFile(stream), path)
    except OSError as error:
        raise ModelFileError(
            f"the face landmarker file cannot be read: {error.strerror or error}",
            where=str(path),
            fix="Check its permissions",
        ) from error
    return TaskFile(parts[0], parts[1], parts[2], geometry)


def read_geometry(path: str | Path) -> Geometry:
    """The canonical face of a landmarker file, kept while the file stays the same.

    Raises:
        ModelFileError: As :func:`read_task_file`.
    """
    path = Path(path)
    try:
        state = path.stat()
    except OSError:
        return read_task_file(path).geometry  # which says what is wrong
    return _kept_geometry(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=4)
def _kept_geometry(path: Path, _changed: int, _size: int) -> Geometry:
    return read_task_file(path).geometry


def _parts(archive: zipfile.ZipFile, path: Path) -> tuple[list[bytes], Geometry]:
    names = set(archive.namelist())
    lacking = [n for n in (DETECTOR, MESH, BLENDSHAPES, GEOMETRY) if n not in names]
    if lacking:
        raise ModelFileError(
            f"the file is not a face landmarker with blendshapes: it lacks {lacking[0]}",
            where=str(path),
            fix=_FIX,
        )
    parts = [_part(archive, n, limits.TASK_BYTES) for n in (DETECTOR, MESH, BLENDSHAPES)]
    return parts, _geometry(_part(archive, GEOMETRY, limits.GEOMETRY_BYTES))


def _part(archive: zipfile.ZipFile, name: str, largest: int) -> bytes:
    size = archive.getinfo(name).file_size
    if size > largest:
        raise ValueError(f"{name} is too large")
    with archive.open(name) as stream:
        # With a number: without one, all is unpacked at once, whatever size the archive states.
        content = stream.read(size)
        if len(content) < size or stream.read(1):
            raise ValueError(f"{name} is of another size")
    return content


def _geometry(message: bytes) -> Geometry:
    """GeometryPipelineMetadata: field 1 the mesh, fields 2 landmark and weight, in pairs."""
    numbers: list[float] = []
    weights: dict[int, float] = {}
    for field, value in _fields(message):
        if field == 1 and isinstance(value, bytes):
            numbers = [v for f, v in _fields(value) if f == 3 and isinstance(v, float)]
        elif field == 2 and isinstance(value, bytes):
            pair = dict(_fields(value))
            index, weight = pair.get(1, 0), pair.get(2, 0.0)
            if not isinstance(index, int) or not isinstance(weight, float):
                raise ValueError("a weight of another kind")
            weights[index] = weight
    if len(numbers) != _VERTICES * _PER_VERTEX or not weights or max(weights) >= _VERTICES:
        raise ValueError("the canonical face cannot be read")
    if not all(map(math.isfinite, [*numbers, *weights.values()])):
        raise ValueError("the canonical face is not finite")
    vertices = torch.tensor(numbers).reshape(_VERTICES, _PER_VERTEX)[:, :3].double()
    dense = torch.zeros(_VERTICES, dtype=torch.float64)
    dense[list(weights)] = torch.tensor(list(weights.values()), dtype=torch.float64)
    return Geometry(vertices, dense)


def _fields(message: bytes) -> Iterator[tuple[int, int | float | bytes]]:
    """Number and value of each field: varints as int, 32-bit as float, the rest as bytes."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if kind == 2:
            length, at = _varint(message, at)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError(f"unknown wire type {kind}")
        chunk = message[at : at + length]
        if len(chunk) < length:
            raise ValueError("it ends too early")
        at += length
        yield key >> 3, struct.unpack("<f", chunk)[0] if kind == 5 else chunk


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):  # 64 bits have ten bytes at most
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("a number that is too long")
