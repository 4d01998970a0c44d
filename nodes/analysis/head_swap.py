"""Replacing a head in a scene: the mask of the new head, and the scene without the old one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfy_api.latest import io

from ...errors import InputError
from ..images import channels_first, channels_last, checked_mask
from ..sockets import AnalyzerSocket, LoadedAnalyzer

if TYPE_CHECKING:
    from torch import Tensor

NAME = "Paste Mask"


class PasteMask(io.ComfyNode):
    """Scene, generated image and mask -> the new head's mask, the scene without the old head."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_PasteMask",
            display_name=NAME,
            category="face/analysis",
            description="Masks the new head within a redrawn region, and removes the old head from "
            "the scene by inpainting its place from the surroundings. Connect both outputs to "
            "Composite Face.",
            search_aliases=["tight mask", "paste back", "seam", "halo", "remove head"],
            inputs=[
                AnalyzerSocket.Input(
                    "analyzer", tooltip="From Load Face Analyzer or Load Tiny-World Analyzer."
                ),
                io.Image.Input("scene", tooltip="The original image; one head per image."),
                io.Image.Input("generated", tooltip="The image with the new head."),
                io.Mask.Input("mask", tooltip="White = redrawn; from Face Mask."),
                io.Float.Input(
                    "grow",
                    default=0.03,
                    min=-0.5,
                    max=2.0,
                    step=0.01,
                    tooltip="Margin around the new head as a fraction of its diameter.",
                ),
            ],
            outputs=[
                io.Mask.Output(
                    "mask",
                    display_name="mask",
                    tooltip="White = the new head. For Composite Face.",
                ),
                io.Image.Output(
                    "scene",
                    display_name="scene",
                    tooltip="The scene without the old head; the rest is unchanged, to the last "
                    "bit. For Composite Face.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls, analyzer: LoadedAnalyzer, scene: Tensor, generated: Tensor, mask: Tensor, grow: float
    ) -> io.NodeOutput:
        from torch.nn import functional as F

        from ...faces.masks.head_swap import OLD_MARGIN, swap

        old, new = (channels_first(image, NAME) for image in (scene, generated))
        redrawn = checked_mask(mask, NAME)[:, None].float()
        redrawn = F.interpolate(redrawn, old.shape[-2:], mode="bilinear")[:, 0]
        count = max(len(old), len(new), len(redrawn))
        if {len(old), len(new), len(redrawn)} - {1, count}:
            raise InputError(
                f"{len(old)} scenes, {len(new)} generated images and {len(redrawn)} masks do "
                "not go together",
                where=NAME,
                fix="Give as many of each, or one for all",
            )
        masks, (height, width) = analyzer.masks(NAME), old.shape[-2:]
        before = masks.head(old, height, width, OLD_MARGIN).mask
        after = masks.head(new, height, width, grow).mask
        without, heads = swap(
            old.expand(count, -1, -1, -1),
            before.expand(count, -1, -1),
            after.expand(count, -1, -1),
            redrawn.expand(count, -1, -1),
        )
        return io.NodeOutput(heads, channels_last(without))
