"""Networks of others: their weights from safetensors or from a PyTorch file, which is never run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import ModelFileError
from ..storage import read_weights

SUFFIXES = (".safetensors", ".pth", ".pt")
#: Under which name training scripts keep the weights beside other things.
_WRAPPERS = ("state_dict", "model_state_dict", "model")
#: ``nn.DataParallel`` puts this before every name.
_PARALLEL = "module."


def read_network(path: str | Path, what: str) -> dict[str, Tensor]:
    """The tensors of a network on the CPU, floats as float32.

    Args:
        path: A safetensors file, or what ``torch.save`` wrote. Of the latter only tensors are read
            (``weights_only``): a file that names anything else is refused.
        what: Name of the network, for messages ("IR-SE50").

    Raises:
        ModelFileError: The file is missing, damaged, or holds something else than weights.
    """
    path = Path(path)
    if path.suffix == ".safetensors" or not path.is_file():
        tensors, _ = read_weights(path)
    else:
        tensors = _tensors_of(read_torch_file(path, what), path, what)
    return {k: t.float() if t.is_floating_point() else t for k, t in tensors.items()}


def read_torch_file(path: str | Path, what: str) -> Any:
    """What ``torch.save`` wrote, tensors and plain values only: nothing in the file is run.

    Raises:
        ModelFileError: The file is damaged, or names anything else.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken or hostile file may raise anything
        raise ModelFileError(
            f"the file of {what} is damaged, or is no file of weights",
            where=str(path),
            fix="Download it again, from its authors",
        ) from error


def _tensors_of(found: Any, path: Path, what: str) -> dict[str, Tensor]:
    while isinstance(found, Mapping):
        inner = next((found[name] for name in _WRAPPERS if name in found), None)
        if not isinstance(inner, Mapping):
            break
        found = inner
    tensors = {
        name.removeprefix(_PARALLEL): value
        for name, value in (found.items() if isinstance(found, Mapping) else ())
        if isinstance(name, str) and isinstance(value, Tensor)
    }
    if not tensors:
        raise ModelFileError(
            f"the file holds no weights of {what}", where=str(path), fix="Choose another file"
        )
    return tensors
