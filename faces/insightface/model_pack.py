"""Folders of InsightFace models, and importing InsightFace without its telemetry."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from types import ModuleType
from typing import Any

from ...errors import FacePackError, ModelFileError
from ..crops.alignment import ALIGNED_SIZE
from ..encoders.names import encoder_of_file
from ..opencv_zoo.sface import LENGTH as SFACE_LENGTH

#: Execution providers of onnxruntime.
PROVIDERS = ["CPUExecutionProvider"]
PACK_FIX = (
    "Give the folder that holds the pack's .onnx files, a detector among them "
    "(usually models/insightface/models/<pack>)"
)
LENGTH = 512
"""Numbers of an identity."""
_DETECTOR_OUTPUTS = (6, 9, 10, 15)
"""For each stride scores and boxes, with or without points."""
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


def require_recogniser(net: Any) -> None:
    """Raise ModelFileError if what InsightFace took for a recogniser is none of its form.

    It goes by the input alone, which any classifier of square images has.
    """
    size, length, where = net.input_size, net.output_shape[-1], str(net.model_file)
    if length == SFACE_LENGTH:  # InsightFace would normalise its input twice
        raise ModelFileError(
            f"this recogniser gives {SFACE_LENGTH} numbers as SFace does, which OpenCV runs",
            where=where,
            fix="Keep sface in its file's name, and keep it out of InsightFace's folders",
        )
    # A size that the file leaves open has a name instead of a number.
    sizes = ((size[0], ALIGNED_SIZE), (size[1], ALIGNED_SIZE), (length, LENGTH))
    if any(isinstance(found, int) and found != wanted for found, wanted in sizes):
        raise ModelFileError(
            f"this is another network than a recogniser of InsightFace: {size[0]}x{size[1]} px to "
            f"{length} numbers instead of {ALIGNED_SIZE}x{ALIGNED_SIZE} px to {LENGTH}",
            where=where,
            fix="Use a recogniser's file, such as w600k_r50.onnx or glintr100.onnx",
        )


def require_detector(net: Any) -> None:
    """Raise ModelFileError if what InsightFace took for its detector is another, such as YuNet."""
    count = len(net.output_names)
    if count not in _DETECTOR_OUTPUTS:
        raise ModelFileError(
            f"this is another network than a detector of InsightFace: it has {count} outputs",
            where=str(net.model_file),
            fix="Take the file out of InsightFace's folders, and put a detector such as "
            "det_10g.onnx there; YuNet is chosen as a finder of its own",
        )
