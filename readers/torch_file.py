"""What ``torch.save`` wrote, in either of its formats; nothing in it is run.

``torch.load`` is not used, not even with ``weights_only``: that unpacks zip bombs, takes memory on
a claim alone, and lets a file call methods of the classes on its list.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from io import BufferedIOBase
from pathlib import Path
from typing import Any

from .. import limits
from ..errors import ModelFileError
from .lazy_tensor import LazyTensor
from .torch_legacy import LEGACY_MAGIC, read_legacy
from .torch_zip import ZIP_MAGIC, read_zip
from .unpickle import Saved, StoredTensor, Unpickler, damaged, state_dict_of


def open_checkpoint(path: Path) -> BufferedIOBase:
    """The open file; raises ModelFileError if it cannot be read."""
    try:
        return path.open("rb")
    except (OSError, ValueError) as error:  # ValueError: NUL in its name
        reason = error.strerror if isinstance(error, OSError) else None
        raise ModelFileError(
            f"the checkpoint cannot be read: {reason or error}",
            where=str(path),
            fix="Correct the path or the file's permissions",
        ) from error


def is_torch_file(stream: BufferedIOBase) -> bool:
    """Whether an open file begins like one of ``torch.save``; goes back to its start."""
    return _start(stream) in (ZIP_MAGIC, LEGACY_MAGIC)


def read_checkpoint(stream: BufferedIOBase, where: str) -> dict[str, LazyTensor]:
    """Tensors of an open checkpoint by name; they read from the same stream.

    Objects that training frameworks store beside the weights are ignored.

    Args:
        stream: A binary stream at its start; must stay open while tensors are read.
        where: The file, for errors.

    Raises:
        ModelFileError: The file is truncated, altered, malicious, or not a PyTorch checkpoint.
    """
    saved = _saved(stream, where, Unpickler)
    stored = state_dict_of(saved.tree, where)
    _check_sizes(stored.items(), stream, where)
    return {name: saved.lazy(name, tensor) for name, tensor in stored.items()}


def read_saved(stream: BufferedIOBase, where: str, kind: type[Unpickler] = Unpickler) -> Any:
    """All that is in an open file: tensors, numbers, texts, lists and dicts.

    Args:
        stream: As in :func:`read_checkpoint`.
        kind: Reads the index.

    Raises:
        ModelFileError: As :func:`read_checkpoint`.
    """
    saved = _saved(stream, where, kind)
    _check_sizes(_tensors(saved.tree, ""), stream, where)
    return _read(saved.tree, saved, "")


def _saved(stream: BufferedIOBase, where: str, kind: type[Unpickler]) -> Saved:
    magic = _start(stream)
    if magic == ZIP_MAGIC:
        return read_zip(stream, where, kind)
    if magic == LEGACY_MAGIC:
        return read_legacy(stream, where, kind)
    raise damaged("is truncated, or was not written by PyTorch", where)


def _start(stream: BufferedIOBase) -> bytes:
    magic = stream.read(len(ZIP_MAGIC))
    stream.seek(0)
    return magic


def _tensors(tree: Any, name: str) -> Iterator[tuple[str, StoredTensor]]:
    if isinstance(tree, StoredTensor):
        yield name, tree
    for key, item in _items(tree):
        yield from _tensors(item, f"{name}.{key}" if name else str(key))


def _read(tree: Any, saved: Saved, name: str) -> Any:
    if isinstance(tree, StoredTensor):
        return saved.lazy(name, tree).read()
    read = {
        key: _read(item, saved, f"{name}.{key}" if name else str(key)) for key, item in _items(tree)
    }
    if isinstance(tree, list | tuple):
        return type(tree)(read.values())
    return read if isinstance(tree, dict) else tree


def _items(tree: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(tree, dict):
        return tree.items()
    if isinstance(tree, list | tuple) and not isinstance(tree, StoredTensor):
        return enumerate(tree)
    return ()


def _check_sizes(
    tensors: Iterable[tuple[str, StoredTensor]], stream: BufferedIOBase, where: str
) -> None:
    """Shared storages are read again for each tensor: without a bound a small file takes any."""
    size = stream.seek(0, os.SEEK_END)
    total = 0
    for count, (name, tensor) in enumerate(tensors, 1):
        tensor.extent(name, where)
        total += tensor.nbytes
        if count > limits.TENSORS or total > limits.COPIES * size:
            raise damaged("is damaged: its tensors do not fit into it", where)
