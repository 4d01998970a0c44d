"""The tensor index of a PyTorch checkpoint, read without executing the pickle's code.

A pickle is a program that may call any Python function by name. Here no name is imported. The few
that a state dict needs are replaced by harmless stand-ins; those that training frameworks store
beside the weights become inert objects; any other name is an error. The values of tensors are not
read, only their location.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Iterable, Mapping
from io import BufferedIOBase
from typing import Any, NamedTuple

import torch

from ...errors import ModelFileError


class StoredTensor(NamedTuple):
    """Location of a tensor: from ``offset`` in the storage ``key`` of ``length`` elements."""

    key: str
    length: int
    dtype: torch.dtype
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def extent(self, name: str, where: str) -> int:
        """Number of elements of the storage from the tensor's first to its last.

        Raises:
            ModelFileError: It extends beyond its storage, or repeats elements.
        """
        count = math.prod(self.shape)
        if not count:
            return 0
        extent = sum((n - 1) * step for n, step in zip(self.shape, self.stride, strict=True)) + 1
        # Expanded views, with more elements than their storage, do not occur in checkpoints.
        if count > self.length or self.offset + extent > self.length:
            raise damaged(f"is damaged: {name} extends beyond its storage", where)
        return extent


Storages = dict[str, tuple[torch.dtype, int]]
"""Key -> dtype and number of elements."""


def read_index(stream: BufferedIOBase, where: str) -> tuple[dict[str, StoredTensor], Storages]:
    """Name -> location of each tensor of the state dict, and all storages that the index names.

    Lightning checkpoints have them under ``state_dict``, others at the top level; everything else
    (optimiser state, hyperparameters) is ignored.

    Raises:
        ModelFileError: The index is truncated, holds no state dict, contains a weight twice, or
            refers to a Python object that no state dict needs.
    """
    unpickler = _Unpickler(stream)
    found = _loaded(unpickler, where)
    states = found.get("state_dict", found) if isinstance(found, dict) else None
    if not isinstance(states, dict):
        raise ModelFileError(
            "the checkpoint contains no state_dict",
            where=where,
            fix="Use the checkpoint that its authors released",
        )
    tensors = {
        name: tensor
        for name, tensor in states.items()
        if isinstance(name, str) and isinstance(tensor, StoredTensor)
    }
    return tensors, unpickler.storages


def read_plain(stream: BufferedIOBase, where: str) -> Any:
    """The next pickle of a stream, made of numbers, strings, lists and dicts.

    Raises:
        ModelFileError: It is truncated or refers to a Python object.
    """
    return _loaded(_Unpickler(stream), where)


def damaged(what: str, where: str) -> ModelFileError:
    """The error for a checkpoint that has to be downloaded again."""
    return ModelFileError(f"the checkpoint {what}", where=where, fix="Download it again")


def _loaded(unpickler: _Unpickler, where: str) -> Any:
    try:
        return unpickler.load()
    except ModelFileError as error:
        raise ModelFileError(error.what, where=where, fix=error.fix) from error
    except Exception as error:  # a broken or hostile pickle may raise anything
        raise damaged(f"is damaged, or truncated: {error}", where) from error


_STORAGES = {
    "DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}  # fmt: skip
_INERT_MODULES = {
    "_codecs", "argparse", "cldm", "collections", "copy_reg", "copyreg", "datetime", "ldm",
    "lightning", "lightning_fabric", "numpy", "omegaconf", "pathlib", "pytorch_lightning", "torch",
    "typing",
}  # fmt: skip
_INERT_BUILTINS = {"set", "frozenset", "bytearray", "complex", "object", "list", "dict", "tuple"}
_BUILTINS = ("builtins", "__builtin__")


class _Inert:
    """Stand-in for an object that is not needed: accepts any state and keeps nothing."""

    def __new__(cls, *args: Any, **kwargs: Any) -> _Inert:
        return object.__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...

    def __setitem__(self, key: Any, value: Any) -> None: ...

    def append(self, item: Any) -> None: ...

    def extend(self, items: Any) -> None: ...

    def add(self, item: Any) -> None: ...

    def update(self, items: Any) -> None: ...


class _Table(dict[Any, Any]):
    """A dict that refuses duplicate keys."""

    def __init__(self, items: Iterable[tuple[Any, Any]] = ()) -> None:
        super().__init__()
        for key, value in items:
            self[key] = value

    def __setitem__(self, key: Any, value: Any) -> None:
        if key in self:
            raise ModelFileError(
                f"the checkpoint contains {key} twice", fix="Use the file that its authors released"
            )
        super().__setitem__(key, value)


class _Unpickler(pickle._Unpickler):
    """Based on the pure Python unpickler, which a hostile memo index cannot make exhaust memory.

    (The C unpickler allocates a memo as long as the highest index.)
    """

    def __init__(self, stream: BufferedIOBase) -> None:
        super().__init__(stream)
        self.storages: Storages = {}
        # New classes each time: a pickle may set attributes on them.
        self._inert = type("Inert", (_Inert,), {})
        table = type("Table", (_Table,), {})
        self._known: Mapping[tuple[str, str], Any] = {
            ("collections", "OrderedDict"): table,
            ("torch", "Size"): _Call(_size),
            ("torch._utils", "_rebuild_tensor"): _Call(_tensor),
            ("torch._utils", "_rebuild_tensor_v2"): _Call(_tensor),
            ("torch._utils", "_rebuild_parameter"): _Call(_parameter),
            ("torch._utils", "_rebuild_parameter_with_state"): _Call(_parameter),
            **{("torch", name): dtype for name, dtype in _STORAGES.items()},
        }

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for a name; nothing is imported."""
        if (module, name) in self._known:
            return self._known[module, name]
        builtin = module in _BUILTINS and name in _INERT_BUILTINS
        if builtin or module.partition(".")[0] in _INERT_MODULES:
            return self._inert
        raise ModelFileError(
            f"the checkpoint refers to the Python object {module}.{name}, "
            "which a state dict does not need",
            fix="It may be malicious: do not open it, download it again from its authors",
        )

    def get_extension(self, code: int) -> None:
        """Extension codes would refer to real objects: none are accepted."""
        raise ValueError(f"extension {code}")

    def persistent_load(self, pid: Any) -> Any:
        """Location of a storage: (key, number of elements, dtype)."""
        kind, dtype, key, _, length, *view = pid  # the legacy format: a view, or None
        if kind != "storage" or not isinstance(dtype, torch.dtype) or any(view):
            raise ValueError(f"a storage of unknown kind {kind}")
        key, length = str(key), _counts(length)[0]
        if self.storages.setdefault(key, (dtype, length)) != (dtype, length):
            raise ValueError(f"the storage {key} is of two kinds")
        return key, length, dtype


class _Call:
    """A function whose attributes cannot be set."""

    __slots__ = ("_function",)

    def __init__(self, function: Any) -> None:
        object.__setattr__(self, "_function", function)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(name)

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)


def _tensor(storage: Any, offset: Any, shape: Any, stride: Any, *rest: Any) -> StoredTensor:
    key, length, dtype = storage
    (start,) = _counts(offset)
    return StoredTensor(key, length, dtype, start, _counts(*shape), _counts(*stride))


def _parameter(tensor: StoredTensor, *rest: Any) -> StoredTensor:
    return tensor


def _size(shape: Any) -> tuple[int, ...]:
    return _counts(*shape)


def _counts(*values: Any) -> tuple[int, ...]:
    if not all(type(value) is int and value >= 0 for value in values):
        raise ValueError(f"{values} are not non-negative integers")
    return values
