"""Finding the faces of a batch: which of them are meant, and what happens where there are none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfy_api.latest import io, ui

from ...errors import InputError
from ..images import channels_last
from ..sockets import AnalyzerSocket, FacesSocket, FoundFaces, LoadedAnalyzer

if TYPE_CHECKING:
    from torch import Tensor

CATEGORY = "face/analysis"
ALL = -1
NAME = "Detect Faces"


class DetectFaces(io.ComfyNode):
    """Images -> the faces in them."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_DetectFaces",
            display_name=NAME,
            category=CATEGORY,
            description="Finds the faces in one or more images, numbers them and hands on those "
            "that you want. Says for each image what was found.",
            search_aliases=["face detection", "find face", "face index", "several people", "bbox"],
            inputs=[
                AnalyzerSocket.Input(
                    "analyzer", tooltip="From Load Face Analyzer or Load Tiny-World Analyzer."
                ),
                io.Image.Input("image", tooltip="One or more images with any number of faces."),
                io.Combo.Input(
                    "order",
                    options=["left to right", "top to bottom", "largest first"],
                    default="left to right",
                    tooltip="How the faces of an image are counted, from 0. The preview shows the "
                    "numbers.",
                ),
                io.Int.Input(
                    "face_index",
                    default=ALL,
                    min=ALL,
                    max=255,
                    tooltip="Only the face with this number; -1 takes all. Counted before the two "
                    "limits below leave any out.",
                ),
                io.Float.Input(
                    "min_score",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Leave out faces that the analyzer is less sure of.",
                ),
                io.Int.Input(
                    "min_size",
                    default=0,
                    min=0,
                    max=16384,
                    tooltip="Leave out faces whose box is smaller than this, in pixels.",
                ),
                io.Combo.Input(
                    "on_missing",
                    options=["error", "skip", "pass through"],
                    default="error",
                    tooltip="An image without such a face, or one that is broken - error: stop "
                    "and say which. skip: leave it out; if none is left, what follows does not "
                    "run. pass through: keep it, without a face.",
                ),
                io.Boolean.Input(
                    "retry",
                    default=True,
                    tooltip="If nothing is found, look again with a border around the image: "
                    "finds faces that fill the frame.",
                ),
            ],
            outputs=[
                FacesSocket.Output(
                    "faces", display_name="faces", tooltip="For Crop Face and other nodes on faces."
                ),
                io.Int.Output("count", display_name="count", tooltip="Number of faces handed on."),
                io.Image.Output(
                    "preview",
                    display_name="preview",
                    tooltip="All faces, numbered; those left out are grey.",
                ),
                io.Image.Output(
                    "image",
                    display_name="image",
                    tooltip="The images that the faces belong to: without the skipped ones.",
                ),
                io.String.Output(
                    "report",
                    display_name="report",
                    tooltip="What was found, and which image has which trouble.",
                ),
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
        import torch

        from ...faces.detection import FaceSelection, detect_faces, remaining, report
        from ...faces.drawing import preview
        from ..host.blocking import blocked
        from ..host.progress import steps

        if image.numel() == 0:
            raise InputError("the image is empty", where=NAME, fix="Connect an image")
        index = None if face_index == ALL else face_index
        wanted = FaceSelection(order, index, min_score, min_size, retry)
        images = image.movedim(-1, 1)
        detections = detect_faces(analyzer, images, wanted, steps(len(images)))
        kept = remaining(detections, on_missing, NAME)
        faces = FoundFaces(
            tuple(tuple(detections[i].faces[k] for k in detections[i].chosen) for i in kept),
            tuple(detections[i].chosen for i in kept),
        )
        count = sum(len(detections[i].chosen) for i in kept)
        drawn = [preview(p, k.faces, k.chosen) for p, k in zip(images, detections, strict=True)]
        shown = channels_last(torch.stack(drawn))
        # Without a skipped image the very same tensor goes on.
        left = image if len(kept) == len(detections) else image[kept]
        return io.NodeOutput(
            faces if kept else blocked(),
            count,
            shown,
            left if kept else blocked(),
            report(detections),
            ui=ui.PreviewImage(shown, cls=cls),
        )
