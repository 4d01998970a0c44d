"""Faces without an analyzer: typed in, or converted from values of the host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ...errors import InputError
from ..inputs import ANGLES, angle, output
from ..sockets import AnalyzerSocket, FacesSocket, FoundFaces, LoadedAnalyzer

if TYPE_CHECKING:
    from ...faces.face import Face

CATEGORY = "face/analysis"
_FACES_TIP = "For Encode Identity, Crop Face, Mask from Faces and Head Pose of Faces."
_MAX_PIXELS = 16384


def _output() -> Any:
    return output(FacesSocket, "faces", _FACES_TIP)


class FacesByHand(io.ComfyNode):
    """Typed numbers -> a face."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        def pixels(name: str, tooltip: str) -> Any:
            return io.Int.Input(name, default=0, min=-_MAX_PIXELS, max=_MAX_PIXELS, tooltip=tooltip)

        return io.Schema(
            node_id="DenseFace_FacesByHand",
            display_name="Faces by Hand",
            category=CATEGORY,
            description="Enters a face by hand, for when there is no analyzer or it finds nothing: "
            "a box or five points. One face, the same for all images of the batch.",
            search_aliases=["manual face", "keypoints", "face box", "no detector"],
            inputs=[
                io.Image.Input("image", tooltip="The images that the numbers refer to."),
                pixels("x", "Left edge of the box in pixels."),
                pixels("y", "Upper edge of the box in pixels."),
                pixels("width", "Width of the box in pixels; 0 = computed from the five points."),
                pixels("height", "Height of the box in pixels; 0 = computed from the five points."),
                io.String.Input(
                    "five_points",
                    default="",
                    tooltip="Ten numbers, x and y in pixels of left eye, right eye, tip of the "
                    "nose, left and right mouth corner (left and right as you see them). Needed to "
                    "encode an identity or to crop upright. Empty: only the box.",
                ),
                io.Boolean.Input(
                    "pose_known", default=False, tooltip="Whether to use the three angles below."
                ),
                *map(angle, ANGLES),
            ],
            outputs=[_output()],
        )

    @classmethod
    def execute(
        cls,
        image: Tensor,
        x: int,
        y: int,
        width: int,
        height: int,
        five_points: str,
        pose_known: bool,
        yaw: float,
        pitch: float,
        roll: float,
    ) -> io.NodeOutput:
        from ...faces.analyzers import manual_face
        from ...faces.face import HeadPose
        from ...faces.head_pose import xyz_to_zyx

        box = None
        if width or height:
            box = (float(x), float(y), float(x + width), float(y + height))
        five = parse_points(five_points)
        pose = xyz_to_zyx(HeadPose(yaw, pitch, roll)) if pose_known else None
        face = manual_face(_size_of(image), box=box, five=five, pose=pose)
        return io.NodeOutput(FoundFaces(((face,),) * len(image)))


class FacesFromLandmarks(io.ComfyNode):
    """The host's FACE_LANDMARKS -> faces."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_FacesFromLandmarks",
            display_name="Faces from Face Landmarks",
            category=CATEGORY,
            description="Converts the result of ComfyUI's own Detect Face Landmarks (MediaPipe): "
            "478 landmarks, expression, head pose.",
            search_aliases=["FACE_LANDMARKS", "mediapipe to faces", "convert landmarks"],
            inputs=[
                io.Custom("FACE_LANDMARKS").Input(
                    "face_landmarks", tooltip="From Detect Face Landmarks (MediaPipe)."
                )
            ],
            outputs=[_output()],
        )

    @classmethod
    def execute(cls, face_landmarks: Any) -> io.NodeOutput:
        from ...faces.foreign_values import faces_from_landmarks

        return io.NodeOutput(_found(faces_from_landmarks(face_landmarks)))


class FacesFromBoxes(io.ComfyNode):
    """BOUNDING_BOX -> faces."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_FacesFromBoxes",
            display_name="Faces from Bounding Boxes",
            category=CATEGORY,
            description="Converts boxes from other nodes, or drawn by hand. With an analyzer the "
            "face in each box is detected, with its landmarks and pose.",
            search_aliases=["BOUNDING_BOX", "bbox to faces", "convert boxes"],
            inputs=[
                io.Custom("BOUNDING_BOX").Input(
                    "bboxes",
                    tooltip="One box, or a list of boxes for each image.",
                    # A socket, even where the frontend has a widget for this type.
                    extra_dict={"forceInput": True},
                ),
                io.Image.Input("image", tooltip="The images that the boxes belong to."),
                AnalyzerSocket.Input(
                    "analyzer",
                    optional=True,
                    tooltip="Detects the face in each box. A box in which it finds none stays a "
                    "plain box.",
                ),
            ],
            outputs=[_output()],
        )

    @classmethod
    def execute(
        cls, bboxes: Any, image: Tensor, analyzer: LoadedAnalyzer | None = None
    ) -> io.NodeOutput:
        from ...faces.foreign_values import faces_from_boxes

        found = faces_from_boxes(bboxes, _size_of(image), len(image))
        if analyzer is None:
            return io.NodeOutput(_found(found))
        from ...faces.crops.box_faces import detect_in_boxes
        from ..host.execution import steps

        step = steps(len(image))
        detected = []
        for each, faces in zip(image.movedim(-1, 1), found, strict=True):
            detected.append(detect_in_boxes(analyzer, each, faces))
            step()
        return io.NodeOutput(_found(detected))


def parse_points(text: str) -> Tensor | None:
    """Five points [5, 2] in pixels from ten numbers; None for an empty text.

    Raises:
        InputError: The text does not hold ten numbers.
    """
    words = text.replace(",", " ").replace(";", " ").split()
    if not words:
        return None
    try:
        numbers = [float(word) for word in words]
    except ValueError as error:
        raise InputError(f"the points {text!r} are not numbers", fix=_TEN) from error
    if len(numbers) != 10:
        raise InputError(f"five points are ten numbers, {len(numbers)} were given", fix=_TEN)
    return torch.tensor(numbers).reshape(5, 2)


_TEN = "Type x, y of eye, eye, nose, mouth corner, mouth corner"


def _size_of(image: Tensor) -> tuple[int, int]:
    if image.numel() == 0:
        raise InputError("the image is empty", fix="Connect an image")
    return int(image.shape[2]), int(image.shape[1])


def _found(images: list[list[Face]]) -> FoundFaces:
    return FoundFaces(tuple(tuple(faces) for faces in images))
