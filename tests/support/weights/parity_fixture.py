"""The parity fixture for tests: its tensors, and altered copies of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

from comfyui_dense_face.evaluation.parity.fixture import Fixture
from locate_host import PARITY
from safetensors.torch import load_file, save_file
from torch import Tensor


@cache
def parity() -> Fixture:
    """The shipped fixture, read once; nobody changes its tensors."""
    return Fixture.read(PARITY)


def altered_copy(to: Path, file: str, change: Callable[[dict[str, Tensor]], None]) -> Path:
    """A copy of the fixture in which ``change`` has worked on the tensors of one file."""
    copy = to / "parity"
    shutil.copytree(PARITY, copy)
    alter(copy / file, change)
    return copy


def alter(file: Path, change: Callable[[dict[str, Tensor]], None]) -> None:
    """Let ``change`` work on the tensors of a safetensors file."""
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)
