"""Converting InsightFace's records to :class:`~.face.Face`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..face import Face, HeadPose
from ..identity import Identity
from ..pixels import to_array


def faces_from_insightface(
    get: Callable[[Any], Any], image: Tensor, encoder: str, source: str
) -> list[Face]:
    """All faces in an image, highest score first.

    Args:
        get: ``FaceAnalysis.get``: an 8-bit BGR image [H, W, 3] -> InsightFace's records.
        image: [3, H, W] in 0..1.
        encoder: Name of the recogniser, stored in its identities.

    Raises:
        InputError: A coordinate in a record is not finite.
    """
    height, width = image.shape[-2:]
    found = [_face(one, (width, height), encoder, source) for one in get(bgr_array(image))]
    return sorted((face for face in found if face), key=lambda face: -face.score)


def bgr_array(image: Tensor) -> Any:
    """[3, H, W] RGB in 0..1 -> numpy [H, W, 3], BGR, uint8."""
    return to_array(image.flip(0))


def pose_from_insightface(angles: Any) -> HeadPose:
    """InsightFace's (pitch, yaw, roll) in degrees as a pose in Euler order zyx.

    It fits a mean shape with y down and z towards the viewer, as the pack has it, and reads the
    rotation as Rz(z) · Ry(y) · Rx(x), with x as pitch, y as yaw and z as roll.
    """
    pitch, minus_yaw, roll = (float(v) for v in angles)
    return HeadPose(-minus_yaw, pitch, roll)


def _face(one: Any, image_size: tuple[int, int], encoder: str, source: str) -> Face | None:
    left, top, right, bottom = (float(v) for v in one["bbox"])
    if not (left < right and top < bottom):
        return None
    keys = ("kps", "landmark_3d_68", "embedding", "pose")
    points, dense, features, pose = (one.get(key) for key in keys)
    # InsightFace has the centre of the first pixel at 0, the pack at 0.5.
    five = None if points is None else torch.from_numpy(np.asarray(points)).float() + 0.5
    if dense is None and five is None:
        landmarks, scheme = torch.zeros(0, 2), "none"
    elif dense is None and five is not None:
        landmarks, scheme = five, "five"
    else:
        landmarks, scheme = torch.from_numpy(np.asarray(dense)).float(), "ibug"
        landmarks[:, :2] += 0.5
    usable = features is not None and float(np.linalg.norm(features)) > 0
    return Face(
        image_size=image_size,
        box=(left, top, right, bottom),
        score=min(1.0, float(one["det_score"])),
        landmarks=landmarks,
        scheme=scheme,
        source=source,
        five=five,
        pose=None if pose is None else pose_from_insightface(np.asarray(pose)),
        identity=Identity.from_features(torch.from_numpy(np.asarray(features)), encoder)
        if usable
        else None,
    )
