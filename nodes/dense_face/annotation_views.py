"""Annotations as images, masks, landmarks and files."""

from __future__ import annotations

import torch
from comfy_api.latest import io
from torch import Tensor

from ...errors import InputError
from ...faces.parts import PART_NAMES
from ..images import channels_first, channels_last, preview_image
from ..inputs import between, choice, feather_pixels, output
from ..sockets import AnnotationsSocket, ImageAnnotations

CATEGORY = "face/dense_face"
FACE = "face"
VIEWS = "Annotation Images"
FaceLandmarks = io.Custom("FACE_LANDMARKS")
_DIMMED = 0.25
"""What is left of the other parts' brightness in the preview of Part Mask."""
FROM_TIP = "From Annotate Image or Sample with Annotations."


class AnnotationImages(io.ComfyNode):
    """Annotations -> depth, parts and landmarks in the host's own types."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_AnnotationPictures",
            display_name=VIEWS,
            category=CATEGORY,
            description="Shows depth, face parts and landmarks side by side, and outputs them as "
            "images, mask and landmarks.",
            search_aliases=[
                "preview depth",
                "preview parts",
                "preview landmarks",
                "face mesh",
                "annotation pictures",
            ],
            is_output_node=True,
            inputs=[
                AnnotationsSocket.Input("annotations", tooltip=FROM_TIP),
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip="The images to draw the landmarks on; grey without them.",
                ),
            ],
            outputs=[
                output(
                    io.Image,
                    "preview",
                    "Landmarks, depth and parts side by side, one row per image.",
                ),
                output(
                    io.Image,
                    "depth",
                    "White = near; contrast stretched over the face of each image.",
                ),
                output(
                    io.Image,
                    "raw_depth",
                    "Unstretched: 0 nearest, 1 background, comparable between images.",
                ),
                output(io.Image, "parts", "One colour for each of the ten classes."),
                output(io.Mask, "face", "White = the face, from brows to chin."),
                output(
                    FaceLandmarks,
                    "landmarks",
                    "One face per image, for nodes that take FACE_LANDMARKS.",
                ),
            ],
        )

    @classmethod
    def execute(cls, annotations: ImageAnnotations, image: Tensor | None = None) -> io.NodeOutput:
        from ...dense_face.annotation.annotations import resized
        from ...dense_face.annotation.legend import with_names
        from ...dense_face.annotation.views import depth_view, landmarks_value, parts_view, preview

        seen, size = annotations.seen, annotations.image_size
        height, width = size[1], size[0]
        drawn = None if image is None else channels_first(image, VIEWS)
        if drawn is not None and len(drawn) not in (1, len(seen)):
            raise InputError(
                f"the annotations are those of {len(seen)} images, {len(drawn)} are connected",
                where=VIEWS,
                fix="Connect the images that were annotated, or one for all",
            )
        shown = preview(seen, drawn, size)
        raw = resized((seen.depth + 1) / 2, height, width).clamp(0, 1)
        return io.NodeOutput(
            channels_last(shown),
            channels_last(depth_view(seen, size)),
            channels_last(raw[:, None].expand(-1, 3, -1, -1)),
            channels_last(parts_view(seen, size)),
            resized(seen.face, height, width),
            landmarks_value(seen, size),
            ui=preview_image(channels_last(with_names(shown)), cls),
        )


class PartMask(io.ComfyNode):
    """Annotations -> masks of one part or of the whole face."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_PartMask",
            display_name="Part Mask",
            category=CATEGORY,
            description="Makes a mask of the face, or of one part of it, from annotations.",
            search_aliases=["face mask", "eye mask", "mouth mask", "segmentation mask"],
            is_output_node=True,
            inputs=[
                AnnotationsSocket.Input("annotations", tooltip=FROM_TIP),
                choice(
                    "part",
                    [FACE, *PART_NAMES],
                    "face: all parts together. Left and right are the person's own.",
                ),
                io.Float.Input(
                    "threshold",
                    **between(0.0, 1.0, step=0.01, default=0.5),
                    tooltip="Pixels of at least this probability are white; 0 gives the "
                    "probability itself.",
                ),
                feather_pixels(),
            ],
            outputs=[output(io.Mask, "mask", "White = this part.")],
        )

    @classmethod
    def execute(
        cls, annotations: ImageAnnotations, part: str, threshold: float, feather: float
    ) -> io.NodeOutput:
        from ...dense_face.annotation.annotations import resized
        from ...dense_face.annotation.legend import with_names
        from ...dense_face.annotation.views import parts_view
        from ...faces.masks import compositing

        seen = annotations.seen
        width, height = annotations.image_size
        mask = resized(seen.face if part == FACE else seen.part(part), height, width)
        if threshold > 0:
            mask = (mask >= threshold).float()
        mask = compositing.feather(mask[:, None], feather)
        lit = PART_NAMES[1:] if part == FACE else (part,)
        parts = parts_view(seen, annotations.image_size)
        shown = with_names(torch.lerp(_DIMMED * parts, parts, mask), lit)
        return io.NodeOutput(mask[:, 0], ui=preview_image(channels_last(shown), cls))


class SaveAnnotations(io.ComfyNode):
    """Annotations -> files in the output folder."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_SaveAnnotations",
            display_name="Save Annotations",
            category=CATEGORY,
            description="Saves annotations in the output folder: for each image depth as 16-bit "
            "PNG, parts as PNG in the data set's colours, landmarks as CSV.",
            search_aliases=["export depth", "export landmarks", "export segmentation"],
            is_output_node=True,
            inputs=[
                AnnotationsSocket.Input("annotations", tooltip=FROM_TIP),
                io.String.Input(
                    "filename_prefix",
                    default="annotations/face",
                    tooltip="Subfolder of the output folder, and start of the files' names.",
                ),
            ],
            outputs=[],
        )

    @classmethod
    def validate_inputs(cls, filename_prefix: str | None = None) -> bool | str:
        from ..host.folders import usable_name

        return usable_name("", filename_prefix, "Save Annotations")

    @classmethod
    def execute(cls, annotations: ImageAnnotations, filename_prefix: str) -> io.NodeOutput:
        from ...dense_face.annotation.views import write_annotations
        from ..host.execution import stepped, steps
        from ..host.folders import output_path

        width, height = annotations.image_size
        count = len(annotations.seen)
        for number in stepped(range(count), steps(count)):
            stem = output_path(filename_prefix, width, height, "_landmarks.csv", "Save Annotations")
            write_annotations(annotations.seen, number, stem)
        return io.NodeOutput()
