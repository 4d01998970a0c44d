"""Reading MediaPipe's ``face_landmarker*.task``: a zip of three networks and the face's geometry.

The geometry is a protocol-buffer message. Its wire format is parsed here, because nothing else of
that library is needed.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from ...errors import ModelFileError

DETECTOR = "face_detector.tflite"
MESH = "face_landmarks_detector.tflite"
BLENDSHAPES = "face_blendshapes.tflite"
GEOMETRY = "geometry_pipeline_metadata_landmarks.binarypb"

_FIX = (
    "Use face_landmarker_v2_with_blendshapes.task, "
    "which Google publishes with MediaPipe's Face Landmarker (Apache-2.0)"
)
#: Far more than any known file unpacks to; stops zip bombs.
_LARGEST_PART = 64 * 2**20
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
    try:
        with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
            names = set(archive.namelist())
            lacking = [n for n in (DETECTOR, MESH, BLENDSHAPES, GEOMETRY) if n not in names]
            if lacking:
                raise ModelFileError(
                    f"the file is not a face landmarker with blendshapes: it lacks {lacking[0]}",
                    where=str(path),
                    fix=_FIX,
                )
            parts = [_part(archive, n, path) for n in (DETECTOR, MESH, BLENDSHAPES)]
            geometry = _geometry(_part(archive, GEOMETRY, path))
    except zipfile.BadZipFile as error:
        raise ModelFileError(
            "the face landmarker file is truncated or not a .task file", where=str(path), fix=_FIX
        ) from error
    except (IndexError, struct.error, ValueError, RuntimeError, NotImplementedError) as error:
        if isinstance(error, ModelFileError):
            raise
        raise ModelFileError(
            f"the face landmarker file is damaged: {error}", where=str(path), fix=_FIX
        ) from error
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


def _part(archive: zipfile.ZipFile, name: str, path: Path) -> bytes:
    if archive.getinfo(name).file_size > _LARGEST_PART:
        raise ModelFileError(f"{name} inside the file is too large", where=str(path), fix=_FIX)
    return archive.read(name)


def _geometry(message: bytes) -> Geometry:
    """GeometryPipelineMetadata: field 1 the mesh, fields 2 landmark and weight, in pairs."""
    numbers: list[float] = []
    weights: dict[int, float] = {}
    for field, value in _fields(message):
        if field == 1 and isinstance(value, bytes):
            numbers = [v for f, v in _fields(value) if f == 3 and isinstance(v, float)]
        elif field == 2 and isinstance(value, bytes):
            pair = dict(_fields(value))
            weights[int(pair.get(1, 0))] = float(pair.get(2, 0.0))
    count = len(numbers) // _PER_VERTEX
    if count == 0 or len(numbers) % _PER_VERTEX or not weights or max(weights) >= count:
        raise ValueError("the canonical face cannot be read")
    vertices = torch.tensor(numbers).reshape(count, _PER_VERTEX)[:, :3].double()
    dense = torch.zeros(count, dtype=torch.float64)
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
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
