"""Faces without an analyzer: typed in, or found by nodes of the host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from ...errors import InputError
from ..sockets import AnalyzerSocket, FacesSocket, FoundFaces, LoadedAnalyzer

if TYPE_CHECKING:
    from torch import Tensor

    from ...faces.face import Face

CATEGORY = "face/analysis"
_FACES_TIP = "For Encode Identity, Crop Face, Face Mask and Head Pose of Faces."
_MOST = 16384


def _output() -> Any:
    return FacesSocket.Output("faces", display_name="faces", tooltip=_FACES_TIP)


def _angle(name: str, sign: str) -> Any:
    return io.Float.Input(name, default=0.0, min=-90.0, max=90.0, step=0.5, tooltip=sign)


class FacesByHand(io.ComfyNode):
    """Numbers -> the face in an image."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        def pixels(name: str, tooltip: str) -> Any:
            return io.Int.Input(name, default=0, min=-_MOST, max=_MOST, tooltip=tooltip)

        return io.Schema(
            node_id="DenseFace_FacesByHand",
            display_name="Faces by Hand",
            category=CATEGORY,
            description="Says where the face is when no analyzer is at hand or it finds nothing: "
            "a box, or five points. One face, the same for all images of the batch.",
            search_aliases=["manual face", "keypoints", "face box", "no detector"],
            inputs=[
                io.Image.Input("image", tooltip="The images that the numbers are for."),
                pixels("x", "Left edge of the box in pixels."),
                pixels("y", "Upper edge of the box in pixels."),
                pixels("width", "Of the box; 0 together with five points: made from these."),
                pixels("height", "Of the box; 0 together with five points: made from these."),
                io.String.Input(
                    "five_points",
                    default="",
                    tooltip="x, y in pixels of the eye at the left, the eye at the right, the tip "
                    "of the nose, the left and the right corner of the mouth, as you see them: ten "
                    "numbers. Needed to encode an identity or to crop upright; empty: only the "
                    "box.",
                ),
                io.Boolean.Input(
                    "pose_known", default=False, tooltip="Whether the three angles below count."
                ),
                _angle("yaw", "Degrees; above 0 turns the nose to the left of the image."),
                _angle("pitch", "Degrees; above 0 lifts the nose."),
                _angle("roll", "Degrees; above 0 turns the head clockwise as you see it."),
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
    """The host's face landmarks -> faces."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_FacesFromLandmarks",
            display_name="Faces from Face Landmarks",
            category=CATEGORY,
            description="Takes over what ComfyUI's own Detect Face Landmarks (MediaPipe) found: "
            "478 points, expression, head pose.",
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
    """Bounding boxes -> faces."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_FacesFromBoxes",
            display_name="Faces from Bounding Boxes",
            category=CATEGORY,
            description="Takes boxes that other nodes found or that you drew. With an analyzer "
            "each box is looked into, and what is found there has points and pose.",
            search_aliases=["BOUNDING_BOX", "bbox to faces", "convert boxes"],
            inputs=[
                io.Custom("BOUNDING_BOX").Input(
                    "bboxes",
                    tooltip="One box, or a list of boxes for each image.",
                    # A socket also where the frontend has a widget for the type.
                    extra_dict={"forceInput": True},
                ),
                io.Image.Input("image", tooltip="The images that the boxes belong to."),
                AnalyzerSocket.Input(
                    "analyzer",
                    optional=True,
                    tooltip="Looks into each box. A box in which it finds nothing stays a box.",
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
        from ..host.progress import steps

        step = steps(len(image))
        looked = []
        for each, faces in zip(image.movedim(-1, 1), found, strict=True):
            looked.append(detect_in_boxes(analyzer, each, faces))
            step()
        return io.NodeOutput(_found(looked))


def parse_points(text: str) -> Tensor | None:
    """Five points [5, 2] from ten numbers; None for an empty text.

    Raises:
        InputError: There are not ten numbers.
    """
    import torch

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
