"""Files of published adapters: safetensors, or what ``torch.save`` wrote; nothing in them is run.

``.bin`` and ``.ckpt`` come in two forms, zip archives and the older sequence of pickles (all of
h94's files are of the latter: docs/reference/published_weights.md C1). The third and oldest form,
tar archives, is not read: no adapter was ever published so.
"""

from __future__ import annotations

import tarfile
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from ...errors import ModelFileError
from ...faces.encoders.weight_file import read_torch_file
from ...state_dict import check_values
from ...storage import read_weights
from .state_dict import flat_state_dict, merged

SUFFIXES = (".safetensors", ".bin", ".ckpt", ".pt", ".pth")
_FEW_BYTES = 8


def read_adapter_files(paths: Sequence[str | Path]) -> dict[str, Tensor]:
    """The tensors of one file, or of several that belong together, under one spelling.

    Raises:
        ModelFileError: A file is missing, truncated, no file of weights, or names anything that
            would have to be run; or weights are there twice.
    """
    parts = [read_adapter_file(path) for path in paths]
    if len(parts) == 1:
        return parts[0]
    return merged(parts, ", ".join(str(path) for path in paths))


def read_adapter_file(path: str | Path) -> dict[str, Tensor]:
    """The tensors of one file on the CPU, in the file's dtypes, all finite.

    The format comes from the file's first bytes; the ending .safetensors alone is believed.

    Raises:
        ModelFileError: As :func:`read_adapter_files`.
    """
    tensors = _read(Path(path))
    check_values(tensors, str(path))
    return tensors


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file() or _is_safetensors(path):
        return flat_state_dict(read_weights(path)[0], str(path))
    if tarfile.is_tarfile(path):
        raise ModelFileError(
            "the file is a tar archive, which adapters are not published as",
            where=str(path),
            fix="Do not open it: get it again from its authors",
        )
    return flat_state_dict(read_torch_file(path, "an adapter"), str(path))


def _is_safetensors(path: Path) -> bool:
    """By name, or by the length of its header and the brace behind it."""
    if path.suffix.lower() == ".safetensors":
        return True
    try:
        with path.open("rb") as file:
            start = file.read(_FEW_BYTES + 1)
    except OSError as error:
        raise ModelFileError(
            f"the model file cannot be read: {error.strerror or error}",
            where=str(path),
            fix="Check its permissions and the disk",
        ) from error
    length = int.from_bytes(start[:_FEW_BYTES], "little")
    return start[_FEW_BYTES:] == b"{" and length < path.stat().st_size
