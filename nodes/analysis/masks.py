"""Masks of heads, faces and their parts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from comfy_api.latest import io
from torch import Tensor
from torch.nn import functional as F

from ...errors import InputError
from ..images import channels_first, channels_last, checked_mask, common_count
from ..inputs import ANALYZER_TIP, between, choice, feather_pixels, output
from ..sockets import AnalyzerSocket, FacesSocket, FoundFaces, LoadedAnalyzer

CATEGORY = "face/analysis"
FACE_MASK, MASK_FACES, PASTE_MASK = "Face Mask", "Mask from Faces", "Paste Mask"
HEAD, FACE = "head with hair", "face"
EACH_IMAGE, EACH_FACE, EACH_CROP = "a picture", "a face", "a crop"
#: The node's switches, and the regions of ``faces.masks.landmark_regions`` they select.
REGIONS = {
    "face": ("face",),
    "eyes": ("eye_left", "eye_right"),
    "brows": ("brow_left", "brow_right"),
    "nose": ("nose",),
    "mouth": ("mouth",),
}


class FaceMask(io.ComfyNode):
    """Images -> masks of the head."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_FaceMask",
            display_name=FACE_MASK,
            category=CATEGORY,
            description="Masks the head, or only the face, in an image: white is redrawn, black is "
            "kept. For Set Latent Noise Mask and Composite Face.",
            search_aliases=[
                "face segmentation",
                "head mask",
                "face parsing",
                "segment face",
                "hair mask",
            ],
            inputs=[
                AnalyzerSocket.Input("analyzer", tooltip=ANALYZER_TIP),
                io.Image.Input("image", tooltip="The scene; one head per image."),
                choice(
                    "region",
                    [HEAD, FACE],
                    "head with hair: for another person or another pose. face: from brows "
                    "to chin; keeps the hair.",
                ),
                io.Float.Input(
                    "grow",
                    **between(-0.5, 2.0, step=0.01, default=0.12),
                    tooltip="Margin around the region as a fraction of its diameter; leaves room "
                    "for another hairstyle or a larger turn.",
                ),
                feather_pixels(),
            ],
            outputs=[output(io.Mask, "mask", "White = redraw; same size as the image.")],
        )

    @classmethod
    def execute(
        cls, analyzer: LoadedAnalyzer, image: Tensor, region: str, grow: float, feather: float
    ) -> io.NodeOutput:
        from ...faces.masks import compositing
        from ..host.execution import steps

        images = channels_first(image, FACE_MASK)
        masks = analyzer.masks(FACE_MASK, steps(len(images)))
        read = masks.head if region == HEAD else masks.face
        height, width = images.shape[-2:]
        mask, found = read(images, height, width, grow)
        _require_faces(found, FACE_MASK)
        return io.NodeOutput(compositing.feather(mask[:, None], feather)[:, 0])


