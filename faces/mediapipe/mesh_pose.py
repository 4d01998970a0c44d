"""The face mesh in space: MediaPipe's geometry pipeline, a weighted Procrustes fit.

The mesh is a perspective view: x and y are foreshortened, and neither the head's size nor its
distance is known, but their ratio. The perspective is undone at distance 1; the canonical face,
fitted to the result, gives rotation and size. MediaPipe fits three times, because it has the size
in centimetres before it undoes the perspective; as that scales all coordinates alike, one fit finds
the same. The camera is at the origin: x to the right, y up, z towards the viewer, so that all that
it sees has a negative z.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..crops.similarity import Similarity, fit_similarity
from .task_file import Geometry

FIELD_OF_VIEW = 63.0
"""Degrees, vertical: the camera that the landmark file assumes for every image."""


def mesh_rotation(landmarks: Tensor, image_size: tuple[int, int], geometry: Geometry) -> Tensor:
    """The head's rotation in the landmark file's convention (``faces.head_pose``).

    Args:
        landmarks: [478 or 468, 3] in pixels.
        image_size: Width and height in pixels; the optical axis is at the centre.

    Returns:
        [3, 3] float64, from the canonical face to the camera.
    """
    return mesh_in_space(landmarks, image_size, geometry)[1].rotation


def mesh_in_space(
    landmarks: Tensor, image_size: tuple[int, int], geometry: Geometry
) -> tuple[Tensor, Similarity]:
    """Undo the perspective of a mesh; arguments as for :func:`mesh_rotation`.

    Returns:
        The points [478 or 468, 3] in space, and the similarity, of scale 1, that maps the canonical
        face there. Both are in centimetres of a head of the canonical size, float64.
    """
    known = len(geometry.vertices)
    width, height = image_size
    # On a plane at distance 1 in front of the camera, y up.
    seen = landmarks.double() - torch.tensor([width / 2, height / 2, 0.0], dtype=torch.float64)
    seen = seen * torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64) / focal_length(height)
    distance = seen[:, 2:] - seen[:known, 2].mean() + 1
    points = torch.cat([seen[:, :2] * distance, -distance], 1)
    standing = fit_similarity(geometry.vertices, points[:known], geometry.weights)
    scale = standing.scale
    return points / scale, Similarity(1.0, standing.rotation, standing.shift / scale)


def mesh_from_space(points: Tensor, image_size: tuple[int, int]) -> Tensor:
    """The mesh [478, 3] in pixels of points [478, 3] in space; undoes :func:`mesh_in_space`."""
    width, height = image_size
    focal = focal_length(height)
    distance = -points[:, 2:]
    places = points[:, :2] / distance * torch.tensor([focal, -focal], dtype=torch.float64)
    places = places + torch.tensor([width / 2, height / 2], dtype=torch.float64)
    # Irises do not count, as in the landmark file's canonical face.
    return torch.cat([places, focal * (distance / distance[:468].mean() - 1)], 1)


def focal_length(height: int) -> float:
    """In pixels, of an image with this height in pixels."""
    return height / 2 / math.tan(math.radians(FIELD_OF_VIEW) / 2)
