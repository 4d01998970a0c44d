"""IP-Adapter files: safetensors, or ``.bin`` files read without executing their pickle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ..errors import ModelFileError
from ..faces.weight_file import read_torch_file
from ..storage import read_weights
from .faceid import FaceIDFile, convert_faceid

SUFFIXES = (".safetensors", ".bin")
_PARTS = ("image_proj", "ip_adapter")


def load_faceid(path: str | Path) -> FaceIDFile:
    """Load an IP-Adapter-FaceID file for Stable Diffusion 1.5.

    Raises:
        ModelFileError: The file is missing, damaged, or not an IP-Adapter-FaceID.
        IncompatibleError: It is another kind of IP-Adapter.
    """
    path = Path(path)
    if path.suffix == ".safetensors" or not path.is_file():
        return convert_faceid(read_weights(path)[0], str(path))
    found = read_torch_file(path, "an IP-Adapter")
    parts = {name: found.get(name) for name in _PARTS} if isinstance(found, Mapping) else {}
    tensors: dict[str, Tensor] = {}
    for part, table in parts.items():
        if not isinstance(table, Mapping):
            raise ModelFileError(
                f"the file has no part {part}",
                where=str(path),
                fix="Choose an IP-Adapter-FaceID file",
            )
        tensors |= {f"{part}.{name}": t for name, t in table.items() if isinstance(t, Tensor)}
    return convert_faceid(tensors, str(path))
