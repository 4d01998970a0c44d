"""A new head where an old one was: what is pasted, and onto what."""

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
    """Scene, generated image and what was drawn -> what is pasted, and onto what."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_PasteMask",
            display_name=NAME,
            category="face/analysis",
            description="Of a region that was drawn anew, marks the new head, and takes the old "
            "one out of the scene: its place is filled from what lies around it. Connect both to "
            "Composite Face.",
            search_aliases=["tight mask", "paste back", "seam", "halo", "remove head"],
            inputs=[
                AnalyzerSocket.Input("analyzer", tooltip="From Load Tiny-World Analyzer."),
                io.Image.Input("scene", tooltip="The image before; one head an image."),
                io.Image.Input("generated", tooltip="The image with the new head."),
                io.Mask.Input("mask", tooltip="White = was drawn anew; from Face Mask."),
                io.Float.Input(
                    "grow",
                    default=0.03,
                    min=-0.5,
                    max=2.0,
                    step=0.01,
                    tooltip="Margin around the new head as a share of its diameter.",
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
                    tooltip="The scene without the old head; elsewhere as it was, to the last bit. "
                    "For Composite Face.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls, analyzer: LoadedAnalyzer, scene: Tensor, generated: Tensor, mask: Tensor, grow: float
    ) -> io.NodeOutput:
        from torch.nn import functional as F

        from ...faces.masks.head_swap import swap
        from ..host.tiny.analyzer import analyse

        old, new = (channels_first(image, NAME) for image in (scene, generated))
        drawn = checked_mask(mask, NAME)[:, None].float()
        drawn = F.interpolate(drawn, old.shape[-2:], mode="bilinear")[:, 0]
        count = max(len(old), len(new), len(drawn))
        if {len(old), len(new), len(drawn)} - {1, count}:
            raise InputError(
                f"{len(old)} scenes, {len(new)} generated images and {len(drawn)} masks do "
                "not go together",
                where=NAME,
                fix="Give as many of each, or one for all",
            )
        before, after = (analyse(analyzer.patcher, x).head_logit for x in (old, new))
        without, heads = swap(
            old.expand(count, -1, -1, -1),
            before.expand(count, -1, -1),
            after.expand(count, -1, -1),
            drawn.expand(count, -1, -1),
            grow=grow,
        )
        return io.NodeOutput(heads, channels_last(without))
