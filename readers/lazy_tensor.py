"""Tensors whose shape and dtype are known and whose values are read on demand.

They allow a file of many gigabytes to be split, checked and rewritten with only one or two tensors
in memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from io import BufferedIOBase

import torch
from torch import Tensor

from ..errors import ModelFileError


@dataclass(frozen=True, eq=False)
class LazyTensor:
    """A tensor in a file.

    Args:
        read: Reads the values on each call; contiguous, on the CPU.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Callable[[], Tensor]

    @property
    def numel(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return self.numel * self.dtype.itemsize

    def to_meta(self) -> Tensor:
        """An empty tensor of this shape and dtype on the ``meta`` device."""
        return torch.empty(self.shape, dtype=self.dtype, device="meta")


class LazyStateDict(Mapping[str, Tensor]):
    """A mapping of lazy tensors that reads a tensor on each access and caches nothing."""

    def __init__(self, tensors: Mapping[str, LazyTensor]) -> None:
        self._tensors = tensors

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name].read()

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


def to_meta(tensors: Mapping[str, LazyTensor]) -> dict[str, Tensor]:
    """The tensors on the ``meta`` device, for checks of names and shapes."""
    return {name: tensor.to_meta() for name, tensor in tensors.items()}


def read_elements(stream: BufferedIOBase, count: int, dtype: torch.dtype) -> Tensor:
    """The next ``count`` elements of a stream as a flat tensor.

    Raises:
        ModelFileError: The stream is too short.
    """
    if count == 0:
        return torch.empty(0, dtype=dtype)
    elements = torch.empty(count, dtype=dtype)
    buffer, done = bytes_of(elements), 0
    while done < len(buffer):
        step = stream.readinto(buffer[done:])
        if not step:
            raise ModelFileError("the model file is truncated", fix="Download it again")
        done += step
    return elements


def bytes_of(tensor: Tensor) -> memoryview:
    """The memory of a contiguous tensor on the CPU; numpy lacks some of torch's dtypes."""
    return tensor.reshape(-1).view(torch.uint8).numpy().data
