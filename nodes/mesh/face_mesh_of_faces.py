"""Detected faces, as the MediaPipe-face ControlNet reads them."""

from __future__ import annotations

from comfy_api.latest import io
from torch import Tensor

from ...errors import InputError
from ..images import preview_image
from ..sockets import FacesSocket, FoundFaces
from .drawings import CATEGORY, drawn, outputs, scene_input, scenes_of

NAME = "Face Mesh of Faces"


class FaceMeshOfFaces(io.ComfyNode):
    """Faces -> their meshes as they are."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_FaceMeshOfFaces",
            display_name=NAME,
            category=CATEGORY,
            description="Draws detected faces for the MediaPipe-face ControlNet as they are in "
            "their image: pose, gaze, mouth and place are copied.",
            search_aliases=[
                "mediapipe face preprocessor",
                "face mesh annotator",
                "controlnet face",
                "copy pose",
            ],
            is_output_node=True,
            inputs=[
                FacesSocket.Input(
                    "faces",
                    tooltip="Detected by the landmarker, or from Faces from Face Landmarks. All "
                    "faces of an image are drawn.",
                ),
                scene_input("Images to show the meshes over in the preview."),
            ],
            outputs=outputs(faces=False),
        )

    @classmethod
    def execute(cls, faces: FoundFaces, scene: Tensor | None = None) -> io.NodeOutput:
        from ...faces.mesh.hint import draw_faces
        from ..host.execution import stepped, steps

        everyone = [face for found in faces.images for face in found]
        if not everyone:
            raise InputError("there are no faces", where=NAME, fix="Use an image with a face")
        size = everyone[0].image_size
        scenes = None if scene is None else scenes_of(scene, NAME)
        count = len(faces) if scenes is None else max(len(faces), len(scenes))
        if scenes is not None:
            everyone[0].require_size(scenes.shape[-1], scenes.shape[-2])
        hints, lines = [], []
        for found in stepped(faces.for_batch(count, NAME), steps(count)):
            hint, left_out = draw_faces(list(found), size)
            hints.append(hint)
            lines.append(_summary(len(found) - left_out, left_out))
        image, preview = drawn(hints, scenes, NAME)
        return io.NodeOutput(image, preview, "\n".join(lines), ui=preview_image(preview, cls))


def _summary(count: int, left_out: int) -> str:
    from ...faces.mesh.hint import SMALLEST_FACE

    text = f"{count} face{'' if count == 1 else 's'} drawn"
    return text + (f", {left_out} smaller than {SMALLEST_FACE} px left out" if left_out else "")
