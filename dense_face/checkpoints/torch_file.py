"""What ``torch.save`` wrote, in either of its formats, as lazy tensors; nothing in it is run."""

from __future__ import annotations

from io import BufferedIOBase
from pathlib import Path

from ...errors import ModelFileError
from .lazy_tensor import LazyTensor
from .torch_legacy import LEGACY_MAGIC, read_legacy
from .torch_zip import ZIP_MAGIC, read_zip
from .unpickle import damaged


def open_checkpoint(path: Path) -> BufferedIOBase:
    """The open file; raises ModelFileError if it cannot be read."""
    try:
        return path.open("rb")
    except OSError as error:
        raise ModelFileError(
            f"the checkpoint cannot be read: {error.strerror or error}",
            where=str(path),
            fix="Correct the path or the file's permissions",
        ) from error


def is_torch_file(stream: BufferedIOBase) -> bool:
    """Whether an open file begins like one of ``torch.save``; goes back to its start."""
    return _start(stream) in (ZIP_MAGIC, LEGACY_MAGIC)


def read_checkpoint(stream: BufferedIOBase, where: str) -> dict[str, LazyTensor]:
    """Tensors of an open checkpoint; they read from the same stream.

    Objects that training frameworks store beside the weights are ignored.

    Args:
        stream: A binary stream at its start; must stay open while tensors are read.
        where: The file, for errors.

    Raises:
        ModelFileError: The file is truncated, altered, malicious, or not a PyTorch checkpoint.
    """
    magic = _start(stream)
    if magic == ZIP_MAGIC:
        return read_zip(stream, where)
    if magic == LEGACY_MAGIC:
        return read_legacy(stream, where)
    raise damaged("is truncated, or was not written by PyTorch", where)


def _start(stream: BufferedIOBase) -> bytes:
    magic = stream.read(len(ZIP_MAGIC))
    stream.seek(0)
    return magic
