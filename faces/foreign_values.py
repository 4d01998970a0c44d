"""Faces of other nodes: ComfyUI's FACE_LANDMARKS and BOUNDING_BOX values.

Both are plain dictionaries whose format the host may change: they are checked when read, and
nothing is imported from the host.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from .blendshapes import ARKIT_NAMES
from .face import SCHEMES, Face, HeadPose
from .head_pose import flip_axes, zyx_from_matrix

LANDMARKS_SOURCE, BOXES_SOURCE = "face landmarks", "bounding box"
_FIX = "Connect Detect Face Landmarks (MediaPipe) of ComfyUI"


def faces_from_landmarks(value: Any) -> list[list[Face]]:
    """The faces of each image in a FACE_LANDMARKS value, in its order.

    Args:
        value: ``frames``: per image a list of faces with ``landmarks_xy`` [478, 2] in pixels and,
            optionally, ``bbox_xyxy``, ``score``, ``blendshapes`` (by name) and
            ``transformation_matrix`` [4, 4] in the landmark file's convention; ``image_size``:
            (height, width).

    Raises:
        InputError: The value has another format, or a coordinate is not finite.
    """
    frames = value.get("frames") if isinstance(value, Mapping) else None
    size = value.get("image_size") if isinstance(value, Mapping) else None
    if not isinstance(frames, Sequence) or not isinstance(size, Sequence) or len(size) != 2:
        raise InputError("the face landmarks have no frames or no image size", fix=_FIX)
    height, width = (int(v) for v in size)
    return [[_from_landmarks(face, (width, height)) for face in frame or ()] for frame in frames]


def faces_from_boxes(value: Any, image_size: tuple[int, int], count: int) -> list[list[Face]]:
    """Bounding boxes as faces without landmarks, for each of ``count`` images.

    Args:
        value: One box ``{x, y, width, height}`` in pixels (``score`` if known), a list of boxes for
            all images, or a list of such lists, one per image; a single one is used for all.
        image_size: Width and height in pixels.
        count: Number of images.

    Raises:
        InputError: The value has another format, a box is empty, or the number of lists is not that
            of the images.
    """
    frames = _frames(value)
    if len(frames) == 1:
        frames *= count
    if len(frames) != count:
        raise InputError(
            f"there are boxes for {len(frames)} images and {count} images",
            fix="Connect the images in which the boxes were found",
        )
    return [[_from_box(box, image_size) for box in frame] for frame in frames]


def _frames(value: Any) -> list[list[Any]]:
    if isinstance(value, Mapping):
        return [[value]]
    if isinstance(value, Sequence) and not isinstance(value, str):
        if all(isinstance(one, Mapping) for one in value):
            return [list(value)]
        if all(isinstance(one, Sequence) and not isinstance(one, str) for one in value):
            return [list(one) for one in value]
    raise InputError(
        f"a value of type {type(value).__name__} is not a bounding box",
        fix="Give x, y, width and height in pixels, or a list of such boxes",
    )


def _from_box(box: Any, image_size: tuple[int, int]) -> Face:
    x, y, width, height = (_number(box, name) for name in ("x", "y", "width", "height"))
    score = _number(box, "score") if box.get("score") is not None else 1.0
    corners = (x, y, x + width, y + height)
    return Face(image_size, corners, _clamped(score), torch.zeros(0, 2), "none", BOXES_SOURCE)


def _number(box: Any, name: str) -> float:
    try:
        return float(box[name])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"a bounding box has no {name}", fix="Give x, y, width and height in pixels"
        ) from error


def _from_landmarks(face: Any, image_size: tuple[int, int]) -> Face:
    try:
        points = _tensor(face["landmarks_xy"])[:, :2]
        corners = face.get("bbox_xyxy")
        if corners is None:
            corners = torch.cat([points.min(0).values, points.max(0).values])
        left, top, right, bottom = _tensor(corners).flatten().tolist()
    except (AttributeError, KeyError, TypeError, ValueError, IndexError, RuntimeError) as error:
        raise InputError(
            "a face has no landmarks or no box", where=LANDMARKS_SOURCE, fix=_FIX
        ) from error
    if len(points) != SCHEMES["mesh"]:
        raise InputError(
            f"a face has {len(points)} landmarks instead of {SCHEMES['mesh']}",
            where=LANDMARKS_SOURCE,
            fix=_FIX,
        )
    matrix = face.get("transformation_matrix")
    values = face.get("blendshapes") or {}
    known = {"_neutral", *ARKIT_NAMES}
    return Face(
        image_size=image_size,
        box=(left, top, right, bottom),
        score=_clamped(float(face.get("score", 1.0))),
        landmarks=points,
        scheme="mesh",
        source=LANDMARKS_SOURCE,
        blendshapes={name: float(v) for name, v in values.items() if name in known} or None,
        pose=None if matrix is None else _pose(_tensor(matrix)),
    )


def _pose(matrix: Tensor) -> HeadPose | None:
    """The pose of a transformation [4, 4] with scale; None if it is not a valid one."""
    if matrix.shape != (4, 4) or not bool(matrix.isfinite().all()):
        return None
    turn = matrix[:3, :3].double()
    scale = turn.norm(dim=0)
    return zyx_from_matrix(flip_axes(turn / scale)) if bool((scale > 0).all()) else None


def _tensor(values: Any) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float32, device="cpu")


def _clamped(score: float) -> float:
    return min(1.0, max(0.0, score))
