"""Lets a torchvision built for CUDA be imported beside a CPU-only torch.

PyPI's torchvision for Linux is built for CUDA. Beside a CPU build of torch its C extension cannot
load, and the Python part then stops at "operator torchvision::nms does not exist", although nothing
that a test needs is missing. ``host_setup.py`` copies this file into the environment and lets a
``.pth`` line import it at interpreter start. At the first import of torchvision it declares the
two operators that torchvision registers fake kernels for, and steps aside: transforms and models
then import, and only the compiled operators themselves raise when they are called.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

_OPERATORS = ("nms", "qnms")
_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_keep_alive: list[object] = []  # a torch Library takes its operators with it when it is collected


class _DeclareOperators:
    """A finder that finds nothing: it only notices the first request for torchvision."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name == "torchvision":
            sys.meta_path.remove(self)
            import torch

            if torch.version.cuda is None:
                library = torch.library.Library("torchvision", "DEF")
                for operator in _OPERATORS:
                    library.define(operator + _SIGNATURE)
                _keep_alive.append(library)
        return None


sys.meta_path.insert(0, _DeclareOperators())
