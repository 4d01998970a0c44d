"""Detected faces as masks and drawn into images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfy_api.latest import io

from ...errors import InputError
from ..images import channels_first, channels_last
from ..inputs import feather_pixels
from ..sockets import FacesSocket, FoundFaces

if TYPE_CHECKING:
    from torch import Tensor

CATEGORY = "face/analysis"
EACH_IMAGE, EACH_FACE, EACH_CROP = "a picture", "a face", "a crop"
#: The node's switches, and the regions of ``faces.masks.landmark_regions`` they select.
REGIONS = {
    "face": ("face",),
    "eyes": ("eye_left", "eye_right"),
    "brows": ("brow_left", "brow_right"),
    "nose": ("nose",),
    "mouth": ("mouth",),
}
MASK = "Mask from Faces"


class MaskFaces(io.ComfyNode):
    """Faces -> masks of the faces or of parts of them."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_MaskFaces",
            display_name=MASK,
            category=CATEGORY,
            description="Masks faces, or parts of them, by their landmarks: for inpainting and for "
            "Paste Face. For the whole head with hair use Face Mask.",
            search_aliases=["face mask", "eye mask", "mouth mask", "face parts", "landmark mask"],
            inputs=[
                FacesSocket.Input("faces", tooltip="From Detect Faces, or from Crop Face."),
                io.Image.Input(
                    "image",
                    tooltip="The images that the faces were detected in; only their size is used.",
                ),
                io.Combo.Input(
                    "one_for",
                    options=[EACH_IMAGE, EACH_FACE, EACH_CROP],
                    default=EACH_IMAGE,
                    tooltip="a picture: one mask per image with all its faces. a face: one mask of "
                    "the image's size per face. a crop: one mask per crop (connect the faces of "
                    "Crop Face).",
                ),
                io.Boolean.Input(
                    "face",
                    default=True,
                    tooltip="The whole face: down from the forehead with the landmarker's 478 "
                    "landmarks, from the brows with 68.",
                ),
                io.Boolean.Input("eyes", default=False, tooltip="Both eyes, between the lids."),
                io.Boolean.Input("brows", default=False, tooltip="Both brows."),
                io.Boolean.Input("nose", default=False, tooltip="From the bridge to the nostrils."),
                io.Boolean.Input(
                    "mouth", default=False, tooltip="The lips and everything between them."
                ),
                io.Float.Input(
                    "grow",
                    default=0.0,
                    min=-0.5,
                    max=2.0,
                    step=0.01,
                    tooltip="Margin around each part as a fraction of the face's size; negative "
                    "values shrink it.",
                ),
                feather_pixels(),
            ],
            outputs=[
                io.Mask.Output(
                    "mask",
                    display_name="mask",
                    tooltip="White = the face; all black without a face.",
                )
            ],
        )

    @classmethod
    def execute(
        cls,
        faces: FoundFaces,
        image: Tensor,
        one_for: str,
        grow: float,
        feather: float,
        **switches: bool,
    ) -> io.NodeOutput:
        import torch

        from ...faces.masks.region_mask import region_mask

        regions = [name for key, names in REGIONS.items() if switches[key] for name in names]
        if not regions:
            raise InputError("no part of the face was chosen", where=MASK, fix="Switch one on")
        height, width = image.shape[1:3]
        images = faces.for_batch(len(image), MASK)
        for face in sum(images, ()):
            face.require_size(width, height)
        if one_for == EACH_CROP:
            places = faces.require_places(MASK)
            pairs = zip(sum(images, ()), sum(places, ()), strict=True)
        else:
            pairs = ((face, None) for face in sum(images, ()))
        masks = [
            region_mask(face, regions, grow=grow, feather=feather, place=place)
            for face, place in pairs
        ]
        nothing = torch.zeros(height, width)
        if one_for == EACH_IMAGE:
            each = iter(masks)
            masks = [_together([next(each) for _ in found], nothing) for found in images]
        return io.NodeOutput(torch.stack(masks or [nothing]))


class DrawFaces(io.ComfyNode):
    """Images and their faces -> images with boxes, landmarks and axes."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_DrawFaces",
            display_name="Draw Faces",
            category=CATEGORY,
            description="Draws detected faces into the images: boxes, numbers, landmarks and head "
            "axes, to see what the analyzer found.",
            search_aliases=["show landmarks", "face boxes", "pose axes", "face mesh preview"],
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
            outputs=[
                io.Image.Output(
                    "image", display_name="image", tooltip="The images with the drawings."
                )
            ],
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
        import torch

        from ...faces.drawing import DrawOptions, draw_faces

        images = channels_first(image, "Draw Faces")
        count = len(images)
        found, names = faces.for_batch(count, "Draw Faces"), faces.numbered(count)
        show = DrawOptions(boxes, numbers, landmarks, pose)
        for face in sum(found, ()):
            face.require_size(image.shape[2], image.shape[1])
        drawn = [
            draw_faces(each, some, called, show)
            for each, some, called in zip(images, found, names, strict=True)
        ]
        return io.NodeOutput(channels_last(torch.stack(drawn)))


def _together(masks: list[Tensor], nothing: Tensor) -> Tensor:
    """The union of masks [H, W]."""
    import torch

    return torch.stack([nothing, *masks]).amax(0)
