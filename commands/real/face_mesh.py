"""``--face-mesh``: the image of a MediaPipe-face ControlNet, drawn from the other options."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..faces import TASK_FILE_VARIABLE, landmarker_path

if TYPE_CHECKING:
    from torch import Tensor

    from ...faces.angles import Angles
    from ...faces.face import Face
    from ...faces.mesh.make import MadeFace
    from ...faces.mesh.rig import FaceRig
    from ...pipelines.real.scene import SceneCrop
    from ...sfsr.expression import Expression


def add_face_mesh_options(parser: argparse.ArgumentParser) -> None:
    """Arguments for the drawing."""
    group = parser.add_argument_group("with a MediaPipe-face ControlNet as --controlnet")
    group.add_argument(
        "--face-mesh",
        action="store_true",
        help="draw its image: head pose, --gaze and expression, with the person's proportions; "
        "needs --landmarker",
    )
    group.add_argument(
        "--gaze",
        type=float,
        nargs=2,
        metavar=("YAW", "PITCH"),
        help="degrees relative to the head; above 0 to the left of the image, up",
    )


def face_mesh_rig(args: argparse.Namespace) -> FaceRig | None:
    """What faces are drawn from; None where no option asks for a drawing.

    Raises:
        InputError: Options contradict each other or are missing.
        ModelFileError: The landmarker file is missing or damaged.
    """
    from ...faces.mediapipe.task_file import read_geometry
    from ...faces.mesh.rig import face_rig

    if not args.face_mesh and args.gaze is None:
        return None
    return face_rig(read_geometry(_checked(args)))


def draw_face_mesh(
    args: argparse.Namespace,
    rig: FaceRig,
    scene: SceneCrop | None,
    person: Face | None,
    expression: Expression | None,
    angles: Angles | None,
) -> tuple[Tensor, MadeFace]:
    """The drawing [1, 3, S, S] in 0..1, and the face in it.

    Args:
        rig: Of :func:`face_mesh_rig`.
        person: On a photo, for the proportions; the canonical face if None.
        expression: At rest if None. angles: Those of the scene's face, or straight ahead, if None.

    Raises:
        InputError: An angle is out of range, or the person was not found by the landmarker.
    """
    from ...faces.face import HeadPose
    from ...faces.mesh.eyes import Gaze
    from ...pipelines.real.face_mesh import face_mesh_image

    return face_mesh_image(
        rig,
        args.size,
        None if angles is None else HeadPose(*angles),
        gaze=Gaze(*(args.gaze or (0.0, 0.0))),
        values={} if expression is None else expression.blendshapes(),
        person=person,
        scene=scene,
    )


def _checked(args: argparse.Namespace) -> Path:
    """The landmarker file, after a look at the options."""
    from ...errors import InputError

    if not args.face_mesh:
        raise InputError(
            "nothing draws the gaze", where="--gaze", fix="Give --face-mesh, or leave it out"
        )
    if args.control_image is not None:
        raise InputError(
            "the ControlNet's image is both given and to be drawn",
            where="--control-image, --face-mesh",
            fix="Give one of them",
        )
    if args.controlnet is None:
        raise InputError(
            "nothing reads the face mesh",
            where="--face-mesh",
            fix="Give the MediaPipe-face ControlNet (control_v2p_sd15_mediapipe_face.safetensors) "
            "as --controlnet",
        )
    path = landmarker_path(args)
    if path is None:
        raise InputError(
            "the face mesh is drawn from the landmarker file, and none is given",
            where="--face-mesh",
            fix=f"Give --landmarker, or set {TASK_FILE_VARIABLE}",
        )
    return path
