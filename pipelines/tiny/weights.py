"""Loading the tiny world's files, with what to do when one cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ...errors import IncompatibleError, ModelFileError

T = TypeVar("T")


def stage_of(name: str) -> str:
    """The stage of ``denseface train-demo`` that trains a bundled file: tiny_dense_face ->
    dense-face.
    """
    return name.removeprefix("tiny_").replace("_", "-")


def load_bundled(load: Callable[[Path], T], folder: str | Path, name: str) -> T:
    """Load ``<folder>/<name>.safetensors``.

    Raises:
        ModelFileError: Missing, truncated or altered.
        IncompatibleError: Another version of the network.
    """
    path = Path(folder) / f"{name}.safetensors"
    again = f"fetch it again, or train it: denseface train-demo {stage_of(name)}"
    if not path.is_file():
        raise ModelFileError(
            "a file of the tiny world is missing", where=str(path), fix=again.capitalize()
        )
    try:
        return load(path)
    except RuntimeError as error:  # torch's word for weights of other names or shapes
        raise IncompatibleError(
            "the file holds another version of the network",
            where=str(path),
            fix=again.capitalize(),
        ) from error
