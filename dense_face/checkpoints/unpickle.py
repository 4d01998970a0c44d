"""The table of weights in a PyTorch checkpoint, read without running anything it says.

A pickle is a program: it may name any function of Python and have it called. Here no name is ever
imported. The few that tables of weights need are answered by harmless stand-ins; those that
training frameworks leave beside the weights become inert objects, which take everything and do
nothing; any other name ends the reading. Numbers are not read at all, only where they lie.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping
from io import BufferedIOBase
from typing import Any, NamedTuple

import torch

from ...errors import FacePackError, ModelFileError


class StoredTensor(NamedTuple):
    """Where a tensor lies: record ``key`` of ``length`` numbers, from ``offset`` on."""

    key: str
    length: int
    dtype: torch.dtype
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def read_state_dict(stream: BufferedIOBase) -> dict[str, StoredTensor]:
    """Name -> place of each tensor, from the ``data.pkl`` of a checkpoint.

    A Lightning checkpoint has them under ``state_dict``, others bare; what else there is (state of
    the optimiser, settings) is passed over.

    Raises:
        ModelFileError: Truncated, no table of weights, a weight that is there twice, or a name
            that a file of weights has no use for.
    """
    try:
        found = _Unpickler(stream).load()
    except FacePackError:
        raise
    except Exception as error:  # a broken or hostile pickle may raise anything
        raise ModelFileError(
            f"the checkpoint's table of contents is damaged: {error}", fix="Download it again"
        ) from error
    states = found.get("state_dict", found) if isinstance(found, dict) else None
    if not isinstance(states, dict):
        raise ModelFileError(
            "the checkpoint holds no state_dict", fix="Use the checkpoint that its authors released"
        )
    return {
        name: tensor
        for name, tensor in states.items()
        if isinstance(name, str) and isinstance(tensor, StoredTensor)
    }


_STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_INERT_MODULES = {
    "_codecs",
    "argparse",
    "cldm",
    "collections",
    "copy_reg",
    "copyreg",
    "datetime",
    "ldm",
    "lightning",
    "lightning_fabric",
    "numpy",
    "omegaconf",
    "pathlib",
    "pytorch_lightning",
    "torch",
    "typing",
}
_INERT_BUILTINS = {"set", "frozenset", "bytearray", "complex", "object", "list", "dict", "tuple"}
_BUILTINS = ("builtins", "__builtin__")


class _Inert:
    """Stands for an object that is not needed: takes whatever a pickle gives it, keeps nothing."""

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
    """An ordered dict that takes no key twice."""

    def __init__(self, items: Iterable[tuple[Any, Any]] = ()) -> None:
        super().__init__()
        for key, value in items:
            self[key] = value

    def __setitem__(self, key: Any, value: Any) -> None:
        if key in self:
            raise ModelFileError(
                f"the checkpoint holds {key} twice", fix="Use the file that its authors released"
            )
        super().__setitem__(key, value)


class _Unpickler(pickle._Unpickler):
    """Python's own reader in Python: a bad count of the pickle cannot make it hoard memory.

    (The one in C sets up as many places as the highest number that a pickle gives to an object.)
    """

    def __init__(self, stream: BufferedIOBase) -> None:
        super().__init__(stream)
        # Classes of this reading alone: a pickle may set attributes of what it is given.
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
            f"the checkpoint asks for the Python object {module}.{name}, "
            "which a file of weights has no use for",
            fix="It may be malicious: do not open it, get it again from its authors",
        )

    def get_extension(self, code: int) -> None:
        """Registered short cuts lead to real objects: there are none here."""
        raise ValueError(f"extension {code}")

    def persistent_load(self, pid: Any) -> Any:
        """The place of a storage: (key, count of numbers, dtype)."""
        kind, dtype, key, _, length = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise ValueError(f"a storage of unknown kind {kind}")
        return str(key), _counts(length)[0], dtype


class _Call:
    """A function whose attributes nobody can set."""

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
        raise ValueError(f"{values} are no counts")
    return values
