"""Face analyzers: from model files, and from the loaders of other packs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from comfy_api.latest import io

from ...errors import ModelFileError
from ..host.face_models import (
    FIRST,
    FOLDER,
    LANDMARKER,
    NETWORKS,
    ONNX,
    POSE_NETWORK,
    YUNET,
    insight_pack,
    insight_packs,
    model_file,
)
from ..host.folders import file_mark, list_files
from ..host.missing_files import found, queued_inputs
from ..inputs import between, choice, output
from ..sockets import AnalyzerSocket, LoadedAnalyzer

CATEGORY = "face/analysis"
MEDIAPIPE, INSIGHTFACE, TINY, SIX_D = "landmarker", "insightface", "tiny world", "6DRepNet"
OPENCV = "YuNet"
FINDERS = (MEDIAPIPE, INSIGHTFACE, TINY, SIX_D, OPENCV)
_OUTPUT_TIP = (
    "For Detect Faces, Encode Identity, Face Mask and Head Pose from Image. InsightFace and the "
    "tiny world also encode identities; for the landmarker and YuNet add Load Face Encoder."
)


class LoadAnalyzer(io.ComfyNode):
    """Model files -> face analyzer."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_LoadAnalyzer",
            display_name="Load Face Analyzer",
            category=CATEGORY,
            description="Loads a model that detects and analyses faces. Nothing is downloaded: if "
            "a file is missing, the error says which file goes where.",
            search_aliases=[
                "face detector",
                "face analysis",
                "landmarks",
                "mediapipe",
                "buffalo",
                "yunet",
                "opencv",
                "insightface",
                "photo face",
                "reactor",
                "retinaface",
            ],
            inputs=[
                io.Combo.Input(
                    "finder",
                    options=list(FINDERS),
                    default=MEDIAPIPE,
                    tooltip="landmarker: MediaPipe's networks, 478 landmarks, expression, head "
                    "pose. insightface: 68 landmarks, pose, identity; its models are for "
                    "non-commercial research only. tiny world: bundled, rendered heads only. "
                    "6DRepNet: the head pose network of the paper, for images that are one cropped "
                    "face; pose only. YuNet: OpenCV's detector, five points only, MIT licence.",
                ),
                file_list(
                    "task_file",
                    LANDMARKER.suffixes,
                    "For the landmarker: a face_landmarker .task file in models/dense_face.",
                ),
                pack_list(),
                file_list(
                    "pose_file", NETWORKS, "For 6DRepNet: its weights, a file in models/dense_face."
                ),
                io.Float.Input(
                    "threshold",
                    **between(0.05, 0.95, step=0.01, default=0.5),
                    tooltip="Lowest detection score of a face. Lower it if faces are missed, raise "
                    "it if other things are taken for faces.",
                ),
                io.Int.Input(
                    "detection_size",
                    **between(64, 2048, step=32, default=640),
                    tooltip="For insightface and YuNet: side in pixels of the image given to the "
                    "detector. Larger finds smaller faces and takes longer.",
                ),
                io.Boolean.Input(
                    "look_twice",
                    default=True,
                    tooltip="For the landmarker: average over a second, re-centred crop and the "
                    "mirrored image. Less jitter, four times as slow.",
                ),
                file_list(
                    "yunet_file",
                    ONNX,
                    "For YuNet: face_detection_yunet_2023mar.onnx or newer in models/dense_face.",
                    optional=True,
                ),
            ],
            outputs=[output(AnalyzerSocket, "analyzer", _OUTPUT_TIP)],
        )

    @classmethod
    def validate_inputs(cls, finder: str | None = None) -> bool | str:
        if finder is not None and finder not in FINDERS:
            return f"{finder!r} is not one of {', '.join(FINDERS)}."
        inputs = queued_inputs()
        files = ("task_file", "insightface_pack", "pose_file", "yunet_file")
        return found(_sources, finder, *(inputs.get(name, FIRST) for name in files))

    @classmethod
    def fingerprint_inputs(
        cls,
        finder: str,
        task_file: str,
        insightface_pack: str,
        pose_file: str,
        yunet_file: str = FIRST,
        **_: Any,
    ) -> str:
        files = (task_file, insightface_pack, pose_file, yunet_file)
        try:
            return "".join(map(file_mark, _sources(finder, *files)))
        except ModelFileError:
            return ""  # reported when the node runs

    @classmethod
    def execute(
        cls,
        finder: str,
        task_file: str,
        insightface_pack: str,
        pose_file: str,
        threshold: float,
        detection_size: int,
        look_twice: bool,
        yunet_file: str = FIRST,
    ) -> io.NodeOutput:
        if finder == TINY:
            from ..demo.tiny_world import load_bundled_analyzer

            return io.NodeOutput(load_bundled_analyzer())
        if finder == MEDIAPIPE:
            from ...faces.mediapipe.landmarker import Landmarker

            path = model_file(LANDMARKER, task_file)
            landmarker = Landmarker(path, threshold, steady=look_twice)
            return io.NodeOutput(LoadedAnalyzer(None, "", landmarker))
        if finder == INSIGHTFACE:
            from ...faces.insightface.analyzer import InsightFaceAnalyzer

            insight = InsightFaceAnalyzer(insight_pack(insightface_pack), detection_size, threshold)
            return io.NodeOutput(LoadedAnalyzer(None, insight.encoder, insight))
        if finder == OPENCV:
            from ...faces.opencv_zoo.yunet import YuNet

            yunet = YuNet(model_file(YUNET, yunet_file), detection_size, threshold)
            return io.NodeOutput(LoadedAnalyzer(None, "", yunet))
        from ..host.encoder import load_pose_network

        network = load_pose_network(model_file(POSE_NETWORK, pose_file))
        return io.NodeOutput(LoadedAnalyzer(None, "", network, locates=False))


