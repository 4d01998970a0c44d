"""Lists of face model files, as inputs of the nodes that load them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from ..host.face_models import FIRST, FOLDER, insight_pack, insight_packs
from ..host.folders import list_files

if TYPE_CHECKING:
    from pathlib import Path


def file_list(input_id: str, suffixes: tuple[str, ...], tooltip: str) -> Any:
    """Files in models/dense_face with these endings; the first entry takes what is there."""
    options = [FIRST, *list_files(FOLDER, suffixes=suffixes)]
    return io.Combo.Input(input_id, options=options, default=FIRST, tooltip=tooltip)


def pack_list() -> Any:
    """InsightFace's packs; the first entry takes what is there."""
    return io.Combo.Input(
        "insightface_pack",
        options=[FIRST, *insight_packs()],
        default=FIRST,
        tooltip="For insightface: a folder of .onnx files in models/insightface/models.",
    )


def pack_files(name: str) -> list[Path]:
    """The files of a listed pack; raises ModelFileError when it is missing."""
    return sorted(insight_pack(name).glob("*.onnx"))
