"""The bundled weights: their files, the training stages that make them, and how they are loaded.

Imports nothing heavy, because nodes need these paths while the host starts.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ..errors import IncompatibleError, ModelFileError

T = TypeVar("T")

WEIGHTS = Path(__file__).parent / "weights"
BASE_FILE = "tiny_base.safetensors"
ANALYZER_FILE = "tiny_analyzer.safetensors"
EVALUATOR_FILE = "tiny_evaluator.safetensors"
DENSE_FACE_FILE = "tiny_dense_face.safetensors"
ANNOTATION_FILE = "tiny_annotation.safetensors"
SFSR_FILE = "tiny_sfsr.safetensors"
MALFORMED_FILE = "tiny_malformed.json"


def stage_of(name: str) -> str:
    """The ``train-demo`` stage that makes a file: ``tiny_dense_face`` -> ``dense-face``."""
    return name.removeprefix("tiny_").replace("_", "-")


def load_bundled(load: Callable[[Path], T], folder: str | Path, name: str) -> T:
    """Load ``<folder>/<name>.safetensors``.

    Raises:
        ModelFileError: The file is missing, truncated or altered.
        IncompatibleError: It belongs to another version of the network.
    """
    path = Path(folder) / f"{name}.safetensors"
    fix = f"Fetch it again, or train it: denseface train-demo {stage_of(name)}"
    if not path.is_file():
        raise ModelFileError("a file of the tiny world is missing", where=str(path), fix=fix)
    try:
        return load(path)
    except RuntimeError as error:  # torch's for weights of other names or shapes
        raise IncompatibleError(
            "the file holds another version of the network", where=str(path), fix=fix
        ) from error
