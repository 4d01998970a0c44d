"""Head pose from the face mesh: two passes of weighted Procrustes (MediaPipe's geometry pipeline).

The mesh is a perspective view: x and y are foreshortened and the head's distance is unknown. A
first fit of the canonical face gives a size and so a depth; with that depth the perspective is
undone and the fit repeated.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..similarity import fit_similarity
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
    width, height = image_size
    # On a plane at distance 1 in front of the camera, y up.
    pixel = 2 * math.tan(math.radians(FIELD_OF_VIEW) / 2) / height
    seen = landmarks[: len(geometry.vertices)].double()
    centre = torch.tensor([width / 2, height / 2, 0.0], dtype=torch.float64)
    seen = (seen - centre) * pixel * torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64)
    towards_viewer = torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64)

    scale = fit_similarity(geometry.vertices, seen * towards_viewer, geometry.weights).scale
    depth = seen[:, 2].mean()

    def in_space(scale: float) -> Tensor:
        z = (seen[:, 2:] - depth + 1) / scale
        return torch.cat([seen[:, :2] * z, z], 1) * towards_viewer

    second = fit_similarity(geometry.vertices, in_space(scale), geometry.weights).scale
    return fit_similarity(geometry.vertices, in_space(scale * second), geometry.weights).rotation
