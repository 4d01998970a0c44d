"""Recognisers by their files, whoever runs them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..analyzers import Recogniser

SFACE_MARK = "sface"
"""In the name of SFace's file, which by its form could be one of InsightFace's recognisers."""
_WEIGHTS = (".safetensors", ".pth")


def load_recogniser(path: str | Path) -> Recogniser:
    """The recogniser of a file.

    SFace for an ``.onnx`` file with ``sface`` in its name, IR-SE50 for weights of PyTorch,
    otherwise InsightFace's recogniser.

    Args:
        path: An ``.onnx``, ``.safetensors`` or ``.pth`` file; or, for InsightFace, a folder of
            ``.onnx`` files.

    Raises:
        ModelFileError: It is missing, damaged, or holds another network.
        FacePackError: OpenCV or insightface is not installed.
    """
    path = Path(path)
    if not path.is_dir() and SFACE_MARK in path.stem.lower():
        from ..opencv_zoo.sface import SFace

        return SFace(path)
    if path.suffix.lower() in _WEIGHTS:
        from .aligned_recogniser import AlignedRecogniser
        from .ir_se50 import ENCODER, load_ir_se50

        return AlignedRecogniser(ENCODER, load_ir_se50(path))
    from ..insightface.recogniser import InsightFaceRecogniser

    return InsightFaceRecogniser(path)
