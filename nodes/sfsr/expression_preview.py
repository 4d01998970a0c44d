"""How an expression looks, on a head of the tiny world."""

from __future__ import annotations

from comfy_api.latest import io

from ..images import channels_last, preview_image
from ..sockets import Expressions, ExpressionSocket
from .sockets import CATEGORY

NAME = "Preview Expression"
_LAST_PERSON = 2**20 - 1


class PreviewExpression(io.ComfyNode):
    """Expressions -> drawn heads, and the numbers in words."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SFSR_PreviewExpression",
            display_name=NAME,
            category=CATEGORY,
            description="Draws expressions on a made-up head, in a moment and without a model. "
            "It shows the expression itself, not what your checkpoint makes of it.",
            search_aliases=["show expression", "blendshape preview", "draw emotion"],
            is_output_node=True,
            inputs=[
                ExpressionSocket.Input("expression", tooltip="One or a batch of them."),
                io.Int.Input(
                    "person",
                    default=7,
                    min=0,
                    max=_LAST_PERSON,
                    tooltip="Seed of the rendered person.",
                ),
                io.Int.Input(
                    "size",
                    default=256,
                    min=64,
                    max=1024,
                    step=8,
                    tooltip="Side of the image in pixels.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    "image", display_name="image", tooltip="A head for each expression."
                ),
                io.String.Output(
                    "text",
                    display_name="text",
                    tooltip="A line for each: where it comes from and its largest movements.",
                ),
            ],
        )

    @classmethod
    def execute(cls, expression: Expressions, person: int, size: int) -> io.NodeOutput:
        import torch

        from ...demo.expression_heads import expression_images
        from ..host.execution import steps
        from ..host.memory import require_room

        require_room(len(expression), size, size, NAME)
        step = steps(len(expression))
        images = []
        for code in expression.codes:
            code.require_blendshapes()
            images.append(expression_images(code.face()[None], person, size))
            step()
        image = channels_last(torch.cat(images))
        text = "\n".join(code.summary() for code in expression.codes)
        return io.NodeOutput(image, text, ui=preview_image(image, cls))
