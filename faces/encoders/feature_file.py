"""Reading face features from numpy files, safetensors, and numpy arrays pickled by ``torch.save``,
as in the data set of Dense-Face (docs/reference/libraries.md 8).
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ... import limits
from ...errors import ModelFileError, refuse_with
from ...readers.npy import read_npy
from ...readers.pickled_array import read_array
from ...storage import read_weights

SUFFIXES = (".pth", ".pt", ".npy", ".safetensors")


def read_feature(path: str | Path) -> Tensor:
    """The feature vector in a file, [D], float32.

    Raises:
        ModelFileError: The file is missing or damaged, or holds anything but one vector.
    """
    path = Path(path)
    if path.suffix.lower() == ".safetensors" or not path.is_file():
        values = next(iter(read_weights(path)[0].values()), None)
    else:
        values = _read(path)
    if not isinstance(values, Tensor) or values.numel() != max(values.shape, default=0):
        raise ModelFileError(
            "the file holds no single feature vector",
            where=str(path),
            fix="Give one vector of numbers an image",
        )
    return values.float().flatten()


def _read(path: Path) -> Tensor | None:
    refusal = ModelFileError(
        "the file of features is damaged, or holds other things than numbers",
        where=str(path),
        fix="Give files with one vector of numbers each",
    )
    with refuse_with(refusal), path.open("rb") as stream:
        if path.stat().st_size > limits.VECTOR_BYTES:
            raise refusal
        if path.suffix.lower() != ".npy":
            return read_array(stream, str(path))
        values = read_npy(stream.read(limits.VECTOR_BYTES))
        return torch.from_numpy(values) if values.dtype.kind == "f" else None
