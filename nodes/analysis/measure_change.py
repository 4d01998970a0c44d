"""Metric: what has changed outside a mask."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfy_api.latest import io
from torch import Tensor

from ...errors import InputError
from ..images import channels_first, channels_last, checked_mask, preview_image
from ..inputs import output
from .metrics import CATEGORY, Bar, measured, text_output

if TYPE_CHECKING:
    from ...faces.metrics import Change

NAME = "Measure Change"
_MOST_SHOWN = 8
"""Images of a batch that can be compared in the node."""


class MeasureChange(io.ComfyNode):
    """Two images and a mask -> the difference outside the mask."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_MeasureChange",
            display_name=NAME,
            category=CATEGORY,
            description="Measures how much the images differ outside the mask.",
            search_aliases=[
                "difference",
                "psnr",
                "metric",
                "background kept",
                "compare images",
                "before after",
            ],
            is_output_node=True,
            inputs=[
                io.Image.Input(
                    "before", tooltip="The original images: one for all, or one for each."
                ),
                io.Image.Input("after", tooltip="The edited images."),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="White may change: only pixels where the mask is wholly black are "
                    "compared. Without a mask the whole image is.",
                ),
            ],
            outputs=[
                output(
                    io.Float,
                    "change",
                    "Mean absolute difference outside the mask, 0 to 255; 0 = identical.",
                ),
                text_output(),
            ],
        )

    @classmethod
    def execute(cls, before: Tensor, after: Tensor, mask: Tensor | None = None) -> io.NodeOutput:
        from ...faces.metrics import change_outside

        one, other = channels_first(before, NAME), channels_first(after, NAME)
        if len(one) not in (1, len(other)):
            raise InputError(
                f"{len(one)} images before, {len(other)} after",
                where=NAME,
                fix="Give one image before, or as many as after",
            )
        if mask is not None:
            mask = checked_mask(mask, NAME)
            if len(mask) == 1:
                mask = mask.expand(len(other), -1, -1)
        found = change_outside(one.expand(len(other), -1, -1, -1), other, mask)
        text = _in_words(found, mask is not None)
        bar = Bar(found.changed, f"{found.changed:.1%}", "changed")
        # Under names of their own, which the frontend does not show as results of the node.
        compared = {
            name: preview_image(channels_last(images[:_MOST_SHOWN]), cls).as_dict()["images"]
            for name, images in (("before", one), ("after", other))
        }
        return io.NodeOutput(found.mean, text, ui=measured(text, [bar]) | compared)


def _in_words(found: Change, masked: bool) -> str:
    place = f"outside the mask ({found.outside:.0%} of the image)" if masked else "everywhere"
    if not found.largest:
        return f"{place}: nothing has changed"
    return (
        f"{place}: mean change {found.mean:.2f}/255, largest {found.largest:.0f}/255, "
        f"{found.changed:.1%} of the values differ, {found.psnr:.1f} dB"
    )
