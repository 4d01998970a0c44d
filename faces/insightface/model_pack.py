"""Where InsightFace's models lie, and how InsightFace is imported without telling anybody."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from types import ModuleType

from ...errors import FacePackError, ModelFileError

PACK_FIX = (
    "Give the folder that holds the pack's .onnx files, a detector among them "
    "(usually models/insightface/models/<pack>)"
)


def pack_folder(folder: str | Path) -> Path:
    """The folder that really holds the ``.onnx`` files: itself, or the only one nested in it.

    Raises:
        ModelFileError: It is missing, no folder, or holds none.
    """
    path = Path(folder)
    if not path.is_dir():
        kind = "is a file" if path.exists() else "is missing"
        raise ModelFileError(f"the InsightFace folder {kind}", where=str(path), fix=PACK_FIX)
    if any(path.glob("*.onnx")):
        return path
    nested = sorted({file.parent for file in path.glob("*/*.onnx")})
    if len(nested) == 1:  # the zip of antelopev2 unpacks so
        return nested[0]
    found = "several folders with .onnx files" if nested else "no .onnx files"
    raise ModelFileError(f"the InsightFace folder holds {found}", where=str(path), fix=PACK_FIX)


def encoder_name(folder: Path) -> str:
    """Name of the recogniser in a folder of InsightFace models, as identities bear it."""
    return f"insightface/{folder.name}"


def import_insightface(module: str) -> ModuleType:
    """A module of insightface, with its and onnxruntime's reports switched off.

    Raises:
        FacePackError: It is not installed.
    """
    # Set again, because the pack can be used without its root being imported first by a host.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise FacePackError(
            f"insightface cannot be imported ({error})",
            fix="Install it with pip install 'insightface>=2.0', or use another analyzer",
        ) from error


def damaged_pack(path: Path, error: Exception) -> ModelFileError:
    """What to raise when a file of the folder cannot be loaded."""
    return ModelFileError(
        f"the InsightFace models cannot be loaded: {error}",
        where=str(path),
        fix="Unpack the pack again",
    )
