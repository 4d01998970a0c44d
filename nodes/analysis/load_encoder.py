"""A face encoder in place of the analyzer's own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from ...errors import ModelFileError
from ..host.face_models import FIRST, IR_SE50, NETWORKS, ONNX, SFACE, insight_pack, model_file
from ..host.folders import file_mark
from ..host.missing_files import found, queued_inputs
from ..inputs import choice, output
from ..sockets import AnalyzerSocket, LoadedAnalyzer
from .load_analyzer import CATEGORY, INSIGHTFACE, file_list, pack_files, pack_list

if TYPE_CHECKING:
    from ...faces.analyzers import Recogniser

OPENCV = "SFace"
ENCODERS = ("IR-SE50", INSIGHTFACE, OPENCV)
ORDERS, ALIGNMENTS = ("RGB", "BGR"), ("five points", "whole picture")


class LoadEncoder(io.ComfyNode):
    """Analyzer + encoder file -> analyzer that encodes identities with it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_LoadEncoder",
            display_name="Load Face Encoder",
            category=CATEGORY,
            description="Gives an analyzer another identity encoder. An adapter understands only "
            "the encoder it was trained with: for the released Dense-Face, IR-SE50.",
            search_aliases=["arcface", "ir-se50", "face recognition", "face embedding", "sface"],
            inputs=[
                AnalyzerSocket.Input(
                    "analyzer", tooltip="Detects the faces: from Load Face Analyzer."
                ),
                choice(
                    "encoder",
                    ENCODERS,
                    "IR-SE50: used by the released Dense-Face. insightface: the recogniser "
                    "of a pack. SFace: OpenCV's recogniser (Apache-2.0), for measuring only: no "
                    "adapter reads it. Their vectors are not interchangeable.",
                ),
                file_list(
                    "ir_se50_file",
                    NETWORKS,
                    "For IR-SE50: its weights in models/dense_face, as published or taken out of "
                    "the authors' checkpoint.",
                ),
                pack_list(),
                choice(
                    "channel_order",
                    ORDERS,
                    "For IR-SE50: its channel order, RGB or BGR. The authors do not say "
                    "which: keep the one that gives the better likeness.",
                ),
                choice(
                    "alignment",
                    ALIGNMENTS,
                    "For IR-SE50. five points: the face is aligned to the ArcFace "
                    "template. whole picture: for images that are already cropped to the face.",
                ),
                file_list(
                    "sface_file",
                    ONNX,
                    "For SFace: face_recognition_sface_2021dec.onnx in models/dense_face.",
                    optional=True,
                ),
            ],
            outputs=[
                output(
                    AnalyzerSocket,
                    "analyzer",
                    "The analyzer with this encoder, for Encode Identity and the Measure nodes.",
                )
            ],
        )

    @classmethod
    def validate_inputs(cls, encoder: str | None = None) -> bool | str:
        if encoder is not None and encoder not in ENCODERS:
            return f"{encoder!r} is not one of {', '.join(ENCODERS)}."
        inputs = queued_inputs()
        files = ("ir_se50_file", "insightface_pack", "sface_file")
        return found(_sources, encoder, *(inputs.get(name, FIRST) for name in files))

    @classmethod
    def fingerprint_inputs(
        cls,
        encoder: str,
        ir_se50_file: str,
        insightface_pack: str,
        sface_file: str = FIRST,
        **_: Any,
    ) -> str:
        try:
            files = _sources(encoder, ir_se50_file, insightface_pack, sface_file)
            return "".join(map(file_mark, files))
        except ModelFileError:
            return ""  # reported when the node runs

    @classmethod
    def execute(
        cls,
        analyzer: LoadedAnalyzer,
        encoder: str,
        ir_se50_file: str,
        insightface_pack: str,
        channel_order: str,
        alignment: str,
        sface_file: str = FIRST,
    ) -> io.NodeOutput:
        recogniser: Recogniser
        if encoder == INSIGHTFACE:
            from ...faces.insightface.recogniser import InsightFaceRecogniser

            recogniser = InsightFaceRecogniser(insight_pack(insightface_pack))
        elif encoder == OPENCV:
            from ...faces.opencv_zoo.sface import SFace

            recogniser = SFace(model_file(SFACE, sface_file))
        else:
            from ..host.encoder import load_encoder

            path = model_file(IR_SE50, ir_se50_file)
            recogniser = load_encoder(path, channel_order, alignment)
        return io.NodeOutput(replace(analyzer, encoder=recogniser.encoder, recogniser=recogniser))


def _sources(encoder: str, ir_se50_file: str, pack: str, sface_file: str) -> list[Path]:
    """The files that an encoder is loaded from; raises ModelFileError."""
    if encoder == INSIGHTFACE:
        return pack_files(pack)
    if encoder == OPENCV:
        return [model_file(SFACE, sface_file)]
    return [model_file(IR_SE50, ir_se50_file)]
