"""Files of networks: ``.safetensors``, or what ``torch.save`` wrote; nothing in them is run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ..dense_face.checkpoints.safetensors_stream import read_stream
from ..readers.lazy_tensor import LazyStateDict, LazyTensor, to_meta
from ..readers.torch_file import open_checkpoint, read_checkpoint
from ..storage import read_shapes, read_weights, verify_checksum


@dataclass(frozen=True, eq=False)
class CheckpointFile:
    """An open file whose tensors are read one at a time.

    tensors: All of them on ``meta``, by name: they can be renamed and sliced without their values.
    metadata: The file's.
    """

    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    _stored: dict[int, LazyTensor]

    def read(self, tensor: Tensor) -> Tensor:
        """The values of one of ``tensors``, or of a view of it, in the file's dtype."""
        values = self._stored[_storage(tensor)].read()
        return values.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())


@contextmanager
def opened_checkpoint(path: str | Path) -> Iterator[CheckpointFile]:
    """A file whose tensors can be read in the block; it is never in memory as a whole.

    Raises:
        ModelFileError: The file is missing, altered or damaged.
    """
    path = Path(path)
    read_header(path)  # safetensors' own library checks the header more closely
    with open_checkpoint(path) as stream:
        metadata: dict[str, str] = {}
        if _is_safetensors(path):
            lazy, metadata = read_stream(stream, str(path))
            verify_checksum(LazyStateDict(lazy), metadata, str(path))
        else:
            lazy = read_checkpoint(stream, str(path))
        tensors = to_meta(lazy)
        stored = {_storage(tensors[name]): tensor for name, tensor in lazy.items()}
        yield CheckpointFile(tensors, metadata, stored)


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of ``.safetensors``, or of what ``torch.save`` wrote; no code is run.

    Raises:
        ModelFileError: The file is missing, altered or damaged.
    """
    path = Path(path)
    if _is_safetensors(path):
        return read_weights(path)
    # Training frameworks store objects beside the weights, which torch.load refuses to read.
    with open_checkpoint(path) as stream:
        lazy = read_checkpoint(stream, str(path))
        return {name: tensor.read() for name, tensor in lazy.items()}, {}


def read_header(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """:func:`read_tensors` without values: the tensors are on ``meta``.

    Raises:
        ModelFileError: The file is missing or damaged.
    """
    path = Path(path)
    if _is_safetensors(path):
        return read_shapes(path)
    with open_checkpoint(path) as stream:
        return to_meta(read_checkpoint(stream, str(path))), {}


def _is_safetensors(path: Path) -> bool:
    """By its name; a missing file is reported like one."""
    return path.suffix.lower() == ".safetensors" or not path.is_file()


def _storage(tensor: Tensor) -> int:
    """What a tensor has in common with its views, also on ``meta``."""
    return tensor.untyped_storage()._cdata
