"""Reading third-party weights from safetensors or PyTorch files, without running code in them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ...errors import ModelFileError
from ...readers.torch_file import open_checkpoint, read_saved
from ...state_dict import as_float32, check_values
from ...storage import read_weights

SUFFIXES = (".safetensors", ".pth", ".pt")
#: Keys under which training scripts store the weights beside other things.
_WRAPPERS = ("state_dict", "model_state_dict", "model")
#: Prefix that ``nn.DataParallel`` adds to every name.
_PARALLEL = "module."


def read_network(path: str | Path, what: str) -> dict[str, Tensor]:
    """The tensors of a network on the CPU, floats as float32.

    Args:
        path: A safetensors file, or one written by ``torch.save``.
        what: Name of the network for errors ("IR-SE50").

    Raises:
        ModelFileError: The file is missing, damaged, or holds anything but weights, or one that is
            not finite.
    """
    path = Path(path)
    if path.suffix.lower() == ".safetensors" or not path.is_file():
        tensors, _ = read_weights(path)
    else:
        tensors = _tensors_of(read_torch_file(path, what), path, what)
    check_values(tensors, str(path))
    return as_float32(tensors)


def read_torch_file(path: str | Path, what: str) -> Any:
    """Load a file written by ``torch.save``: tensors and plain values only, no code is run.

    Raises:
        ModelFileError: The file is damaged, or holds other objects.
    """
    with open_checkpoint(Path(path)) as stream:
        try:
            return read_saved(stream, str(path))
        except ModelFileError as error:
            raise ModelFileError(
                f"the file of {what} is damaged, or not a weight file: {error.what}",
                where=str(path),
                fix=error.fix,
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
