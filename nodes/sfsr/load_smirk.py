"""SMIRK: FLAME's numbers of the faces that an analyzer finds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from comfy_api.latest import io

from ...errors import IncompatibleError, ModelFileError
from ..analysis.load_analyzer import file_list
from ..host.face_models import SMIRK, model_file
from ..host.folders import file_mark
from ..host.missing_files import found
from ..inputs import choice, output
from ..sockets import AnalyzerSocket, LoadedAnalyzer
from .sockets import CATEGORY

NAME = "Load SMIRK"
ORDERS = ("RGB", "BGR")


class LoadSMIRK(io.ComfyNode):
    """Analyzer + SMIRK's file -> analyzer that measures FLAME expressions."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SFSR_LoadSMIRK",
            display_name=NAME,
            category=CATEGORY,
            description="Lets an analyzer measure expressions in FLAME's numbers, which Arc2Face's "
            "expression adapter reads. Needs the library timm.",
            search_aliases=["flame", "smirk", "expression encoder", "arc2face expression"],
            inputs=[
                AnalyzerSocket.Input(
                    "analyzer",
                    tooltip="Finds the faces: from Load Face Analyzer. The landmarker gives the "
                    "crop that SMIRK was trained with; with others it follows the detector's box.",
                ),
                file_list(
                    "smirk_file",
                    SMIRK.suffixes,
                    "SMIRK_em1.pt in models/dense_face, for non-commercial research only.",
                ),
                choice(
                    "channel_order",
                    ORDERS,
                    "RGB as in SMIRK's own demo. Arc2Face's demo gives it BGR.",
                ),
            ],
            outputs=[
                output(
                    AnalyzerSocket,
                    "analyzer",
                    "The analyzer with SMIRK, for Expression from Image and Detect Faces.",
                )
            ],
        )

    @classmethod
    def validate_inputs(cls, smirk_file: str | None = None) -> bool | str:
        return found(model_file, SMIRK, smirk_file)

    @classmethod
    def fingerprint_inputs(cls, smirk_file: str, **_: Any) -> str:
        try:
            return file_mark(model_file(SMIRK, smirk_file))
        except ModelFileError:
            return ""  # reported when the node runs

    @classmethod
    def execute(
        cls, analyzer: LoadedAnalyzer, smirk_file: str, channel_order: str
    ) -> io.NodeOutput:
        from ..host.encoder import load_smirk_analyzer

        if analyzer.finder is None or not analyzer.locates:
            raise IncompatibleError(
                f"SMIRK needs faces found in photographs, the analyzer is {analyzer.name}",
                where=NAME,
                fix="Choose landmarker, insightface or YuNet in Load Face Analyzer",
            )
        path = model_file(SMIRK, smirk_file)
        finder = load_smirk_analyzer(path, analyzer.finder, channel_order)
        return io.NodeOutput(replace(analyzer, finder=finder))
