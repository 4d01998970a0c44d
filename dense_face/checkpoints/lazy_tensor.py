"""Tensors that are known by shape and dtype and read only when they are wanted.

With them a file of many gigabytes is sorted, checked and rewritten while no more than a tensor or
two is in memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from io import BufferedIOBase

import torch
from torch import Tensor

from ...errors import ModelFileError

_STEP = 1 << 24
"""Bytes at once: a packed stream makes a copy of what it hands out."""


@dataclass(frozen=True, eq=False)
class LazyTensor:
    """A tensor in a file.

    Args:
        shape: Its shape.
        dtype: Its dtype.
        read: Reads it anew at each call, contiguous and on the CPU.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Callable[[], Tensor]

    @property
    def numel(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """How many bytes they take."""
        return self.numel * self.dtype.itemsize

    def described(self) -> Tensor:
        """A tensor of this shape and dtype on the ``meta`` device."""
        return torch.empty(self.shape, dtype=self.dtype, device="meta")


class Read(Mapping[str, Tensor]):
    """A view of lazy tensors by name that reads at each access and keeps nothing."""

    def __init__(self, tensors: Mapping[str, LazyTensor]) -> None:
        self._tensors = tensors

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name].read()

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


def described(tensors: Mapping[str, LazyTensor]) -> dict[str, Tensor]:
    """The tensors on the ``meta`` device: enough to check names and shapes."""
    return {name: tensor.described() for name, tensor in tensors.items()}


def read_numbers(stream: BufferedIOBase, count: int, dtype: torch.dtype) -> Tensor:
    """The next ``count`` numbers of a stream as a flat tensor.

    Raises:
        ModelFileError: The stream ends before.
    """
    if count == 0:
        return torch.empty(0, dtype=dtype)
    buffer = memoryview(bytearray(count * dtype.itemsize))
    filled = 0
    while filled < len(buffer):
        step = stream.readinto(buffer[filled : filled + _STEP])
        if not step:
            raise ModelFileError("the model file is truncated", fix="Download it again")
        filled += step
    return torch.frombuffer(buffer, dtype=dtype)
