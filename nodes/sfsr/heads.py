"""The result of a node that makes expressions, with small heads that show it."""

from __future__ import annotations

from comfy_api.latest import io

from ..images import channels_last, preview_image
from ..sockets import Expressions

SIDE, MOST = 128, 8


def with_heads(node: type[io.ComfyNode], expressions: Expressions) -> io.NodeOutput:
    """Expressions as a node's output; up to eight of them, evenly spaced, are drawn in the node.

    Those that hold a network's numbers alone are not drawn.
    """
    import torch

    from ...demo.expression_heads import expression_images

    codes = [code for code in expressions.codes if not code.learned_alone]
    if not codes:
        return io.NodeOutput(expressions)
    places = torch.linspace(0, len(codes) - 1, min(len(codes), MOST)).round().long().tolist()
    faces = torch.stack([codes[place].face() for place in places])
    heads = channels_last(expression_images(faces, size=SIDE))
    return io.NodeOutput(expressions, ui=preview_image(heads, node))
