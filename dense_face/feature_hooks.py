"""Forward hooks that capture module outputs during one pass and are always removed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

ALL_ROWS = slice(None)


@contextmanager
def capture_features(
    modules: Sequence[nn.Module], rows: slice = ALL_ROWS
) -> Iterator[list[Tensor]]:
    """Collect the outputs of ``modules`` while the block runs.

    Args:
        modules: Each returns a tensor [B, ...].
        rows: Batch rows to keep, such as the conditional half of classifier-free guidance. The
            captured tensors are views, not copies.

    Yields:
        A list that is empty until every module has run, then holds one detached tensor per module,
        in the order of ``modules`` (the latest where a module runs again). The hooks are removed
        when the block ends, also by an exception.
    """
    outputs: dict[int, Tensor] = {}
    captured: list[Tensor] = []

    def hook(index: int) -> Any:
        def keep(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            outputs[index] = output[rows].detach()
            if len(outputs) == len(modules):
                captured[:] = [outputs[i] for i in range(len(modules))]

        return keep

    handles = []
    try:
        for index, module in enumerate(modules):
            handles.append(module.register_forward_hook(hook(index)))
        yield captured
    finally:
        for handle in handles:
            handle.remove()
