"""Detecting faces in a batch of images, choosing among them, and drawing them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from comfy_api.latest import io
from torch import Tensor

from ...errors import InputError
from ..images import channels_first, channels_last, preview_image
from ..inputs import ANALYZER_TIP, between, choice, output
from ..sockets import AnalyzerSocket, FacesSocket, FoundFaces, LoadedAnalyzer

if TYPE_CHECKING:
    from ...faces.detection import Detection

CATEGORY = "face/analysis"
ALL = -1
NAME, DRAW = "Detect Faces", "Draw Faces"


class DetectFaces(io.ComfyNode):
    """Images -> the faces in them."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_DetectFaces",
            display_name=NAME,
            category=CATEGORY,
            description="Detects the faces in one or more images, numbers them and outputs the "
            "ones you choose, with a report on each image.",
            search_aliases=[
                "face detection",
                "find face",
                "face index",
                "several people",
                "bbox",
                "photo face",
                "choose face",
                "group photo",
                "which face",
            ],
            is_output_node=True,
            inputs=[
                AnalyzerSocket.Input("analyzer", tooltip=ANALYZER_TIP),
                io.Image.Input("image", tooltip="One or more images with any number of faces."),
                choice(
                    "order",
                    ["left to right", "top to bottom", "largest first"],
                    "How the faces of an image are numbered, from 0; the preview shows the "
                    "numbers.",
                ),
                io.Int.Input(
                    "face_index",
                    **between(ALL, 255, default=ALL),
                    tooltip="Only the face with this number; -1 takes all. Faces are numbered "
                    "before the two limits below are applied.",
                ),
                io.Float.Input(
                    "min_score",
                    **between(0.0, 1.0, step=0.01, default=0.0),
                    tooltip="Ignore faces with a lower detection score.",
                ),
                io.Int.Input(
                    "min_size",
                    **between(0, 16384, default=0),
                    tooltip="Ignore faces whose box is smaller, in pixels along its longer side.",
                ),
                choice(
                    "on_missing",
                    ["error", "skip", "pass through"],
                    "For an image without such a face, or a broken one. error: stop and "
                    "name it. skip: drop it; if none is left, connected nodes do not run. pass "
                    "through: keep it, without a face.",
                ),
                io.Boolean.Input(
                    "retry",
                    default=True,
                    tooltip="If nothing is found, try again with a border around the image, which "
                    "finds faces that fill the frame.",
                ),
            ],
            outputs=[
                output(FacesSocket, "faces", "For Crop Face and the other face nodes."),
                output(io.Int, "count", "Number of faces in the output."),
                output(
                    io.Image, "preview", "All detected faces, numbered; those left out are grey."
                ),
                output(io.Image, "image", "The images of these faces, without the skipped ones."),
                output(io.String, "report", "What was found, and what is wrong with which image."),
            ],
        )

    @classmethod
    def execute(
        cls,
        analyzer: LoadedAnalyzer,
        image: Tensor,
        order: str,
        face_index: int,
        min_score: float,
        min_size: int,
        on_missing: str,
        retry: bool,
    ) -> io.NodeOutput:
        from ...faces.detection import FaceSelection, detect_faces, remaining, report
        from ...faces.drawing import preview
        from ..host.execution import blocked, steps

        if image.numel() == 0:
            raise InputError("the image is empty", where=NAME, fix="Connect an image")
        index = None if face_index == ALL else face_index
        selection = FaceSelection(order, index, min_score, min_size, retry)
        images = image.movedim(-1, 1)
        detections = detect_faces(analyzer, images, selection, steps(len(images)))
        kept = remaining(detections, on_missing, NAME)
        faces = FoundFaces(
            tuple(tuple(detections[i].faces[k] for k in detections[i].chosen) for i in kept),
            tuple(detections[i].chosen for i in kept),
        )
        count = sum(len(detections[i].chosen) for i in kept)
        drawn = [preview(p, k.faces, k.chosen) for p, k in zip(images, detections, strict=True)]
        shown = channels_last(torch.stack(drawn))
        # Without skipped images the tensor itself goes on, not a copy.
        left = image if len(kept) == len(detections) else image[kept]
        return io.NodeOutput(
            faces if kept else blocked(),
            count,
            shown,
            left if kept else blocked(),
            report(detections),
            ui=preview_image(shown, cls).as_dict() | {"face_boxes": [_boxes(detections[0], image)]},
        )


def _boxes(detection: Detection, image: Tensor) -> list[list[float]]:
    """Left, top, width, height of each face by number, as fractions of the image's width and
    height: for ``web/js/face_picker.js``, which shows a preview of another size.
    """
    height, width = image.shape[1:3]
    boxes = (face.box for face in detection.faces)
    return [
        [x / width, y / height, (right - x) / width, (bottom - y) / height]
        for x, y, right, bottom in boxes
    ]


class DrawFaces(io.ComfyNode):
    """Images and their faces -> images with boxes, landmarks and axes."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_DrawFaces",
            display_name=DRAW,
            category=CATEGORY,
            description="Draws detected faces into the images: boxes, numbers, landmarks and head "
            "axes, to see what the analyzer found.",
            search_aliases=["show landmarks", "face boxes", "pose axes", "face mesh preview"],
            is_output_node=True,
            inputs=[
                FacesSocket.Input("faces", tooltip="From Detect Faces."),
                io.Image.Input("image", tooltip="The images that the faces were detected in."),
                io.Boolean.Input("boxes", default=True, tooltip="A rectangle around each face."),
                io.Boolean.Input(
                    "numbers", default=True, tooltip="The number of each face, as in Detect Faces."
                ),
                io.Boolean.Input("landmarks", default=True, tooltip="A dot for each landmark."),
                io.Boolean.Input(
                    "pose",
                    default=True,
                    tooltip="The head's axes at the tip of the nose: red to the side, green down, "
                    "blue along the nose.",
                ),
            ],
            outputs=[output(io.Image, "image", "The images with the drawings.")],
        )

    @classmethod
    def execute(
        cls,
        faces: FoundFaces,
        image: Tensor,
        boxes: bool,
        numbers: bool,
        landmarks: bool,
        pose: bool,
    ) -> io.NodeOutput:
        from ...faces.drawing import DrawOptions, draw_faces
        from ..host.execution import stepped, steps

        images = channels_first(image, DRAW)
        count = len(images)
        found, names = faces.for_batch(count, DRAW), faces.numbered(count)
        show = DrawOptions(boxes, numbers, landmarks, pose)
        for face in sum(found, ()):
            face.require_size(image.shape[2], image.shape[1])
        drawn = [
            draw_faces(each, some, called, show)
            for each, some, called in stepped(zip(images, found, names, strict=True), steps(count))
        ]
        shown = channels_last(torch.stack(drawn))
        return io.NodeOutput(shown, ui=preview_image(shown, cls))
