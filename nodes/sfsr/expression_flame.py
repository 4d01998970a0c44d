"""An expression in FLAME's numbers, for Arc2Face's expression adapter."""

from __future__ import annotations

from comfy_api.latest import io

from ..inputs import between
from ..sockets import Expressions, ExpressionSocket
from .expression_word import expression_output
from .sockets import CATEGORY


class ExpressionFromFLAME(io.ComfyNode):
    """55 numbers -> an expression."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SFSR_ExpressionFromFLAME",
            display_name="Expression from FLAME",
            category=CATEGORY,
            description="A FLAME expression from its numbers, for Arc2Face's expression adapter. "
            "Other adapters cannot read it.",
            search_aliases=["flame", "smirk", "arc2face expression", "jaw", "eyelids"],
            inputs=[
                io.String.Input(
                    "numbers",
                    default="",
                    multiline=True,
                    tooltip="55 numbers in SMIRK's order: expression 50, left and right eyelid (0 "
                    "open, 1 closed), jaw 3 (radians). 53: without eyelids, 50: without "
                    "eyelids and jaw. Empty: the neutral face.",
                ),
                io.Float.Input(
                    "intensity",
                    **between(0.0, 2.0, default=1.0, step=0.05),
                    tooltip="Scales all numbers: 0 is the neutral face. Eyelids and jaw stay "
                    "within their range.",
                ),
                ExpressionSocket.Input(
                    "expression",
                    optional=True,
                    tooltip="Its blendshapes give eyelids and jaw where the numbers have none. "
                    "Mouth and brows cannot be taken from blendshapes.",
                ),
            ],
            outputs=[expression_output("The expression, as FLAME's numbers.")],
        )

    @classmethod
    def execute(
        cls, numbers: str, intensity: float = 1.0, expression: Expressions | None = None
    ) -> io.NodeOutput:
        from ...sfsr.arc2face.flame import flame_expression, parse_flame

        given = parse_flame(numbers)
        faces = (None,) if expression is None else expression.codes
        made = (flame_expression(given, face=face, intensity=intensity) for face in faces)
        return io.NodeOutput(Expressions(tuple(made)))
