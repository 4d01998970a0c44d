"""Head poses as angles, and as the image that the pose branch reads."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ...errors import InputError
from ...faces.angles import ANGLE_LIMITS
from ..analysis.chosen_face import chosen, detections_of, index_input
from ..images import channels_last, preview_image
from ..inputs import ANGLES, YAW, angle, between, output
from ..sockets import AnalyzerSocket, FacesSocket, FoundFaces, HeadPoses, LoadedAnalyzer, PoseSocket

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...faces.face import Face

log = logging.getLogger(__name__)

SIZE = 256
"""Side of the pose image that the released adapter was trained on, in pixels."""
CATEGORY = "face/dense_face"

AS_MEASURED, AS_PAPER = "as measured", "as 6DRepNet reads it"


def _size() -> Any:
    return io.Int.Input(
        "size",
        **between(64, 2048, step=8, default=SIZE),
        tooltip="Side of the pose image in pixels: 256 for the released adapter, 128 for the "
        "bundled tiny world, as in training. The control node resizes it to your image.",
    )


def _outputs() -> list[Any]:
    return [
        output(PoseSocket, "pose", "The angles, for Measure Pose."),
        output(
            io.Image,
            "pose_picture",
            "The head's axes: red to the side, green down, blue along the nose. For the "
            "image input of Apply ControlNet.",
        ),
    ]


def pose_output(
    node: type[io.ComfyNode],
    poses: HeadPoses,
    size: int,
    *more: float,
    shown: Tensor | None = None,
) -> io.NodeOutput:
    """Poses and their images as a node's output, shown in the node; warns of unusual angles.

    shown: IMAGE to show instead of the pose images.

    Raises:
        InputError: The images do not fit into memory.
    """
    from ..host.memory import require_room

    require_room(len(poses), size, size, node.define_schema().display_name)
    for angles in poses.angles:
        if any(abs(angle) > limit for angle, limit in zip(angles, ANGLE_LIMITS, strict=True)):
            log.warning("Head pose %s is beyond the training range %s.", angles, ANGLE_LIMITS)
    image = drawn(poses, size)
    shown = image if shown is None else shown
    return io.NodeOutput(poses, image, *more, ui=preview_image(shown, node))


def drawn(poses: HeadPoses, size: int) -> Tensor:
    """IMAGE [B, size, size, 3]: the axes of each pose."""
    from ...dense_face.pose_image import pose_images
    from ..host.execution import stepped, steps

    each = stepped(poses.angles, steps(len(poses)))
    images = torch.cat([pose_images([angles], size) for angles in each])
    return channels_last(images.float() / 255)


class PoseFromAngles(io.ComfyNode):
    """Three numbers -> one head pose."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_PoseFromAngles",
            display_name="Head Pose from Angles",
            category=CATEGORY,
            description="Sets the head pose by three angles and draws it for the pose control.",
            search_aliases=[
                "yaw pitch roll",
                "head pose",
                "turn head",
                "look left",
                "look right",
                "rotate head",
                "tilt head",
                "profile",
                "head angle",
                "look up",
                "look down",
                "side view",
                "three quarter view",
                "nod",
                "head tilt",
                "camera angle",
            ],
            is_output_node=True,
            inputs=[*map(angle, ANGLES), _size()],
            outputs=_outputs(),
        )

    @classmethod
    def execute(cls, yaw: float, pitch: float, roll: float, size: int) -> io.NodeOutput:
        return pose_output(cls, HeadPoses(((yaw, pitch, roll),)), size)


