"""Faces cut out upright, and put back after something was done to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfy_api.latest import io

from ..images import as_rgb, channels_last, checked_mask
from ..sockets import FacesSocket, FoundFaces

if TYPE_CHECKING:
    from torch import Tensor

CATEGORY = "face/analysis"


class CropFace(io.ComfyNode):
    """Images and their faces -> upright squares."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_CropFace",
            display_name="Crop Face",
            category=CATEGORY,
            description="Cuts every face out as an upright square of the size you want, whatever "
            "its size and tilt in the image. Paste Face puts the changed face back.",
            search_aliases=["align face", "face crop", "FFHQ crop", "face detailer", "zoom face"],
            inputs=[
                FacesSocket.Input("faces", tooltip="From Detect Faces."),
                io.Image.Input(
                    "image",
                    tooltip="The images in which the faces were found: from Detect Faces.",
                ),
                io.Int.Input(
                    "size",
                    default=512,
                    min=16,
                    max=4096,
                    step=8,
                    tooltip="Side of the crops in pixels: what your model draws best, 128 for the "
                    "tiny world.",
                ),
                io.Float.Input(
                    "padding",
                    default=0.25,
                    min=-0.4,
                    max=4.0,
                    step=0.01,
                    tooltip="More of the surroundings on each side, as a share of the square from "
                    "forehead to chin. 0.25 takes in the whole head.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    "crops", display_name="crops", tooltip="One for each face, image by image."
                ),
                FacesSocket.Output(
                    "faces",
                    display_name="faces",
                    tooltip="The faces with their places: for Paste Face.",
                ),
            ],
        )

    @classmethod
    def execute(cls, faces: FoundFaces, image: Tensor, size: int, padding: float) -> io.NodeOutput:
        from ...faces.crops.batch import crop_faces

        images = as_rgb(image, "Crop Face")
        found = faces.for_batch(len(images), "Crop Face")
        crops, places = crop_faces(list(images), found, size, padding)
        if not len(crops):
            # The host has no batch of nothing: a black image that Paste Face takes no notice of.
            crops = images.new_zeros(1, 3, size, size)
        placed = FoundFaces(found, faces.numbered(len(images)), places)
        return io.NodeOutput(channels_last(crops.clamp(0, 1)), placed)


class PasteFace(io.ComfyNode):
    """Changed crops -> back into their images."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_PasteFace",
            display_name="Paste Face",
            category=CATEGORY,
            description="Puts changed crops back to where Crop Face took them from. Outside them "
            "every pixel stays as it is, to the last bit.",
            search_aliases=["paste back", "uncrop", "face stitch", "blend face", "composite"],
            inputs=[
                io.Image.Input("image", tooltip="The images that the faces were cut out of."),
                io.Image.Input(
                    "crops",
                    tooltip="The changed crops, of any size, in the order of Crop Face. Several "
                    "for the one face of one image give several images.",
                ),
                FacesSocket.Input("faces", tooltip="From Crop Face."),
                io.Float.Input(
                    "feather",
                    default=0.06,
                    min=0.0,
                    max=0.25,
                    step=0.01,
                    tooltip="Width of the soft edge inside the crop, as a share of its side. A "
                    "seam is seen: more.",
                ),
                io.Boolean.Input(
                    "match_colours",
                    default=False,
                    tooltip="Bring the crop's colours to the image's, judged by what stays of "
                    "the image. For models that tint what they draw.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="White = the new face, on the crop: from Mask from Faces, one a crop. "
                    "Without it the whole crop is new.",
                ),
            ],
            outputs=[
                io.Image.Output("image", display_name="image", tooltip="The finished images.")
            ],
        )

    @classmethod
    def execute(
        cls,
        image: Tensor,
        crops: Tensor,
        faces: FoundFaces,
        feather: float,
        match_colours: bool,
        mask: Tensor | None = None,
    ) -> io.NodeOutput:
        import torch

        from ...faces.crops.batch import paste_crops

        places = faces.require_places("Paste Face")
        images = as_rgb(image, "Paste Face")
        done = paste_crops(
            images,
            as_rgb(crops, "Paste Face"),
            places,
            None if mask is None else checked_mask(mask, "Paste Face").float(),
            soft=feather,
            match_colours=match_colours,
        )
        result = done.movedim(1, -1)
        if image.shape[-1] > 3:
            rest = image[..., 3:].expand(len(result), -1, -1, -1)
            result = torch.cat([result, rest.to(result)], -1)
        return io.NodeOutput(result)
