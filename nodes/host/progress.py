"""A bar over the images of a batch, and the chance to stop between them."""

from __future__ import annotations

from collections.abc import Callable

import comfy.model_management as mm
import comfy.utils


def steps(count: int) -> Callable[[], None]:
    """A function to be called after each of ``count`` steps; it raises when the user stops."""
    bar = comfy.utils.ProgressBar(count)

    def step() -> None:
        bar.update(1)
        mm.throw_exception_if_processing_interrupted()

    return step