class PoseSweep(io.ComfyNode):
    """Two head poses -> evenly spaced poses from one to the other."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_PoseSweep",
            display_name="Head Pose Sweep",
            category=CATEGORY,
            description="A batch of head poses, evenly spaced between two. With a latent batch of "
            "the same size each image gets one pose.",
            search_aliases=[
                "turntable",
                "yaw sweep",
                "head turn",
                "pose batch",
                "character sheet",
                "head rotation",
            ],
            is_output_node=True,
            inputs=[
                *(angle(name, -40.0 if name == YAW else 0.0, prefix="from_") for name in ANGLES),
                *(angle(name, 40.0 if name == YAW else 0.0, prefix="to_") for name in ANGLES),
                io.Int.Input(
                    "count",
                    **between(1, 256, default=5),
                    tooltip="Number of poses, both ends included.",
                ),
                _size(),
            ],
            outputs=_outputs(),
        )

    @classmethod
    def execute(cls, count: int, size: int, **ends: float) -> io.NodeOutput:
        angles = [
            torch.linspace(ends[f"from_{name}"], ends[f"to_{name}"], count, dtype=torch.float64)
            for name in ANGLES
        ]
        poses = HeadPoses(
            tuple((yaw, pitch, roll) for yaw, pitch, roll in torch.stack(angles, 1).tolist())
        )
        return pose_output(cls, poses, size)


class PoseFromImage(io.ComfyNode):
    """Images -> the head pose in each."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_PoseFromPicture",
            display_name="Head Pose from Image",
            category=CATEGORY,
            description="Estimates the head pose in an image, to give it to another head.",
            search_aliases=[
                "head pose estimation",
                "copy pose",
                "measure pose",
                "head pose from picture",
            ],
            is_output_node=True,
            inputs=[
                AnalyzerSocket.Input(
                    "analyzer", tooltip="From Load Tiny-World Analyzer or Load Face Analyzer."
                ),
                io.Image.Input("image", tooltip="One or more images, each with one face."),
                _size(),
                index_input(),
                _reading(),
            ],
            outputs=_measured_outputs(),
        )

    @classmethod
    def execute(
        cls,
        analyzer: LoadedAnalyzer,
        image: Tensor,
        size: int,
        face_index: int = 0,
        reading: str = AS_MEASURED,
    ) -> io.NodeOutput:
        from ...faces.detection import remaining
        from ...faces.drawing import DrawOptions, preview

        detections = detections_of(analyzer, image, face_index, "Head Pose from Image")
        remaining(detections, "error", "Head Pose from Image")
        poses = poses_of([chosen(detection) for detection in detections], reading)
        boxed_axes = DrawOptions(numbers=False, landmarks=False)
        axes = [
            preview(each, detection.faces, detection.chosen, boxed_axes)
            for each, detection in zip(image.movedim(-1, 1), detections, strict=True)
        ]
        shown = channels_last(torch.stack(axes))
        return pose_output(cls, poses, size, *poses.angles[0], shown=shown)


class PoseFromFaces(io.ComfyNode):
    """Faces -> the head pose of each."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_PoseFromFaces",
            display_name="Head Pose of Faces",
            category=CATEGORY,
            description="Takes the head pose of faces that another node has already detected.",
            search_aliases=["head pose estimation", "copy pose", "face landmarks to pose"],
            is_output_node=True,
            inputs=[
                FacesSocket.Input(
                    "faces", tooltip="From Detect Faces, Faces by Hand or another source of faces."
                ),
                _size(),
                index_input(),
                _reading(),
            ],
            outputs=_measured_outputs(),
        )

    @classmethod
    def execute(
        cls, faces: FoundFaces, size: int, face_index: int = 0, reading: str = AS_MEASURED
    ) -> io.NodeOutput:
        from ...faces.face import pick

        picked = [pick(list(found), face_index) for found in faces.images]
        poses = poses_of(picked, reading)
        return pose_output(cls, poses, size, *poses.angles[0])


def poses_of(faces: Sequence[Face], reading: str) -> HeadPoses:
    """The poses of faces, as :func:`pose_output` expects them (``xyz`` Euler order, degrees).

    Args:
        reading: :data:`AS_PAPER` for an adapter that was trained on 6DRepNet's angles; poses
            measured by 6DRepNet itself are not converted.

    Raises:
        InputError: There are no faces, or one comes without a pose.
    """
    from ...faces.encoders.six_d_rep_net import NAME
    from ...faces.head_pose import as_paper_estimator, zyx_to_xyz

    if not faces:
        raise InputError("there are no faces", fix="Connect at least one image")
    angles = []
    for number, face in enumerate(faces, 1):
        if face.pose is None:
            which = "the face" if len(faces) == 1 else f"the face in image {number}"
            raise InputError(
                f"{which} comes without a head pose",
                where=face.source,
                fix="Use the landmarker or an InsightFace pack with landmarks, or type the angles",
            )
        convert = reading == AS_PAPER and face.source != NAME
        pose = zyx_to_xyz(as_paper_estimator(face.pose) if convert else face.pose)
        angles.append((pose.yaw, pose.pitch, pose.roll))
    return HeadPoses(tuple(angles))


def _reading() -> Any:
    return io.Combo.Input(
        "reading",
        options=[AS_MEASURED, AS_PAPER],
        default=AS_MEASURED,
        optional=True,
        tooltip="as 6DRepNet reads it: for the released Dense-Face adapter, which was trained on "
        "that network's angles; they are larger. as measured: for all other adapters.",
    )


def _measured_outputs() -> list[Any]:
    return [
        *_outputs(),
        *(
            io.Float.Output(name, display_name=name, tooltip="In the first image, in degrees.")
            for name in ANGLES
        ),
    ]
