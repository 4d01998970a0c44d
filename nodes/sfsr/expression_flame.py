"""An expression in FLAME's numbers, for Arc2Face's expression adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from comfy_api.latest import io

from ...errors import InputError, ModelFileError
from ..host.folders import file_mark, full_path, list_files
from ..host.missing_files import found
from ..inputs import between
from ..sockets import Expressions, ExpressionSocket
from .expression_word import expression_output
from .sockets import CATEGORY

NAME = "Expression from FLAME"
FOLDER = "sfsr"
NO_MAP = "none"
"""First entry of the list of maps."""


def map_path(name: str) -> Path:
    """The file of an entry in the list of maps; raises ModelFileError."""
    return full_path(FOLDER, name, "map")


class ExpressionFromFLAME(io.ComfyNode):
    """55 numbers, or blendshapes and a map -> an expression."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SFSR_ExpressionFromFLAME",
            display_name=NAME,
            category=CATEGORY,
            description="A FLAME expression for Arc2Face's expression adapter: from its numbers, "
            "or from blendshapes by a map. Other adapters cannot read it.",
            search_aliases=[
                "flame",
                "smirk",
                "arc2face expression",
                "jaw",
                "eyelids",
                "blendshapes to flame",
                "flame map",
            ],
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
                    "Mouth and brows are taken from blendshapes by a FLAME map alone.",
                ),
                io.Combo.Input(
                    "flame_map",
                    options=[NO_MAP, *list_files(FOLDER)],
                    default=NO_MAP,
                    optional=True,
                    tooltip="A map in models/sfsr: turns a word, sliders or a photo in expression "
                    "into FLAME's numbers. Leave numbers empty.",
                ),
            ],
            outputs=[expression_output("The expression, as FLAME's numbers.")],
        )

    @classmethod
    def validate_inputs(cls, flame_map: str | None = NO_MAP) -> bool | str:
        return flame_map == NO_MAP or found(map_path, flame_map)

    @classmethod
    def fingerprint_inputs(cls, flame_map: str = NO_MAP, **_: Any) -> str:
        try:
            return "" if flame_map == NO_MAP else file_mark(map_path(flame_map))
        except ModelFileError:
            return ""  # reported when the node runs

    @classmethod
    def execute(
        cls,
        numbers: str,
        intensity: float = 1.0,
        expression: Expressions | None = None,
        flame_map: str = NO_MAP,
    ) -> io.NodeOutput:
        from ...sfsr.arc2face.flame import flame_expression, parse_flame
        from ...sfsr.arc2face.flame_map import load_flame_map

        if flame_map != NO_MAP:
            if expression is None or numbers.strip():
                raise InputError(
                    "a map makes the numbers from the blendshapes of an expression",
                    where=f"{NAME}, FLAME map",
                    fix="Connect an expression and leave numbers empty, or choose none",
                )
            mapped = load_flame_map(map_path(flame_map))
            codes = (mapped.expression(face, intensity) for face in expression.codes)
            return io.NodeOutput(Expressions(tuple(codes)))
        given = parse_flame(numbers)
        faces = (None,) if expression is None else expression.codes
        made = (flame_expression(given, face=face, intensity=intensity) for face in faces)
        return io.NodeOutput(Expressions(tuple(made)))
