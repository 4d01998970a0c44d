"""The image of a MediaPipe-face ControlNet, drawn by numbers instead of read from a file."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ...faces.face import Box, Face, HeadPose
from ...faces.head_pose import zyx_to_xyz
from ...faces.mesh.eyes import Gaze
from ...faces.mesh.hint import draw_meshes
from ...faces.mesh.make import MadeFace, make_face
from ...faces.mesh.rig import FaceRig
from .scene import SceneCrop

FACE_HEIGHT = 0.5
"""From hairline to chin, as a fraction of an image without a scene."""


def face_mesh_image(
    rig: FaceRig,
    size: int,
    angles: HeadPose | None,
    *,
    gaze: Gaze,
    values: Mapping[str, float],
    person: Face | None,
    scene: SceneCrop | None,
) -> tuple[Tensor, MadeFace]:
    """A drawn face at the size of the base, in the place of the scene's face or in the middle.

    Args:
        angles: In Euler order xyz; those of the scene's face, or straight ahead, if None.
        values: Blendshapes, 0..1, by name.
        person: Whose proportions the head has; a face of the landmarker.

    Returns:
        [1, 3, size, size] in 0..1, and the face that was drawn.

    Raises:
        InputError: As ``faces.mesh.make.make_face``.
    """
    where: Box | Face
    if scene is None:
        low, high = ((1 - FACE_HEIGHT) / 2 * size, (1 + FACE_HEIGHT) / 2 * size)
        where, canvas = (low, low, high, high), (size, size)
    else:
        where, canvas = scene.face, scene.face.image_size
        if angles is None and scene.face.pose is not None:
            angles = zyx_to_xyz(scene.face.pose)
    made = make_face(
        rig, angles or HeadPose(0, 0, 0), canvas, where, values=values, gaze=gaze, person=person
    )
    mesh = made.face.landmarks
    if scene is not None:  # cropped as points, so that lines keep their width
        mesh = scene.place.points_in_crop(mesh[:, :2])
    drawing = torch.from_numpy(draw_meshes([mesh], (size, size)))
    return drawing.movedim(-1, 0)[None].float() / 255, made