class AnalyzerFromPack(io.ComfyNode):
    """InsightFace of another pack -> analyzer."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_AnalyzerFromPack",
            display_name="Analyzer from Another Pack",
            category=CATEGORY,
            description="Uses the InsightFace model that a loader of another pack (IPAdapter, "
            "InstantID, PuLID, ...) has already loaded.",
            search_aliases=["FACEANALYSIS", "INSIGHTFACE", "antelopev2", "convert insightface"],
            inputs=[
                io.MultiType.Input(
                    "model",
                    [io.Custom("FACEANALYSIS"), io.Custom("INSIGHTFACE")],
                    tooltip="From the InsightFace or FaceAnalysis loader of another pack.",
                )
            ],
            outputs=[output(AnalyzerSocket, "analyzer", _OUTPUT_TIP)],
        )

    @classmethod
    def execute(cls, model: Any) -> io.NodeOutput:
        from ...faces.insightface.foreign_analyzer import ForeignInsightFace

        foreign = ForeignInsightFace(model)
        return io.NodeOutput(LoadedAnalyzer(None, foreign.encoder, foreign))


def file_list(
    input_id: str, suffixes: tuple[str, ...], tooltip: str, *, optional: bool = False
) -> Any:
    """The files in models/dense_face with these suffixes; the first entry takes any of them."""
    options = [FIRST, *list_files(FOLDER, suffixes=suffixes)]
    return io.Combo.Input(
        input_id, options=options, default=FIRST, optional=optional, tooltip=tooltip
    )


def pack_list() -> Any:
    """The InsightFace packs; the first entry takes any of them."""
    return choice(
        "insightface_pack",
        [FIRST, *insight_packs()],
        "For insightface: a folder of .onnx files in models/insightface/models.",
    )


def pack_files(name: str) -> list[Path]:
    """The files of a listed pack; raises ModelFileError when it is missing."""
    return sorted(insight_pack(name).glob("*.onnx"))


def _sources(finder: str, task_file: str, pack: str, pose_file: str, yunet_file: str) -> list[Path]:
    """The files that a finder is loaded from."""
    if finder == OPENCV:
        return [model_file(YUNET, yunet_file)]
    if finder == MEDIAPIPE:
        return [model_file(LANDMARKER, task_file)]
    if finder == INSIGHTFACE:
        return pack_files(pack)
    return [model_file(POSE_NETWORK, pose_file)] if finder == SIX_D else []
