"""Listening to modules while a network runs: what they return, and no hook left behind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

EVERY_ROW = slice(None)


@contextmanager
def capture_features(
    modules: Sequence[nn.Module], rows: slice = EVERY_ROW
) -> Iterator[list[Tensor]]:
    """Collect the outputs of ``modules`` while the block runs.

    Args:
        modules: In the order of the result; each returns a tensor [B, ...].
        rows: Of the batch: the conditional half of classifier-free guidance, say. A view is kept,
            nothing is copied.

    Yields:
        A list that is empty until all modules have run, then holds one detached tensor for each
        (the last one where a module runs again). The hooks go when the block ends, however it ends.
    """
    outputs: dict[int, Tensor] = {}
    found: list[Tensor] = []

    def hook(place: int) -> Any:
        def keep(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            outputs[place] = output[rows].detach()
            if len(outputs) == len(modules):
                found[:] = [outputs[i] for i in range(len(modules))]

        return keep

    handles = []
    try:
        for place, module in enumerate(modules):
            handles.append(module.register_forward_hook(hook(place)))
        yield found
    finally:
        for handle in handles:
            handle.remove()
