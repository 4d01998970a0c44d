"""Reading face features from numpy files, safetensors, and numpy arrays pickled by ``torch.save``,
as in the data set of Dense-Face (docs/reference/libraries.md 8).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...errors import ModelFileError
from ...storage import read_weights

SUFFIXES = (".pth", ".pt", ".npy", ".safetensors")


def read_feature(path: str | Path) -> Tensor:
    """The feature vector in a file, [D], float32.

    No code in the file is run: only numpy arrays and tensors are unpickled.

    Raises:
        ModelFileError: The file is missing or damaged, or holds anything but one vector.
    """
    path = Path(path)
    if path.suffix == ".safetensors" or not path.is_file():
        values: object = next(iter(read_weights(path)[0].values()), None)
    else:
        values = _read(path)
    if isinstance(values, np.ndarray) and values.dtype.kind == "f":
        values = torch.from_numpy(values)
    if not isinstance(values, Tensor) or values.numel() != max(values.shape, default=0):
        raise ModelFileError(
            "the file holds no single feature vector",
            where=str(path),
            fix="Give one vector of numbers an image",
        )
    return values.float().flatten()


def _read(path: Path) -> object:
    try:
        if path.suffix == ".npy":
            return np.load(path, allow_pickle=False)
        with torch.serialization.safe_globals(numpy_globals()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken or hostile file may raise anything
        raise ModelFileError(
            "the file of features is damaged, or holds other things than numbers",
            where=str(path),
            fix="Give files with one vector of numbers each",
        ) from error


def numpy_globals() -> list[Any]:
    """The globals of a pickled float array, under the names of older numpy versions too."""
    array = np.zeros(1, np.float32)
    rebuild = array.__reduce__()[0]
    return [
        rebuild,
        (rebuild, "numpy.core.multiarray._reconstruct"),
        (rebuild, "numpy._core.multiarray._reconstruct"),
        np.ndarray,
        np.dtype,
        type(array.dtype),
        type(np.dtype(np.float64)),
    ]
