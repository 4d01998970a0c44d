"""Gradient checkpointing of a UNet that adapters are installed in.

The backward pass runs blocks a second time, when the adapters may have been removed and given the
inputs of a later call. So each block keeps the processors and inputs that it was called with.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from diffusers import UNet2DConditionModel
from torch import nn
from torch.utils.checkpoint import checkpoint

from .attention import InstalledProcessors


def checkpoint_unet(unet: UNet2DConditionModel) -> None:
    """Keep only the inputs of the UNet's blocks for the backward pass, which runs them again."""
    unet.enable_gradient_checkpointing(_recomputed)


def _recomputed(block: nn.Module, *args: Any) -> Any:
    attentions: list[Any] = [module for module in block.modules() if hasattr(module, "processor")]
    processors = [attention.processor for attention in attentions]
    inputs = [(each, dict(vars(each))) for each in _installed(processors)]
    return checkpoint(
        block,
        *args,
        use_reentrant=False,
        preserve_rng_state=False,  # nothing is random in a block
        context_fn=lambda: (nullcontext(), _as_called(attentions, processors, inputs)),
    )


@contextmanager
def _as_called(
    attentions: list[Any],
    processors: list[Any],
    inputs: list[tuple[InstalledProcessors, dict[str, Any]]],
) -> Iterator[None]:
    """Processors and inputs as they were, inside the block."""
    later = [attention.processor for attention in attentions]
    later_inputs = [(each, dict(vars(each))) for each, _ in inputs]
    try:
        for attention, processor in zip(attentions, processors, strict=True):
            attention.set_processor(processor)
        for each, attributes in inputs:
            vars(each).update(attributes)
        yield
    finally:
        for attention, processor in zip(attentions, later, strict=True):
            attention.set_processor(processor)
        for each, attributes in later_inputs:
            vars(each).update(attributes)


def _installed(processors: list[Any]) -> list[InstalledProcessors]:
    """What the processors, and those that they wrap, read their inputs from."""
    found: dict[int, InstalledProcessors] = {}
    for processor in processors:
        while processor is not None:
            each = getattr(processor, "installed", None)
            if isinstance(each, InstalledProcessors):
                found[id(each)] = each
            processor = getattr(processor, "former", None)
    return list(found.values())
