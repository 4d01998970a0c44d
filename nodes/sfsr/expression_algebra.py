"""Calculating with expressions."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ...errors import InputError
from ..sockets import Expressions, ExpressionSocket
from .expression_word import expression_output
from .heads import with_heads
from .sockets import CATEGORY

BLEND, TRAVEL, COMBINE = "Blend Expressions", "Expression Travel", "Combine Expressions"
ADD, SUBTRACT = "add", "subtract"
_MOST = 4


class BlendExpressions(io.ComfyNode):
    """Several expressions and weights -> their mean."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SFSR_BlendExpressions",
            display_name=BLEND,
            category=CATEGORY,
            description="Mixes up to four expressions by their weights. The weights need not sum "
            "to 1. Batches are mixed image by image.",
            search_aliases=["mix emotions", "average expression", "interpolate expressions"],
            is_output_node=True,
            inputs=[
                *(_source(i) for i in range(1, 3)),
                *(_weight(i) for i in range(1, _MOST + 1)),
                *(_source(i) for i in range(3, _MOST + 1)),
            ],
            outputs=[expression_output("The weighted mean.")],
        )

    @classmethod
    def execute(cls, **inputs: Any) -> io.NodeOutput:
        from ...sfsr.algebra import blend

        numbers = [i for i in range(1, _MOST + 1) if inputs.get(f"expression_{i}") is not None]
        sources: list[Expressions] = [inputs[f"expression_{i}"] for i in numbers]
        weights: list[float] = [inputs[f"weight_{i}"] for i in numbers]
        count = max(len(source) for source in sources)
        rows = zip(*(source.for_batch(count, BLEND) for source in sources), strict=True)
        return with_heads(cls, Expressions(tuple(blend(row, weights) for row in rows)))


class ExpressionTravel(io.ComfyNode):
    """Two expressions -> a row from one to the other."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SFSR_ExpressionTravel",
            display_name=TRAVEL,
            category=CATEGORY,
            description="Evenly spaced expressions between two, as a batch: use a latent batch of "
            "the same count and get one image for each.",
            search_aliases=[
                "expression sweep",
                "emotion transition",
                "expression animation",
                "animate face",
                "morph",
            ],
            is_output_node=True,
            inputs=[
                ExpressionSocket.Input("start", tooltip="The first expression."),
                ExpressionSocket.Input("end", tooltip="The last expression."),
                io.Int.Input(
                    "count", default=8, min=1, max=256, tooltip="How many, both ends included."
                ),
            ],
            outputs=[expression_output("As many expressions as count says, as a batch.")],
        )

    @classmethod
    def execute(cls, start: Expressions, end: Expressions, count: int) -> io.NodeOutput:
        from ...sfsr.algebra import travel

        ends = [source.for_batch(1, TRAVEL)[0] for source in (start, end)]
        return with_heads(cls, Expressions(tuple(travel(ends[0], ends[1], count))))


class MirrorExpression(io.ComfyNode):
    """Left and right exchanged."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SFSR_MirrorExpression",
            display_name="Mirror Expression",
            category=CATEGORY,
            description="Exchanges the left and the right side of an expression: a wink changes "
            "the eye, a smirk its corner.",
            search_aliases=["flip expression", "swap sides", "other side"],
            is_output_node=True,
            inputs=[ExpressionSocket.Input("expression", tooltip="The expression to mirror.")],
            outputs=[expression_output("The mirrored expression.")],
        )

    @classmethod
    def execute(cls, expression: Expressions) -> io.NodeOutput:
        from ...sfsr.algebra import mirror

        return with_heads(cls, Expressions(tuple(mirror(code) for code in expression.codes)))


class CombineExpressions(io.ComfyNode):
    """One expression plus or minus another."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SFSR_CombineExpressions",
            display_name=COMBINE,
            category=CATEGORY,
            description="Adds an expression to another one or takes it away: open eyes for a "
            "smile, or the difference of two images for a third.",
            search_aliases=["add expression", "subtract expression", "expression difference"],
            is_output_node=True,
            inputs=[
                ExpressionSocket.Input("expression", tooltip="The expression to change."),
                ExpressionSocket.Input("other", tooltip="The expression to add or subtract."),
                io.Combo.Input(
                    "operation",
                    options=[ADD, SUBTRACT],
                    default=ADD,
                    tooltip="Whether to add or subtract the other expression.",
                ),
                io.Float.Input(
                    "amount",
                    default=1.0,
                    min=0.0,
                    max=2.0,
                    step=0.05,
                    tooltip="How much of the other expression.",
                ),
                io.Boolean.Input(
                    "clamp",
                    default=True,
                    tooltip="On: the result is what a face can do, 0 to 1. Off: keeps what is "
                    "below 0 or above 1, for a difference that is added elsewhere.",
                ),
            ],
            outputs=[expression_output("The sum or the difference.")],
        )

    @classmethod
    def execute(
        cls, expression: Expressions, other: Expressions, operation: str, amount: float, clamp: bool
    ) -> io.NodeOutput:
        from ...sfsr import algebra

        if operation not in (ADD, SUBTRACT):
            raise InputError("the operation is unknown", where=operation, fix="Use add or subtract")
        count = max(len(expression), len(other))
        signed = amount if operation == ADD else -amount
        pairs = zip(
            expression.for_batch(count, COMBINE), other.for_batch(count, COMBINE), strict=True
        )
        sums = [algebra.add(one, two, signed) for one, two in pairs]
        return with_heads(cls, Expressions(tuple(map(algebra.clamp, sums) if clamp else sums)))


def _source(number: int) -> Any:
    return ExpressionSocket.Input(
        f"expression_{number}",
        optional=number > 2,
        tooltip=f"Expression number {number}." + (" Can stay empty." if number > 2 else ""),
    )


def _weight(number: int) -> Any:
    return io.Float.Input(
        f"weight_{number}",
        default=1.0,
        min=0.0,
        max=10.0,
        step=0.05,
        tooltip=f"How much of expression {number}, against the other weights.",
    )
