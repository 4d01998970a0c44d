"""Folders of InsightFace models, and importing InsightFace without its telemetry."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from types import ModuleType
from typing import Any

from ...errors import FacePackError, ModelFileError
from ..encoders.names import encoder_of_file

#: Execution providers of onnxruntime.
PROVIDERS = ["CPUExecutionProvider"]
PACK_FIX = (
    "Give the folder that holds the pack's .onnx files, a detector among them "
    "(usually models/insightface/models/<pack>)"
)
UNKNOWN = "insightface/unknown"
"""Encoder of a recogniser that does not say which file it came from."""


def pack_folder(folder: str | Path) -> Path:
    """The folder that holds the ``.onnx`` files: the given one, or the only such folder inside.

    Raises:
        ModelFileError: It is missing, is not a folder, or has no (single) folder of such files.
    """
    path = Path(folder)
    if not path.is_dir():
        kind = "is a file" if path.exists() else "is missing"
        raise ModelFileError(f"the InsightFace folder {kind}", where=str(path), fix=PACK_FIX)
    if any(path.glob("*.onnx")):
        return path
    nested = sorted({file.parent for file in path.glob("*/*.onnx")})
    if len(nested) == 1:  # as antelopev2's zip is unpacked
        return nested[0]
    found = "several folders with .onnx files" if nested else "no .onnx files"
    raise ModelFileError(f"the InsightFace folder holds {found}", where=str(path), fix=PACK_FIX)


def onnx_files(path: str | Path) -> list[Path]:
    """The ``.onnx`` file itself, or those of the folder by :func:`pack_folder`, by name.

    Raises:
        ModelFileError: As :func:`pack_folder`.
    """
    path = Path(path)
    if path.is_file() and path.suffix.lower() == ".onnx":
        return [path]
    return sorted(pack_folder(path).glob("*.onnx"))


def encoder_of_app(app: Any) -> str:
    """Name of the recogniser that a ``FaceAnalysis`` loaded, by its file; empty without one."""
    models = getattr(app, "models", None)
    recogniser = models.get("recognition") if isinstance(models, dict) else None
    file = getattr(recogniser, "model_file", None)
    if recogniser is None:
        return ""
    return encoder_of_file(file) if file else UNKNOWN


def import_insightface(module: str) -> ModuleType:
    """Import a module of insightface, with telemetry off.

    Raises:
        FacePackError: It is not installed.
    """
    # Set here too: without a host, the pack's root may not have been imported before.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise FacePackError(
            f"insightface cannot be imported ({error})",
            fix="Install it with pip install 'insightface>=2.0', or use another analyzer",
        ) from error


def damaged_pack(path: Path, error: Exception) -> ModelFileError:
    """The error to raise when a file of the folder cannot be loaded."""
    return ModelFileError(
        f"the InsightFace models cannot be loaded: {error}",
        where=str(path),
        fix="Unpack the pack again",
    )