class MaskFaces(io.ComfyNode):
    """Faces -> masks of the faces or of parts of them."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_MaskFaces",
            display_name=MASK_FACES,
            category=CATEGORY,
            description="Masks faces, or parts of them, by their landmarks: for inpainting and for "
            "Paste Face. For the whole head with hair use Face Mask.",
            search_aliases=[
                "face mask",
                "eye mask",
                "mouth mask",
                "face parts",
                "landmark mask",
                "face parsing",
                "lips mask",
            ],
            inputs=[
                FacesSocket.Input("faces", tooltip="From Detect Faces, or from Crop Face."),
                io.Image.Input(
                    "image",
                    tooltip="The images that the faces were detected in; only their size is used.",
                ),
                choice(
                    "one_for",
                    [EACH_IMAGE, EACH_FACE, EACH_CROP],
                    "a picture: one mask per image with all its faces. a face: one mask of "
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
                    **between(-0.5, 2.0, step=0.01, default=0.0),
                    tooltip="Margin around each part as a fraction of the face's size; negative "
                    "values shrink it.",
                ),
                feather_pixels(),
            ],
            outputs=[output(io.Mask, "mask", "White = the face; all black without a face.")],
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
        from ...faces.masks.region_mask import region_mask
        from ..host.execution import stepped, steps
        from ..host.memory import require_room

        regions = [name for key, names in REGIONS.items() if switches[key] for name in names]
        if not regions:
            raise InputError(
                "no part of the face was chosen", where=MASK_FACES, fix="Switch one on"
            )
        height, width = image.shape[1:3]
        images = faces.for_batch(len(image), MASK_FACES)
        for face in sum(images, ()):
            face.require_size(width, height)
        size = (height, width)
        if one_for == EACH_CROP:
            places = faces.require_places(MASK_FACES)
            sides = [place.size for some in places for place in some] or [0]
            size = (max(sides), max(sides))
            pairs = zip(sum(images, ()), sum(places, ()), strict=True)
        else:
            pairs = ((face, None) for face in sum(images, ()))
        count = sum(map(len, images))
        require_room(count, size[0], size[1], MASK_FACES, channels=1)
        masks = [
            region_mask(face, regions, grow=grow, feather=feather, place=place)
            for face, place in stepped(pairs, steps(count))
        ]
        nothing = torch.zeros(height, width)
        if one_for == EACH_IMAGE:
            each = iter(masks)
            masks = [_together([next(each) for _ in found], nothing) for found in images]
        return io.NodeOutput(torch.stack(masks or [nothing]))


class PasteMask(io.ComfyNode):
    """Scene, generated image and mask -> the new head's mask, the scene without the old head."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_PasteMask",
            display_name=PASTE_MASK,
            category=CATEGORY,
            description="Masks the new head within a redrawn region, and removes the old head from "
            "the scene by inpainting its place from the surroundings. Connect both outputs to "
            "Composite Face.",
            search_aliases=["tight mask", "paste back", "seam", "halo", "remove head"],
            inputs=[
                AnalyzerSocket.Input("analyzer", tooltip=ANALYZER_TIP),
                io.Image.Input("scene", tooltip="The original image; one head per image."),
                io.Image.Input("generated", tooltip="The image with the new head."),
                io.Mask.Input("mask", tooltip="White = redrawn; from Face Mask."),
                io.Float.Input(
                    "grow",
                    **between(-0.5, 2.0, step=0.01, default=0.03),
                    tooltip="Margin around the new head as a fraction of its diameter.",
                ),
            ],
            outputs=[
                output(io.Mask, "mask", "White = the new head. For Composite Face."),
                output(
                    io.Image,
                    "scene",
                    "The scene without the old head; the rest is unchanged, to the last "
                    "bit. For Composite Face.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls, analyzer: LoadedAnalyzer, scene: Tensor, generated: Tensor, mask: Tensor, grow: float
    ) -> io.NodeOutput:
        from ...faces.masks.head_swap import OLD_MARGIN, swap
        from ..host.execution import steps
        from ..host.memory import require_room

        old, new = (channels_first(image, PASTE_MASK) for image in (scene, generated))
        redrawn = checked_mask(mask, PASTE_MASK)[:, None]
        count = common_count(PASTE_MASK, scene=old, generated=new, mask=redrawn)
        require_room(count, old.shape[-2], old.shape[-1], PASTE_MASK)
        redrawn = F.interpolate(redrawn, old.shape[-2:], mode="bilinear")[:, 0]
        step, (height, width) = steps(len(old) + len(new) + count), old.shape[-2:]
        masks = analyzer.masks(PASTE_MASK, step)
        before = masks.head(old, height, width, OLD_MARGIN).mask
        after = masks.head(new, height, width, grow).mask
        without, heads = swap(
            old.expand(count, -1, -1, -1),
            before.expand(count, -1, -1),
            after.expand(count, -1, -1),
            redrawn.expand(count, -1, -1),
            step,
        )
        return io.NodeOutput(heads, channels_last(without))


def _require_faces(found: Sequence[bool], where: str) -> None:
    """Raise InputError, naming the images, unless every image shows a face."""
    missing = [str(number) for number, there in enumerate(found, 1) if not there]
    if missing:
        which = "the image" if len(found) == 1 else f"image {', '.join(missing)} of {len(found)}"
        raise InputError(
            f"no face was found in {which}",
            where=where,
            fix="Use an image of one head that fills most of the frame",
        )


def _together(masks: list[Tensor], nothing: Tensor) -> Tensor:
    """The union of masks [H, W]."""
    return torch.stack([nothing, *masks]).amax(0)
