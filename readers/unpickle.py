"""The content of a PyTorch file, read without executing the pickle's code.

A pickle is a program that may call any Python function by name. Here no name is imported. The few
that a state dict needs are replaced by harmless stand-ins; those that training frameworks store
beside the weights become inert objects; any other name is an error. The values of tensors are not
read, only their location. Bytes, instructions, nesting and nodes are bounded (``limits``).
"""

from __future__ import annotations

import io
import math
import pickle
import struct
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, NamedTuple

import torch

from .. import limits
from ..errors import ModelFileError
from .lazy_tensor import LazyTensor


class StoredTensor(NamedTuple):
    """Location of a tensor: from ``offset`` in the storage ``key`` of ``length`` elements."""

    key: str
    length: int
    dtype: torch.dtype
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

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


class Saved(NamedTuple):
    """The content of a file.

    tree: Numbers, texts, lists and dicts as they were saved, tensors as :class:`StoredTensor`.
    lazy: Makes such a tensor readable; takes its name for errors, too.
    """

    tree: Any
    lazy: Callable[[str, StoredTensor], LazyTensor]


def read_tree(
    stream: io.BytesIO, where: str, kind: type[Unpickler] | None = None
) -> tuple[Any, Storages]:
    """What was saved, and all storages that it names.

    Numbers, texts, lists and dicts are as they were, tensors are :class:`StoredTensor`, and objects
    of training frameworks are inert. The stream is in memory, so that no stated length takes more
    than there is.

    Raises:
        ModelFileError: The pickle is truncated, too large or too deep, contains a key twice, or
            refers to a Python object that no state dict needs.
    """
    unpickler = (kind or Unpickler)(stream)
    found = _loaded(unpickler, where)
    if not _fits(found):
        raise damaged("holds more than any checkpoint does", where)
    return found, unpickler.storages


def state_dict_of(found: Any, where: str) -> dict[str, StoredTensor]:
    """Name -> location of each tensor of the state dict in what was saved.

    Lightning checkpoints have it under ``state_dict``, others at the top level; everything else
    (optimiser state, hyperparameters) is ignored.

    Raises:
        ModelFileError: There is none.
    """
    states = found.get("state_dict", found) if isinstance(found, dict) else None
    if not isinstance(states, dict):
        raise ModelFileError(
            "the checkpoint contains no state_dict",
            where=where,
            fix="Use the checkpoint that its authors released",
        )
    return {
        name: tensor
        for name, tensor in states.items()
        if isinstance(name, str) and isinstance(tensor, StoredTensor)
    }


def read_plain(stream: io.BytesIO, where: str) -> Any:
    """The next pickle of a stream, made of numbers, strings, lists and dicts.

    Raises:
        ModelFileError: It is truncated or refers to a Python object.
    """
    return _loaded(Unpickler(stream), where)


def damaged(what: str, where: str) -> ModelFileError:
    """The error for a checkpoint that has to be downloaded again."""
    return ModelFileError(f"the checkpoint {what}", where=where, fix="Download it again")


def _loaded(unpickler: Unpickler, where: str) -> Any:
    try:
        return unpickler.load()
    except ModelFileError as error:
        raise ModelFileError(error.what, where=where, fix=error.fix) from error
    except Exception as error:  # a broken or hostile pickle may raise anything
        raise damaged(f"is damaged, or truncated: {error}", where) from error


def _fits(tree: Any) -> bool:
    """Whether a walk over all of it, shared parts each time, stays within the limits."""
    nodes, height = _extent(tree, {}, 0)
    return nodes <= limits.TREE_NODES and height <= limits.TREE_DEPTH


def _extent(tree: Any, known: dict[int, tuple[float, int]], depth: int) -> tuple[float, int]:
    """Nodes and nesting; each object is visited once."""
    if isinstance(tree, StoredTensor) or not isinstance(tree, dict | list | tuple):
        return 1, 0
    if depth > limits.TREE_DEPTH:
        return math.inf, depth
    if id(tree) not in known:
        known[id(tree)] = math.inf, 0  # for what holds itself
        nodes, height = 1.0, 0
        for item in tree.values() if isinstance(tree, dict) else tree:
            inside, below = _extent(item, known, depth + 1)
            nodes, height = nodes + inside, max(height, below)
        known[id(tree)] = nodes, height + 1
    return known[id(tree)]


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
_MOST_DIMENSIONS, _TOO_LARGE = 64, 2**63
_INERT_BUILTINS = {"set", "frozenset", "bytearray", "complex", "object", "list", "dict", "tuple"}
_BUILTINS = ("builtins", "__builtin__")


class _Inert:
    """Stand-in for an object that is not needed: accepts any state and keeps nothing."""

    __slots__ = ()

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

    def __setstate__(self, state: Any) -> None: ...

    def __setitem__(self, key: Any, value: Any) -> None:
        if _key(key) in self:
            raise ModelFileError(
                f"the checkpoint contains {key} twice", fix="Use the file that its authors released"
            )
        super().__setitem__(key, value)


