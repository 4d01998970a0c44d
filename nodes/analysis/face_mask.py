"""The mask of the head, or of the face alone, in an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfy_api.latest import io

from ...errors import InputError
from ..images import channels_first
from ..inputs import feather_pixels
from ..sockets import AnalyzerSocket, LoadedAnalyzer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

CATEGORY = "face/analysis"
HEAD, FACE = "head with hair", "face"
NAME = "Face Mask"


class FaceMask(io.ComfyNode):
    """Images -> masks of the head."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_FaceMask",
            display_name=NAME,
            category=CATEGORY,
            description="Masks the head, or only the face, in an image: white is redrawn, black is "
            "kept. For Set Latent Noise Mask and Composite Face.",
            search_aliases=["face segmentation", "head mask", "face parsing"],
            inputs=[
                AnalyzerSocket.Input(
                    "analyzer", tooltip="From Load Face Analyzer or Load Tiny-World Analyzer."
                ),
                io.Image.Input("image", tooltip="The scene; one head per image."),
                io.Combo.Input(
                    "region",
                    options=[HEAD, FACE],
                    default=HEAD,
                    tooltip="head with hair: for another person or another pose. face: from brows "
                    "to chin; keeps the hair.",
                ),
                io.Float.Input(
                    "grow",
                    default=0.12,
                    min=-0.5,
                    max=2.0,
                    step=0.01,
                    tooltip="Margin around the region as a fraction of its diameter; leaves room "
                    "for another hairstyle or a larger turn.",
                ),
                feather_pixels(),
            ],
            outputs=[
                io.Mask.Output(
                    "mask", display_name="mask", tooltip="White = redraw; same size as the image."
                )
            ],
        )

    @classmethod
    def execute(
        cls, analyzer: LoadedAnalyzer, image: Tensor, region: str, grow: float, feather: float
    ) -> io.NodeOutput:
        from ...faces.masks import compositing

        images = channels_first(image, NAME)
        masks = analyzer.masks(NAME)
        read = masks.head if region == HEAD else masks.face
        height, width = images.shape[-2:]
        mask, found = read(images, height, width, grow)
        _require_faces(found, NAME)
        return io.NodeOutput(compositing.feather(mask[:, None], feather)[:, 0])


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
