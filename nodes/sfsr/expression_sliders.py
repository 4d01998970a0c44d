"""An expression by hand: a slider for each blendshape."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ...faces.blendshapes import ARKIT_NAMES
from ..sockets import Expressions, ExpressionSocket
from .expression_word import expression_output
from .sockets import CATEGORY

#: What a movement is, without the side.
_MOVEMENTS: dict[str, str] = {
    "browDown": "Brow down and together, as in anger",
    "browInnerUp": "Inner ends of both brows up, as in grief",
    "browOuterUp": "Outer end of the brow up",
    "cheekPuff": "Both cheeks blown up",
    "cheekSquint": "Cheek up, as in a real smile",
    "eyeBlink": "Lid closed",
    "eyeLookDown": "Eye looks down",
    "eyeLookIn": "Eye looks towards the nose",
    "eyeLookOut": "Eye looks away from the nose",
    "eyeLookUp": "Eye looks up",
    "eyeSquint": "Lids drawn together",
    "eyeWide": "Eye wide open",
    "jawForward": "Jaw pushed forward",
    "jawLeft": "Jaw to the person's left",
    "jawOpen": "Jaw down, mouth open",
    "jawRight": "Jaw to the person's right",
    "mouthClose": "Lips closed over an open jaw",
    "mouthDimple": "Mouth corner drawn back",
    "mouthFrown": "Mouth corner down",
    "mouthFunnel": "Lips open and round, as for O",
    "mouthLeft": "Mouth to the person's left",
    "mouthLowerDown": "Lower lip down",
    "mouthPress": "Lips pressed together",
    "mouthPucker": "Lips closed and pushed forward, as for a kiss",
    "mouthRight": "Mouth to the person's right",
    "mouthRollLower": "Lower lip rolled in",
    "mouthRollUpper": "Upper lip rolled in",
    "mouthShrugLower": "Chin and lower lip pushed up, as in a pout",
    "mouthShrugUpper": "Upper lip pushed up",
    "mouthSmile": "Mouth corner up",
    "mouthStretch": "Mouth corner drawn aside, as in fear",
    "mouthUpperUp": "Upper lip up",
    "noseSneer": "Nose wrinkled, as in disgust",
}
#: The most used ones; the others wait under the node's advanced inputs.
_USUAL = (
    "browDown", "browInnerUp", "browOuterUp", "cheekSquint", "eyeBlink", "eyeSquint", "eyeWide",
    "jawOpen", "mouthFrown", "mouthPucker", "mouthSmile", "noseSneer",
)  # fmt: skip


class ExpressionFromSliders(io.ComfyNode):
    """51 numbers -> an expression."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SFSR_ExpressionFromSliders",
            display_name="Expression from Sliders",
            category=CATEGORY,
            description="An expression by hand: one slider for each ARKit blendshape; all at 0 is "
            "a face at rest. With an expression connected, the sliders are added to it.",
            search_aliases=[
                "blendshapes",
                "arkit",
                "neutral expression",
                "face sliders",
                "wink",
                "blink",
                "close eyes",
                "open mouth",
                "eyebrows",
                "liveportrait",
                "smile",
                "expression editor",
                "live portrait",
                "look up",
                "look down",
                "frown",
                "kiss",
                "facs",
            ],
            inputs=[
                *(_slider(name) for name in ARKIT_NAMES),
                ExpressionSocket.Input(
                    "expression",
                    optional=True,
                    tooltip="Where to start from; a face at rest without it. The sum stays within "
                    "0 to 1.",
                ),
            ],
            outputs=[expression_output("What the face does.")],
        )

    @classmethod
    def execute(cls, expression: Expressions | None = None, **sliders: float) -> io.NodeOutput:
        from ...sfsr.algebra import add, clamp
        from ...sfsr.expression import from_values

        own = from_values(sliders)
        if expression is None:
            return io.NodeOutput(Expressions((own,)))
        return io.NodeOutput(Expressions(tuple(clamp(add(c, own)) for c in expression.codes)))


def _slider(name: str) -> Any:
    return io.Float.Input(
        name,
        default=0.0,
        min=0.0,
        max=1.0,
        step=0.01,
        tooltip=f"{_told(name)}. 0 at rest, 1 as far as it goes.",
        advanced=not name.startswith(_USUAL),
    )


def _told(name: str) -> str:
    if name in _MOVEMENTS:
        return _MOVEMENTS[name]
    side = "Left" if name.endswith("Left") else "Right"
    return f"{_MOVEMENTS[name.removesuffix(side)]}; the person's {side.lower()} side"