class _Steps:
    """Work that is left; ValueError when it is used up."""

    def __init__(self) -> None:
        self._left = limits.INDEX_STEPS

    def spend(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise ValueError("it is too long")


class _Counted:
    """A stream whose reads are counted: each instruction is one."""

    def __init__(self, stream: io.BytesIO, steps: _Steps) -> None:
        self._stream, self._steps = stream, steps

    def read(self, count: int) -> bytes:
        self._steps.spend()
        return self._stream.read(count)

    def readline(self) -> bytes:
        self._steps.spend()
        return self._stream.readline()


class Unpickler(pickle._Unpickler):
    """Based on the pure Python unpickler, which a hostile memo index cannot make exhaust memory.

    (The C unpickler allocates a memo as long as the highest index.)

    storages: Those that the pickle named.
    """

    # Of the base class, for type checkers.
    stack: list[Any]
    append: Callable[[Any], None]
    read: Callable[[int], bytes]
    pop_mark: Callable[[], list[Any]]
    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)

    def __init__(self, stream: io.BytesIO) -> None:
        self._steps = _Steps()
        # An instruction has a byte at least: of few bytes there cannot be too many.
        few = stream.getbuffer().nbytes <= limits.INDEX_STEPS
        super().__init__(stream if few else _Counted(stream, self._steps))
        self.storages: Storages = {}
        self.known: dict[tuple[str, str], Any] = {
            ("collections", "OrderedDict"): _Call(self._table),
            ("torch", "Size"): _Call(_size),
            ("torch._utils", "_rebuild_tensor"): _Call(_tensor),
            ("torch._utils", "_rebuild_tensor_v2"): _Call(_tensor),
            ("torch._utils", "_rebuild_parameter"): _Call(_parameter),
            ("torch._utils", "_rebuild_parameter_with_state"): _Call(_parameter),
            **{("torch", name): dtype for name, dtype in _STORAGES.items()},
        }

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for a name; nothing is imported."""
        if (module, name) in self.known:
            return self.known[module, name]
        builtin = module in _BUILTINS and name in _INERT_BUILTINS
        if builtin or module.partition(".")[0] in _INERT_MODULES:
            return _Inert
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
            raise ValueError("a storage of unknown kind")
        key, length = str(_key(key)), _counts((length,))[0]
        if self.storages.setdefault(key, (dtype, length)) != (dtype, length):
            raise ValueError(f"the storage {key} is of two kinds")
        return key, length, dtype

    def _table(self, items: Iterable[tuple[Any, Any]] = ()) -> _Table:
        table = _Table()
        for key, value in items:
            self._steps.spend()  # the same items may come again and again
            table[key] = value
        return table

    # The handlers below replace those that would take memory or time on a claim alone.

    def _frame(self) -> None:
        self.read(8)  # a frame only groups what follows

    def _bytearray(self) -> None:
        self.append(bytearray(self.read(struct.unpack("<Q", self.read(8))[0])))

    def _build(self) -> None:
        state = self.stack.pop()
        if not hasattr(self.stack[-1], "__setstate__"):
            raise ValueError("a state for what has none")
        self.stack[-1].__setstate__(state)

    def _put_one(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.stack[-1][_key(key)] = value

    def _put_many(self) -> None:
        items = self.pop_mark()
        target = self.stack[-1]
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[_key(key)] = value

    def _dict(self) -> None:
        items = self.pop_mark()
        pairs = zip(items[::2], items[1::2], strict=True)
        self.append({_key(key): value for key, value in pairs})

    def _add_many(self) -> None:
        items = self.pop_mark()
        target = self.stack[-1]
        for item in items:
            target.add(_key(item))

    def _frozenset(self) -> None:
        self.append(frozenset(map(_key, self.pop_mark())))


Unpickler.dispatch |= {
    pickle.FRAME[0]: Unpickler._frame,
    pickle.BYTEARRAY8[0]: Unpickler._bytearray,
    pickle.BUILD[0]: Unpickler._build,
    pickle.SETITEM[0]: Unpickler._put_one,
    pickle.SETITEMS[0]: Unpickler._put_many,
    pickle.DICT[0]: Unpickler._dict,
    pickle.ADDITEMS[0]: Unpickler._add_many,
    pickle.FROZENSET[0]: Unpickler._frozenset,
}


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
    (start,) = _counts((offset,))
    sizes, strides = _counts(shape), _counts(stride)
    if len(sizes) != len(strides):
        raise ValueError("a tensor with another number of sizes than strides")
    return StoredTensor(key, length, dtype, start, sizes, strides)


def _parameter(tensor: StoredTensor, *rest: Any) -> StoredTensor:
    return tensor


def _size(shape: Any) -> tuple[int, ...]:
    return _counts(shape)


def _counts(values: Any) -> tuple[int, ...]:
    few = isinstance(values, tuple | list) and len(values) <= _MOST_DIMENSIONS
    if not few or not all(type(v) is int and 0 <= v < _TOO_LARGE for v in values):
        raise ValueError("sizes that are not non-negative integers")
    return tuple(values)


def _key(key: Any) -> Any:
    """A key of a dict or an item of a set; others may take hours to hash."""
    if isinstance(key, tuple) and len(key) <= _MOST_DIMENSIONS:
        return tuple(map(_scalar, key))
    return _scalar(key)


def _scalar(key: Any) -> Any:
    if isinstance(key, int) and abs(key) < _TOO_LARGE:
        return key
    if key is None or isinstance(key, str | bytes | float | complex | torch.dtype):
        return key
    if key is _Inert or isinstance(key, _Inert | _Call):  # Lightning's tables of callbacks
        return key
    raise ValueError("a key that is neither a text nor a number")
