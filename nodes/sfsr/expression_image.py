"""The expression on an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfy_api.latest import io

from ..analysis.chosen_face import chosen, detections_of, index_input
from ..sockets import AnalyzerSocket, Expressions, FacesSocket, FoundFaces, LoadedAnalyzer
from .expression_word import expression_output
from .heads import with_heads
from .sockets import CATEGORY

if TYPE_CHECKING:
    from torch import Tensor

NAME, OF_FACES = "Expression from Image", "Expression of Faces"


class ExpressionFromImage(io.ComfyNode):
    """Images -> the expression in each."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SFSR_ExpressionFromPicture",
            display_name=NAME,
            category=CATEGORY,
            description="Reads the expression from a photo, to give it to somebody else. Only the "
            "facial movement is read, not the identity.",
            search_aliases=[
                "copy expression",
                "reenactment",
                "blendshapes from image",
                "emotion",
                "same expression",
                "photo face",
            ],
            is_output_node=True,
            inputs=[
                AnalyzerSocket.Input(
                    "analyzer",
                    tooltip="Measures the expression: the landmarker or the tiny world's analyzer. "
                    "InsightFace measures no expressions.",
                ),
                io.Image.Input("image", tooltip="One or more images, each with a face."),
                index_input(),
            ],
            outputs=[expression_output("The expression in each image.")],
        )

    @classmethod
    def execute(cls, analyzer: LoadedAnalyzer, image: Tensor, face_index: int = 0) -> io.NodeOutput:
        from ...faces.detection import ERROR, remaining
        from ...sfsr.expression import from_face

        detections = detections_of(analyzer, image, face_index, NAME)
        remaining(detections, ERROR, NAME)
        codes = tuple(from_face(chosen(detection)) for detection in detections)
        return with_heads(cls, Expressions(codes))


class ExpressionOfFaces(io.ComfyNode):
    """Faces -> the expression of each."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SFSR_ExpressionOfFaces",
            display_name=OF_FACES,
            category=CATEGORY,
            description="Reads the expression from faces that were found already: by Detect Faces, "
            "or by the host's own face landmarks.",
            search_aliases=["blendshapes", "mediapipe blendshapes", "copy expression"],
            is_output_node=True,
            inputs=[
                FacesSocket.Input(
                    "faces", tooltip="From Detect Faces or Faces from Face Landmarks."
                ),
                index_input(),
            ],
            outputs=[expression_output("The expression in each image.")],
        )

    @classmethod
    def execute(cls, faces: FoundFaces, face_index: int = 0) -> io.NodeOutput:
        from ...faces.face import pick
        from ...sfsr.expression import from_face

        picked = [pick(list(found), face_index) for found in faces.images]
        return with_heads(cls, Expressions(tuple(from_face(face) for face in picked)))
