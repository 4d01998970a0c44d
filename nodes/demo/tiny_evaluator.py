"""The tiny world's second recogniser, which conditions nothing and so may grade."""

from __future__ import annotations

from comfy_api.latest import io

from ...demo.bundled import EVALUATOR_FILE, WEIGHTS
from ..host.folders import file_mark
from ..sockets import AnalyzerSocket, LoadedAnalyzer
from .tiny_world import CATEGORY, load_bundled_analyzer


class LoadTinyEvaluator(io.ComfyNode):
    """The bundled evaluator."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_LoadTinyJudge",
            display_name="Load Tiny-World Evaluator",
            category=CATEGORY,
            description="A second recogniser of the tiny world's people, trained apart, that no "
            "image is made with: for the independent input of Measure Likeness.",
            search_aliases=["independent recogniser", "second face encoder", "grade likeness"],
            inputs=[],
            outputs=[
                AnalyzerSocket.Output(
                    "analyzer",
                    display_name="analyzer",
                    tooltip="For Measure Likeness. No adapter understands its identities.",
                )
            ],
        )

    @classmethod
    def fingerprint_inputs(cls) -> str:
        return file_mark(WEIGHTS / EVALUATOR_FILE)

    @classmethod
    def execute(cls) -> io.NodeOutput:
        from ..host.tiny.analyzer import load_evaluator

        recogniser = load_evaluator(WEIGHTS / EVALUATOR_FILE)
        finder = load_bundled_analyzer()
        return io.NodeOutput(LoadedAnalyzer(finder.patcher, recogniser.encoder, None, recogniser))
