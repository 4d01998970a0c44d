"""Faces cropped upright, and pasted back after editing."""

from __future__ import annotations

import torch
from comfy_api.latest import io
from torch import Tensor

from ..images import as_rgb, channels_last, checked_mask
from ..inputs import between, output
from ..sockets import FacesSocket, FoundFaces

CATEGORY = "face/analysis"


class CropFace(io.ComfyNode):
    """Images and their faces -> upright square crops."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_CropFace",
            display_name="Crop Face",
            category=CATEGORY,
            description="Crops every face to an upright square of the given size, whatever its "
            "size and tilt in the image. Paste Face pastes the edited crop back.",
            search_aliases=[
                "align face",
                "face crop",
                "FFHQ crop",
                "face detailer",
                "zoom face",
                "adetailer",
                "fix face",
                "close-up",
                "crop head",
            ],
            inputs=[
                FacesSocket.Input("faces", tooltip="From Detect Faces."),
                io.Image.Input(
                    "image",
                    tooltip="The images that the faces were detected in: from Detect Faces.",
                ),
                io.Int.Input(
                    "size",
                    **between(16, 4096, step=8, default=512),
                    tooltip="Side of the crops in pixels: the size your model works best at, 128 "
                    "for the tiny world.",
                ),
                io.Float.Input(
                    "padding",
                    **between(-0.4, 4.0, step=0.01, default=0.25),
                    tooltip="Extra surroundings on each side, as a fraction of the square from "
                    "forehead to chin. 0.25 includes the whole head.",
                ),
            ],
            outputs=[
                output(io.Image, "crops", "One per face, image by image."),
                output(
                    FacesSocket,
                    "faces",
                    "The faces with the places of their crops: for Paste Face.",
                ),
            ],
        )

    @classmethod
    def execute(cls, faces: FoundFaces, image: Tensor, size: int, padding: float) -> io.NodeOutput:
        from ...faces.crops.batch import crop_faces
        from ..host.execution import stepped, steps
        from ..host.memory import require_room

        images = as_rgb(image, "Crop Face")
        found = faces.for_batch(len(images), "Crop Face")
        require_room(sum(map(len, found)), size, size, "Crop Face")
        each = stepped(found, steps(len(found)))
        crops, places = crop_faces(list(images), each, size, padding)
        if not len(crops):
            # The host has no empty batch; Paste Face ignores this black image.
            crops = images.new_zeros(1, 3, size, size)
        placed = FoundFaces(found, faces.numbered(len(images)), places)
        return io.NodeOutput(channels_last(crops.clamp(0, 1)), placed)


class PasteFace(io.ComfyNode):
    """Edited crops -> images with the crops pasted back."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_PasteFace",
            display_name="Paste Face",
            category=CATEGORY,
            description="Pastes edited crops back to where Crop Face took them from. Pixels "
            "outside the crops do not change, to the last bit.",
            search_aliases=[
                "paste back",
                "uncrop",
                "face stitch",
                "blend face",
                "composite",
                "face swap",
                "swap face",
                "reactor",
                "stitch face",
                "faceswap",
            ],
            inputs=[
                io.Image.Input("image", tooltip="The images that the crops were taken from."),
                io.Image.Input(
                    "crops",
                    tooltip="The edited crops, of any size, in the order of Crop Face. Several "
                    "crops for the only face of a single image give several images.",
                ),
                FacesSocket.Input("faces", tooltip="From Crop Face."),
                io.Float.Input(
                    "feather",
                    **between(0.0, 0.25, step=0.01, default=0.06),
                    tooltip="Width of the soft edge inside the crop, as a fraction of its side. "
                    "Raise it if a seam shows.",
                ),
                io.Boolean.Input(
                    "match_colours",
                    default=False,
                    tooltip="Match the crop's colours to the image's, measured where the image is "
                    "kept. For models that shift colours.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="White = the new face, one mask per crop: from Mask from Faces. "
                    "Without it the whole crop is pasted.",
                ),
            ],
            outputs=[output(io.Image, "image", "The finished images.")],
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
        from ...faces.crops.batch import paste_crops
        from ..host.execution import steps
        from ..host.memory import require_room

        places = faces.require_places("Paste Face")
        images = as_rgb(image, "Paste Face")
        several = len(crops) if len(places) == sum(map(len, places)) == 1 else 1
        count = max(len(images), len(places), several)
        require_room(count, images.shape[-2], images.shape[-1], "Paste Face")
        done = paste_crops(
            images,
            as_rgb(crops, "Paste Face"),
            places,
            None if mask is None else checked_mask(mask, "Paste Face"),
            soft=feather,
            match_colours=match_colours,
            on_image=steps(count),
        )
        result = done.movedim(1, -1)
        if image.shape[-1] > 3:
            rest = image[..., 3:].expand(len(result), -1, -1, -1)
            result = torch.cat([result, rest.to(result)], -1)
        return io.NodeOutput(result)
