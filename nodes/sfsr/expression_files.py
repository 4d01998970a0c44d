"""Expressions in files."""

from __future__ import annotations

from pathlib import Path

from comfy_api.latest import io, ui

from ...errors import ModelFileError
from ..host.folders import (
    EXPRESSION_FOLDER,
    EXPRESSIONS,
    file_mark,
    full_path,
    list_files,
    new_file,
    places,
    usable_name,
)
from ..host.missing_files import found
from ..inputs import output
from ..sockets import Expressions, ExpressionSocket
from .expression_word import expression_output
from .heads import with_heads
from .sockets import CATEGORY

SAVE = "Save Expression"
NONE_YET = "none yet"
"""The only entry of the list while no expression is saved."""


class SaveExpression(io.ComfyNode):
    """Expression -> file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SFSR_SaveExpression",
            display_name=SAVE,
            category=CATEGORY,
            description="Saves an expression to a safetensors file in output/expressions: its "
            "blendshapes, action units and FLAME's numbers. It contains no identity.",
            search_aliases=["export expression", "keep emotion", "save flame"],
            inputs=[
                ExpressionSocket.Input(
                    "expression", tooltip="One or a batch of them, from any expression node."
                ),
                io.String.Input(
                    "name",
                    default="expression",
                    tooltip="Start of the file's name; a number is added, so nothing is "
                    "overwritten.",
                ),
            ],
            outputs=[output(io.String, "file", "The file's name in Load Expression.")],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, name: str | None = None) -> bool | str:
        return usable_name(EXPRESSION_FOLDER, name, SAVE)

    @classmethod
    def execute(cls, expression: Expressions, name: str) -> io.NodeOutput:
        from ...sfsr.expression_file import save_expressions

        path, file = new_file(EXPRESSION_FOLDER, name, SAVE)
        save_expressions(path, expression.codes)
        return io.NodeOutput(file, ui=ui.PreviewText(f"Saved as {file}"))


def expression_path(name: str) -> Path:
    """The file of an entry in the list; raises ModelFileError."""
    if name == NONE_YET:
        raise ModelFileError(
            "no expression is saved yet",
            where=places(EXPRESSIONS),
            fix="Make one with Save Expression, then reload the lists",
        )
    return full_path(EXPRESSIONS, name, "expression")


class LoadExpression(io.ComfyNode):
    """File -> expression."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SFSR_LoadExpression",
            display_name="Load Expression",
            category=CATEGORY,
            description="Loads an expression from a file written by Save Expression.",
            search_aliases=["import expression", "saved emotion", "load flame"],
            # No output node, though it shows heads: unused and without a file it would fail.
            inputs=[
                io.Combo.Input(
                    "file",
                    options=list_files(EXPRESSIONS) or [NONE_YET],
                    tooltip="A file in output/expressions or models/sfsr/expressions.",
                )
            ],
            outputs=[expression_output("As many expressions as were saved.")],
        )

    @classmethod
    def validate_inputs(cls, file: str | None = None) -> bool | str:
        return found(expression_path, file)

    @classmethod
    def fingerprint_inputs(cls, file: str) -> str:
        try:
            return file_mark(expression_path(file))
        except ModelFileError:
            return ""  # reported when the node runs

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        from ...sfsr.expression_file import load_expressions

        codes = load_expressions(expression_path(file))
        return with_heads(cls, Expressions(codes))
